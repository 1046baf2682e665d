"""One encoded frame: what its header declares, and its pixels.

header = read_header(data)  # Cheap, and decodes nothing: refuse a decompression bomb here.
pixels = decode(data, header)  # (height, width, channel)
"""

import dataclasses
import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
# Channels by PNG colour type: gray, RGB, gray and alpha, RGBA. A palette's indices are no pixel values.
_PNG_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
# JPEG markers that start a frame header (SOF0 to SOF15, less DHT, JPG and DAC), and those without a length.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})
# The passes of an interlaced PNG: first row, first column, row step, column step (PNG specification, 8.2).
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


class BadImage(ValueError):
    """Bytes that are no readable PNG or JPEG image."""


@dataclasses.dataclass(frozen=True)
class Header:
    """What an image's header declares.

    Args:
        format: PNG or JPEG.
        height: In pixels.
        width: In pixels.
        channels: Of a pixel.
        depth: Bits of a channel.
    """

    format: str
    height: int
    width: int
    channels: int
    depth: int


def read_header(data: bytes) -> Header:
    """Reads the header of a PNG or JPEG image, and checks a PNG's checksums (Pillow skips those of the pixels).

    Raises:
        BadImage: When the bytes are neither, are cut or damaged, or hold no plain pixel values.
    """
    if data.startswith(_PNG_MAGIC):
        header = _png_header(data)
    elif data.startswith(_JPEG_MAGIC):
        header = _jpeg_header(data)
    else:
        raise BadImage(f"expected a PNG or JPEG image, received {len(data)} bytes that start with {data[:8].hex(' ')}")
    if not header.height or not header.width:
        raise BadImage(f"expected a height and width above 0, received {header.height}x{header.width}")
    return header


def decode(data: bytes, header: Header) -> np.ndarray:
    """Decodes an image whose header has been read and found acceptable.

    Returns:
        `(height, width, channel)`, uint8 or uint16 by the header's depth.

    Raises:
        BadImage: When the image cannot be decoded.
    """
    try:
        if header.format == "PNG":
            _check_png_rows(data, header)
        deep = header.depth == 16 and header.channels > 1
        pixels = _decode_deep(data) if deep else _decode_pillow(data)
    except Exception as error:  # Decoders raise nearly anything on damaged input.
        raise BadImage(f"expected a whole {header.format} image, received one that does not decode: {error}") from error
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    expected = (header.height, header.width, header.channels)
    if pixels.shape != expected:
        raise BadImage(f"expected pixels (height, width, channel) {expected}, decoded {pixels.shape}")
    return pixels.astype(np.uint16 if header.depth == 16 else np.uint8, copy=False)


def encode_png(pixels: np.ndarray) -> bytes:
    """Encodes `(height, width, channel)` uint8 or uint16 pixels of 1 to 4 channels without loss."""
    if pixels.dtype == np.uint16 and pixels.shape[-1] > 1:
        import tensorflow as tf

        with tf.device("CPU:0"):
            return tf.io.encode_png(pixels).numpy()
    from PIL import Image

    buffer = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    # Runs only, as zlib suggests for PNG: .6 to .25 of the time on radar, digits and video, in no more bytes where they
    # are gray of 8 bits, in about a tenth more where RGB or 16 bits.
    image.save(buffer, "PNG", compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def _decode_pillow(data: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
        return np.asarray(image)


def _decode_deep(data: bytes) -> np.ndarray:
    # Pillow halves the depth of 16-bit images with several channels. TensorFlow reads them, but would claim the GPU
    # of a process that only reads clips, so all others go through Pillow.
    import tensorflow as tf

    with tf.device("CPU:0"):
        return tf.io.decode_png(data, dtype=tf.uint16).numpy()


def _png_header(data: bytes) -> Header:
    header = None
    for kind, body in _png_chunks(data):
        if header is None:
            if (kind, len(body)) != (b"IHDR", 13):
                raise BadImage(f"expected a PNG that starts with IHDR, received {kind!r}")
            width, height, depth, colour = struct.unpack_from(">IIBB", body)
            if colour not in _PNG_CHANNELS:
                raise BadImage(f"expected a gray, RGB or RGBA PNG, received colour type {colour} (3 is a palette)")
            header = Header("PNG", height, width, _PNG_CHANNELS[colour], depth)
    assert header is not None  # There is a chunk, or _png_chunks raised.
    return header


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields `(kind, body)` of every chunk up to IEND."""
    position, kind = len(_PNG_MAGIC), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position) if position + 12 <= len(data) else (len(data), b"")
        end = position + 8 + length
        if end + 4 > len(data):
            raise BadImage(f"expected a PNG that ends with IEND, received one cut after {len(data)} bytes")
        if zlib.crc32(data[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise BadImage(f"expected the checksum of the PNG's {kind!r} chunk to match, received a damaged chunk")
        yield kind, data[position + 8 : end]
        position = end + 4


def _check_png_rows(data: bytes, header: Header) -> None:
    """Refuses a PNG that holds fewer rows than it declares: Pillow would leave them black."""
    chunks = list(_png_chunks(data))
    interlaced = chunks[0][1][12]
    expected = 0
    for top, left, down, right in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        rows, columns = -(-max(0, header.height - top) // down), -(-max(0, header.width - left) // right)
        # A row is headed by a byte that names its filter.
        expected += rows * (1 + -(-columns * header.channels * header.depth // 8)) if columns else 0
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    received = len(zlib.decompressobj().decompress(packed, expected))
    if received != expected:
        raise ValueError(f"expected {expected} bytes of rows, received {received}")


def _jpeg_header(data: bytes) -> Header:
    position = 2
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF or marker == 0xDA:  # Pixels before a frame header.
            break
        if marker == 0xFF or marker in _JPEG_BARE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _JPEG_FRAMES and position + 10 <= len(data):
            depth, height, width, channels = struct.unpack_from(">BHHB", data, position + 4)
            if channels not in (1, 3):
                raise BadImage(f"expected a JPEG of 1 or 3 channels, received {channels}")
            return Header("JPEG", height, width, channels, depth)
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise BadImage(f"expected a JPEG with a frame header, received none in {len(data)} bytes")
