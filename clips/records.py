"""TFRecord files, plain or gzip, read so that damage is named by file and record.

    for index, record in read_records("clips.tfrecord.gz"): ...
"""

import gzip
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import google_crc32c

_GZIP_MAGIC = b"\x1f\x8b"
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
# A length above this is damage rather than a clip: reading it would exhaust memory.
_MAX_RECORD = 2**31

Opener = Callable[..., IO[bytes]]


class BadFile(ValueError):
    """A file that cannot be read to its end; names file, record and damage."""

    def __init__(self, path: str, record: int, reason: str):
        super().__init__(f"{path}, record {record}: {reason}")
        self.path = path
        self.record = record
        self.reason = reason


def read_records(path: str, open_file: Opener = open) -> Iterator[tuple[int, bytes]]:
    """Yields `(index, bytes)` of each record, one at a time; whether the file is gzip is told by its first bytes.

    Raises:
        BadFile: When the file is cut, also between two records of a gzip file, when a checksum is wrong, or when it
            cannot be opened.
    """
    index = 0
    try:
        with open_file(path, "rb") as raw:
            magic = raw.read(len(_GZIP_MAGIC))
            raw.seek(0)
            stream: Any = gzip.GzipFile(fileobj=raw) if magic == _GZIP_MAGIC else raw
            while True:
                header = stream.read(_HEADER.size)
                if not header:
                    break
                yield index, _record(path, index, stream, header)
                index += 1
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadFile(path, index, f"expected a whole gzip file, received one that is cut or damaged: {error}") from error
    except OSError as error:
        raise BadFile(path, index, f"expected a readable file, received: {error.strerror or error}") from error
    if index == 0:
        raise BadFile(path, 0, "expected at least 1 record, received an empty file")


def write_records(path: str | os.PathLike[str], records: Iterable[bytes]) -> int:
    """Writes a TFRecord file, gzip when the name ends in `.gz`, reproducible byte for byte; returns the count."""
    count = 0
    with open(path, "wb") as raw:
        # Neither name nor time in the gzip header, so that equal records make equal files.
        packed = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) if str(path).endswith(".gz") else None
        stream: Any = packed or raw
        for record in records:
            length = struct.pack("<Q", len(record))
            stream.write(length + _FOOTER.pack(_masked_crc(length)) + record + _FOOTER.pack(_masked_crc(record)))
            count += 1
        if packed:
            packed.close()
    return count


def _record(path: str, index: int, stream: Any, header: bytes) -> bytes:
    if len(header) < _HEADER.size:
        raise BadFile(path, index, f"expected a header of {_HEADER.size} bytes, received {len(header)}: the file is cut")
    length, crc = _HEADER.unpack(header)
    if crc != _masked_crc(header[:8]):
        raise BadFile(path, index, "expected a TFRecord, received a header with a wrong checksum")
    if length > _MAX_RECORD:
        raise BadFile(path, index, f"expected a record of at most {_MAX_RECORD} bytes, received {length}")
    body = stream.read(length + _FOOTER.size)
    if len(body) < length + _FOOTER.size:
        raise BadFile(path, index, f"expected {length} bytes, received {max(len(body) - 4, 0)}: the file is cut")
    if _FOOTER.unpack(body[length:])[0] != _masked_crc(body[:length]):
        raise BadFile(path, index, "expected a whole record, received one with a wrong checksum")
    return body[:length]


def _masked_crc(data: bytes) -> int:
    """TFRecord's masked CRC-32C: rotated and offset, since a CRC of data that hold CRCs is weak."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
