"""Reads PBM, PGM and PPM files as stored; Pillow scales values whose maximum is not 255."""

from collections.abc import Iterator

import numpy as np

_CHANNELS = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3}
_PLAIN = (b"P1", b"P2", b"P3")  # Values as text; such a file has one image.


def is_netpbm(data: bytes) -> bool:
    """Returns whether data starts like a PBM, PGM or PPM file."""
    return data[:2] in _CHANNELS and (data[2:3].isspace() or data[2:3] == b"#")


def read_images(data: bytes) -> Iterator[np.ndarray]:
    """Yields the images `(height, width, channel)` of a file, uint8 or uint16; white is 255 in 1-bit images.

    Raises:
        ValueError: If the data are damaged or truncated.
    """
    position = 0
    while kind := data[position : position + 2].strip():
        if kind not in _CHANNELS:
            raise ValueError(f"expected P1 to P6 at byte {position}, received {kind!r}")
        bits = kind in (b"P1", b"P4")
        numbers, start = _header(data, position + 2, 2 if bits else 3)
        width, height = numbers[:2]
        largest = 1 if bits else numbers[2]
        if not 0 < largest < 65536 or not width or not height:
            raise ValueError(f"expected a size and a maximum of 1 to 65535, received {width}x{height} and {largest}")
        shape = (height, width, _CHANNELS[kind])
        if kind in _PLAIN:
            values, position = _text_values(data[start:], shape, bits), len(data)
        elif kind == b"P4":
            row = -(-width // 8)
            rows = np.frombuffer(_take(data, start, row * height), np.uint8).reshape(height, row)
            values, position = np.unpackbits(rows, axis=1)[:, :width, None], start + rows.size
        else:
            dtype = np.dtype(">u2" if largest > 255 else "u1")
            packed = _take(data, start, height * width * shape[2] * dtype.itemsize)
            values, position = np.frombuffer(packed, dtype).reshape(shape), start + len(packed)
        if bits:
            values = 1 - values  # 1 is black in PBM.
        if values.max() > largest:
            raise ValueError(f"expected values of at most {largest}, received {values.max()}")
        yield values.astype(np.uint8) * np.uint8(255 if largest == 1 else 1) if largest < 256 else values.astype("u2")


def _header(data: bytes, position: int, count: int) -> tuple[list[int], int]:
    """Returns the numbers of a header and the position of the values, one white space after it."""
    numbers: list[int] = []
    while len(numbers) < count:
        while data[position : position + 1].isspace():
            position += 1
        if data[position : position + 1] == b"#":
            position = data.find(b"\n", position) + 1 or len(data)
            continue
        end = position
        while data[end : end + 1].isdigit():
            end += 1
        if end == position:
            raise ValueError(f"expected {count} numbers in the header, received {len(numbers)}")
        numbers.append(int(data[position:end]))
        position = end
    return numbers, position + 1


def _take(data: bytes, start: int, count: int) -> bytes:
    if start + count > len(data):
        raise ValueError(f"expected {count} bytes of values, received {max(0, len(data) - start)}: truncated")
    return data[start : start + count]


def _text_values(data: bytes, shape: tuple[int, int, int], bits: bool) -> np.ndarray:
    text = b" ".join(line.partition(b"#")[0] for line in data.splitlines())
    words = [bytes([digit]) for digit in b"".join(text.split())] if bits else text.split()
    count = shape[0] * shape[1] * shape[2]
    if len(words) < count:
        raise ValueError(f"expected {count} values, received {len(words)}: truncated")
    return np.array([int(word) for word in words[:count]]).reshape(shape)
