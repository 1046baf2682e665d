"""Finds out from the sizes that a video file declares whether its end is missing.

FFmpeg ends without an error if a file is cut between two packets, or in a Matroska block. Frame counts and durations in
headers are no evidence, because they include dropped and hidden frames, and may be estimates.
"""

import dataclasses
import mmap
import os
from collections.abc import Callable

_MP4_MEDIA = (b"mdat", b"moov", b"moof")
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675


@dataclasses.dataclass(frozen=True)
class MissingEnd:
    """A missing end of a file.

    Args:
        message: Declared and received size.
        whole_frames: Number of complete frames, if known.
    """

    message: str
    whole_frames: int | None = None


def find_missing_end(path: str, container_format: str) -> MissingEnd | None:
    """Returns the missing end of a video file; None if no declared part that holds frames is cut.

    Args:
        path: The file.
        container_format: FFmpeg's name of the format.
    """
    walks: dict[str, Callable[[mmap.mmap], MissingEnd | None]] = {
        "mov": _mp4,
        "matroska": _matroska,
        "avi": _avi,
        "gif": _gif,
    }
    walk = walks.get(container_format.split(",")[0])
    if walk is None or not os.path.getsize(path):
        return None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return walk(data)


def _cut(part: str, end: int, size: int) -> MissingEnd:
    return MissingEnd(f"the file is truncated: {part} ends at byte {end}, but the file has {size} bytes")


def _mp4(data: mmap.mmap) -> MissingEnd | None:
    position = 0
    while position + 8 <= len(data):
        size, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size < 8:  # 0: up to the end of the file; others are damaged.
            return None
        if position + size > len(data):
            return _cut(f"the box {kind.decode()}", position + size, len(data)) if kind in _MP4_MEDIA else None
        position += size
    return None


def _matroska(data: mmap.mmap) -> MissingEnd | None:
    position, segment_end = 0, None
    while position < len(data):
        identifier, position = _vint(data, position, keep_marker=True)
        size, position = _vint(data, position, keep_marker=False)
        if size is None or identifier is None:
            # A live recording has no sizes; a cut may be in the element's header.
            return None
        if identifier == _SEGMENT:
            segment_end = position + size
            continue
        if position + size > len(data):
            return _cut("a cluster", position + size, len(data)) if identifier == _CLUSTER else None
        position += size
    if segment_end is not None and segment_end > len(data):
        return _cut("the segment", segment_end, len(data))
    return None


def _vint(data: mmap.mmap, position: int, keep_marker: bool) -> tuple[int | None, int]:
    """Returns an EBML number and the position after it; None if the number is unknown or cut."""
    first = data[position] if position < len(data) else 0
    length = 9 - first.bit_length()
    if not first or position + length > len(data):
        return None, len(data)
    value = int.from_bytes(data[position : position + length], "big")
    if not keep_marker:
        value &= (1 << 7 * length) - 1
        if value == (1 << 7 * length) - 1:
            return None, position + length
    return value, position + length


def _avi(data: mmap.mmap) -> MissingEnd | None:
    position = 0
    while position + 12 <= len(data):
        kind, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        if kind == b"RIFF":
            position += 12
            continue
        end = position + 8 + size + size % 2
        if end - size % 2 > len(data):
            movie = kind == b"LIST" and data[position + 8 : position + 12] == b"movi"
            return _cut("the list movi", end, len(data)) if movie else None
        position = end
    return None


def _gif(data: mmap.mmap) -> MissingEnd | None:
    position, images = 13 + _colours(data, 10), 0
    while position < len(data):
        kind = data[position]
        if kind == 0x2C and position + 9 < len(data):
            end = _blocks_end(data, position + 11 + _colours(data, position + 9))
        elif kind == 0x21:
            end = _blocks_end(data, position + 2)
        else:
            # The trailer, or bytes that decoders ignore.
            return None if kind != 0x2C else _gif_cut(images)
        if end is None:
            return _gif_cut(images)
        images += kind == 0x2C
        position = end
    return None


def _gif_cut(images: int) -> MissingEnd:
    return MissingEnd(f"the file is truncated: it ends inside block or image {images}", images)


def _colours(data: mmap.mmap, position: int) -> int:
    """Returns the size of the colour table that the flags at a position announce."""
    flags = data[position] if position < len(data) else 0
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _blocks_end(data: mmap.mmap, position: int) -> int | None:
    """Returns the position after a sequence of GIF data blocks; None if the file ends first."""
    while position < len(data):
        length = data[position]
        position += 1 + length
        if not length:
            return position
    return None
