"""TFRecord files, plain or gzip: read with every damage named by file and record.

    for index, record in read_records("clips.tfrecord.gz"):
        ...

TensorFlow's own readers name no record, and take a gzip file that was cut between two records for a whole one. The
framing of a record is

    uint64 length | uint32 masked crc32c of length | byte data[length] | uint32 masked crc32c of data

little-endian, see `tensorflow/core/lib/io/record_writer.h`.
"""

import gzip
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO

import google_crc32c

from framecast.clips import filesystem

_GZIP_MAGIC = b"\x1f\x8b"
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_CHUNK = 1 << 20
_Stream = IO[bytes] | gzip.GzipFile
MANIFEST = "manifest.json"  # What a conversion leaves beside the files that it wrote.
_MAX_RECORD = 2**31 - 1  # Bytes; protobuf reads no longer message.


class BadFile(ValueError):
    """A TFRecord file that cannot be read to its end.

    Args:
        path: The file.
        record: Index of the record at fault.
        message: The damage, what was expected and what was received.
        reason: `truncated-file`, `corrupt-file` or, where only this record is at fault, `corrupt-record`.
    """

    def __init__(self, path: str, record: int, message: str, reason: str):
        super().__init__(path, record, message, reason)
        self.path = path
        self.record = record
        self.message = message
        self.reason = reason

    def __str__(self) -> str:
        """Returns the message, headed by file and record."""
        return f"{self.path}, record {self.record}: {self.message}"


def find_files(paths: Sequence[str]) -> Iterator[str]:
    """Yields the files that paths name.

    Args:
        paths: Files, folders (every file in them and below, but for hidden ones and manifests), or glob patterns.

    Raises:
        FileNotFoundError: When a path matches nothing.
    """
    for path in paths:
        if os.path.lexists(path) and not os.path.isdir(path):
            matches = [path]
        elif os.path.isdir(path):
            matches = _data_below(path)
        else:
            # An object store has no folders: what is no file may be what the names of files begin with.
            matches = filesystem.glob(path) or _data_below(path)
        if not matches:
            raise FileNotFoundError(f"{path}: expected files, received none")
        yield from matches


def read_records(
    path: str | os.PathLike[str],
    *,
    on_corrupt: Callable[[BadFile, bytes], None] | None = None,
) -> Iterator[tuple[int, bytes]]:
    """Yields `(index, record)` of a TFRecord file, one record in memory at a time.

    Whether the file is gzip is told by its content. A plain file that was cut between two records cannot be told
    from a whole one; a gzip file can.

    Args:
        path: The file.
        on_corrupt: Called with the fault and the bytes of a record that is not what was written, and reading goes on
            with the next. Unless given, such a record is raised.

    Raises:
        BadFile: When the file is damaged or cut; what precedes the damage has been yielded.
    """
    path = os.fspath(path)
    with filesystem.open_path(path, "rb") as file:
        stream = _decompressed(file, path)
        index = 0
        while True:
            try:
                record = _read_record(stream)
            except _CorruptDataError as error:
                fault = BadFile(path, index, str(error), "corrupt-record")
                if on_corrupt is None:
                    raise fault from error
                on_corrupt(fault, error.data)
                index += 1
                continue
            except (_DamageError, EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise BadFile(path, index, *_describe(error)) from error
            if record is None:
                return
            yield index, record
            index += 1


def write_records(path: str | os.PathLike[str], records: Iterable[bytes]) -> int:
    """Writes a TFRecord file, gzip when its name ends in `.gz`; the same records give the same bytes.

    Returns:
        How many records were written.
    """
    path = os.fspath(path)
    with filesystem.open_path(path, "wb") as file:
        if not path.endswith(".gz"):
            return _write(file, records)
        # Neither name nor time in the header: they would make equal data differ.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as stream:
            return _write(stream, records)


def _data_below(folder: str) -> list[str]:
    # Hidden files are being written still: what is whole has its final name.
    names = [(name, os.path.basename(name)) for name in filesystem.list_below(folder)]
    return [os.path.join(folder, name) for name, last in names if not last.startswith(".") and last != MANIFEST]


class _DamageError(ValueError):
    """Damage after which nothing more can be read, told to `read_records`."""


class _CutError(_DamageError):
    """The file ends within a record."""


class _CorruptDataError(ValueError):
    """A record whose data are not what was written; the next one is where it should be."""

    def __init__(self, message: str, data: bytes):
        super().__init__(message)
        self.data = data


def _decompressed(file: IO[bytes], path: str) -> _Stream:
    start = file.read(_HEADER.size)
    file.seek(0)
    if not start and path.endswith(".gz"):
        raise BadFile(path, 0, "expected a gzip file, received 0 bytes", "truncated-file")
    if len(start) == _HEADER.size:
        length, checksum = _HEADER.unpack(start)
        # The length of a plain file's first record may well look like gzip's magic number; not so its checksum.
        if checksum == _masked_crc(start[:8]) and length <= _MAX_RECORD:
            return file
    return gzip.GzipFile(fileobj=file, mode="rb") if start.startswith(_GZIP_MAGIC) else file


def _read_record(stream: _Stream) -> bytes | None:
    header = _read(stream, _HEADER.size)
    if not header:
        return None
    if len(header) < _HEADER.size:
        raise _CutError(f"cut in its header: expected {_HEADER.size} bytes, received {len(header)}")
    length, checksum = _HEADER.unpack(header)
    if fault := _wrong_crc("length", header[:8], checksum):
        raise _DamageError(f"{fault}; is this a TFRecord file?")
    if length > _MAX_RECORD:
        raise _DamageError(f"corrupt length: expected at most {_MAX_RECORD} bytes, received {length}")
    data = _read(stream, length)
    footer = _read(stream, _FOOTER.size) if len(data) == length else b""
    if len(footer) < _FOOTER.size:
        expected, received = length + _FOOTER.size, len(data) + len(footer)
        raise _CutError(f"cut in its data: expected {expected} bytes, received {received}")
    if fault := _wrong_crc("data", data, _FOOTER.unpack(footer)[0]):
        raise _CorruptDataError(fault, data)
    return data


def _read(stream: _Stream, size: int) -> bytes:
    """Reads `size` bytes, fewer at the end; in chunks, so that a false length claims no memory."""
    chunks = []
    while size:
        chunk = stream.read(min(size, _CHUNK))
        if not chunk:
            break
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def _wrong_crc(what: str, data: bytes, received: int) -> str | None:
    expected = _masked_crc(data)
    if received == expected:
        return None
    return f"corrupt {what}: expected checksum {expected:#010x}, received {received:#010x}"


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _describe(error: Exception) -> tuple[str, str]:
    """Returns the message and the reason."""
    if isinstance(error, EOFError):
        message = "cut gzip file: expected its end-of-stream marker, received the end of the file"
        return message, "truncated-file"
    if isinstance(error, _DamageError):
        return str(error), "truncated-file" if isinstance(error, _CutError) else "corrupt-file"
    return f"damaged gzip file: {error}", "corrupt-file"


def _write(stream: _Stream, records: Iterable[bytes]) -> int:
    count = 0
    for record in records:
        header = struct.pack("<Q", len(record))
        stream.write(header + _FOOTER.pack(_masked_crc(header)) + record + _FOOTER.pack(_masked_crc(record)))
        count += 1
    return count
