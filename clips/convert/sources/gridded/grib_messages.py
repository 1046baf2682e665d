"""Finds the messages of a GRIB file, plain or gzip, and the fields of a message."""

import contextlib
import dataclasses
import gzip
import os
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from framecast.clips.convert.sources.source import BadSource

_MAGIC = b"GRIB"
_END = b"7777"
_JUNK = 64 << 10  # Bytes between two messages, such as a bulletin header; more is no GRIB file.
_HEADER = 16
_SAME_BITMAP = 254  # Of section 6: the field has the bitmap of the field before it.


@dataclasses.dataclass(frozen=True)
class MessagePlace:
    """Where a message is in its file.

    Args:
        number: Number in the file, from 1.
        offset: First byte.
        size: Number of bytes.
    """

    number: int
    offset: int
    size: int


def is_grib(path: str) -> bool:
    """Returns whether a file starts with a GRIB message."""
    with contextlib.suppress(OSError, EOFError, zlib.error), _open(path) as file:
        return file.read(len(_MAGIC)) == _MAGIC
    return False


@contextlib.contextmanager
def open_file(path: str) -> Iterator[BinaryIO]:
    """Opens a file and decompresses it.

    Raises:
        BadSource: If it cannot be opened or decompressed.
    """
    try:
        with _open(path) as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise BadSource(path, f"cannot read the file: {error}") from error


def find_messages(file: BinaryIO, path: str) -> Iterator[tuple[MessagePlace, bytes]]:
    """Yields each message of an open file.

    Raises:
        BadSource: If other bytes are found, or the file ends within a message.
    """
    number, offset = 0, 0
    while True:
        file.seek(offset)
        junk = file.read(_JUNK)
        start = junk.find(_MAGIC)
        if start < 0:
            if number and not junk.strip(b"\0\r\n\1\3 "):
                return
            raise BadSource(path, f"expected a GRIB message at byte {offset}, received {junk[:8]!r}")
        number, offset = number + 1, offset + start
        header = junk[start : start + _HEADER]
        if len(header) < _HEADER:
            file.seek(offset)
            header = file.read(_HEADER)
        size = _size(header)
        place = MessagePlace(number, offset, size)
        yield place, read_message(file, place, path)
        offset += size


def read_message(file: BinaryIO, place: MessagePlace, path: str) -> bytes:
    """Reads a message.

    Raises:
        BadSource: If it is incomplete.
    """
    file.seek(place.offset)
    message = file.read(place.size)
    if len(message) < place.size:
        expected = f"expected {place.size} bytes of message {place.number} at byte {place.offset}"
        raise BadSource(path, f"{expected}, received {len(message)}: the file is truncated")
    if not message.endswith(_END):
        raise BadSource(path, f"message {place.number} at byte {place.offset} has no end mark: the file is damaged")
    return message


def split_fields(message: bytes) -> list[bytes]:
    """Returns one message per field, because one message of edition 2 may have several, such as both parts of wind."""
    if message[7] != 2:
        return [message]
    fields: list[bytes] = []
    sections: dict[int, bytes] = {}
    position = _HEADER
    while position < len(message) - len(_END):
        size = int.from_bytes(message[position : position + 4], "big")
        section = message[position : position + size]
        if size <= 5 and section[4:5] != b"\7":
            return [message]  # Damaged; the decoder says how.
        number = section[4]
        if not (number == 6 and section[5] == _SAME_BITMAP):
            sections[number] = section
        if number == 7:
            body = b"".join(sections[each] for each in sorted(sections))
            total = _HEADER + len(body) + len(_END)
            fields.append(message[:8] + total.to_bytes(8, "big") + body + _END)
        position += size
    return fields if len(fields) > 1 else [message]


def _open(path: str) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if os.path.splitext(path)[1].lower() == ".gz" else open(path, "rb")


def _size(header: bytes) -> int:
    """Returns the size of a message from its first section."""
    return int.from_bytes(header[8:16] if header[7] == 2 else header[4:7], "big")
