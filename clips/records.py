"""Reads and writes TFRecord files, plain or gzip; errors name the file and the record. ZLIB files are read too.

    for index, record in read_records("clips.tfrecord.gz"):
        ...

TensorFlow's readers do not name the record, and accept a gzip file truncated between two records. A record is stored as

    uint64 length | uint32 masked crc32c of length | byte data[length] | uint32 masked crc32c of data

in little-endian order, see `tensorflow/core/lib/io/record_writer.h`.
"""

import gzip
import io
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

import google_crc32c

from framecast.clips import filesystem
from framecast.clips.gzip_writer import GzipWriter

_GZIP_MAGIC = b"\x1f\x8b"
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_CHUNK = 1 << 20
_Stream = IO[bytes] | gzip.GzipFile | io.BufferedReader
MANIFEST = "manifest.json"  # Written next to the clip files by `framecast data convert`.
_MAX_RECORD = 2**31 - 1  # Bytes; protobuf's limit for one message.


class BadFile(ValueError):
    """A TFRecord file that cannot be read completely.

    Args:
        path: The file.
        record: Index of the damaged record.
        message: The damage: expected and received values.
        reason: `truncated-file`, `corrupt-file`, or `corrupt-record` if the following records can still be read.
    """

    def __init__(self, path: str, record: int, message: str, reason: str):
        super().__init__(path, record, message, reason)
        self.path = path
        self.record = record
        self.message = message
        self.reason = reason

    def __str__(self) -> str:
        """Returns `file, record index: message`."""
        return f"{self.path}, record {self.record}: {self.message}"


def find_files(paths: Sequence[str]) -> Iterator[str]:
    """Yields the files at the given paths.

    Args:
        paths: Files, folders (searched recursively, without hidden files and manifests) or glob patterns.

    Raises:
        FileNotFoundError: If a path matches no file.
    """
    for path in paths:
        if os.path.lexists(path) and not os.path.isdir(path):
            matches = [path]
        elif os.path.isdir(path):
            matches = _data_below(path)
        else:
            # Object stores have no folders: the path may be a prefix of file names.
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

    Gzip is detected from the content, not the name. Truncation between two records is detected in gzip files only.

    Args:
        path: The file.
        on_corrupt: Called with the error and the bytes of a record whose checksum does not match; reading continues
            with the next record. By default, the error is raised.

    Raises:
        BadFile: If the file is damaged or truncated; the records before the damage have been yielded.
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


def scan_records(path: str | os.PathLike[str]) -> Iterator[tuple[int, int, int]]:
    """Yields `(offset, length, checksum)` of each record of a local file without compression, without reading its data.

    The offset is that of the record's header; the checksum is the stored one of the data, which is not verified.

    Raises:
        BadFile: If the file is compressed, damaged or truncated.
    """
    path = os.fspath(path)
    with open(path, "rb", buffering=0) as file:
        descriptor, size = file.fileno(), os.fstat(file.fileno()).st_size
        header = os.pread(descriptor, _HEADER.size, 0)
        if header.startswith(_GZIP_MAGIC) and _wrong_crc("length", header[:8], int.from_bytes(header[8:], "little")):
            raise BadFile(path, 0, "expected a TFRecord file without compression, received a gzip file", "corrupt-file")
        index = offset = 0
        while offset < size:
            try:
                length = _data_length(header)
                # The data's checksum, and the next record's header.
                following = os.pread(descriptor, _FOOTER.size + _HEADER.size, offset + _HEADER.size + length)
                if len(following) < _FOOTER.size:
                    raise _truncated_data(length + _FOOTER.size, size - offset - _HEADER.size)
            except _DamageError as error:
                raise BadFile(path, index, *_describe(error)) from error
            yield offset, length, _FOOTER.unpack_from(following)[0]
            header = following[_FOOTER.size :]
            offset += _HEADER.size + length + _FOOTER.size
            index += 1


def write_records(path: str | os.PathLike[str], records: Iterable[bytes]) -> int:
    """Writes a TFRecord file, gzip if its name ends in `.gz`; equal records give equal bytes.

    Returns:
        The number of records written.
    """
    path = os.fspath(path)
    with filesystem.open_path(path, "wb") as file:
        if not path.endswith(".gz"):
            return _write(file, records)
        with GzipWriter(file) as stream:
            return _write(stream, records)


def _data_below(folder: str) -> list[str]:
    # Hidden files are incomplete: writers rename them when they are done.
    names = [(name, os.path.basename(name)) for name in filesystem.list_below(folder)]
    return [os.path.join(folder, name) for name, last in names if not last.startswith(".") and last != MANIFEST]


class _DamageError(ValueError):
    """Damage that prevents reading the rest of the file."""


class _TruncatedError(_DamageError):
    """The file ends inside a record."""


class _CorruptDataError(ValueError):
    """A record whose data checksum does not match; the next record can be read."""

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
        # A first record's length can look like gzip's magic number; a matching checksum shows a plain file.
        if checksum == _masked_crc(start[:8]) and length <= _MAX_RECORD:
            return file
    if start.startswith(_GZIP_MAGIC):
        return gzip.GzipFile(fileobj=file, mode="rb")
    # RFC 1950: method deflate, and a header that is a multiple of 31.
    if start[:1] == b"\x78" and int.from_bytes(start[:2], "big") % 31 == 0:
        return io.BufferedReader(_ZlibReader(file))
    return file


class _ZlibReader(io.RawIOBase):
    """Decompresses a ZLIB stream, as TensorFlow writes it with the compression type ZLIB."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self._stream = zlib.decompressobj()

    def readable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads decompressed bytes into a buffer; returns their number, 0 at the end.

        Raises:
            _DamageError: If the file is truncated or damaged.
        """
        data = b""
        while not data and not self._stream.eof:
            packed = self._stream.unconsumed_tail or self._file.read(_CHUNK)
            if not packed:
                raise _TruncatedError(
                    "truncated ZLIB file: expected the end of the stream, received the end of the file"
                )
            try:
                data = self._stream.decompress(packed, len(buffer))
            except zlib.error as error:
                raise _DamageError(f"damaged ZLIB file: {error}") from error
        buffer[: len(data)] = data
        return len(data)


def _read_record(stream: _Stream) -> bytes | None:
    header = _read(stream, _HEADER.size)
    if not header:
        return None
    length = _data_length(header)
    data = _read(stream, length)
    footer = _read(stream, _FOOTER.size) if len(data) == length else b""
    if len(footer) < _FOOTER.size:
        raise _truncated_data(length + _FOOTER.size, len(data) + len(footer))
    if fault := _wrong_crc("data", data, _FOOTER.unpack(footer)[0]):
        raise _CorruptDataError(fault, data)
    return data


def _data_length(header: bytes) -> int:
    """Returns the length of a record's data.

    Raises:
        _DamageError: If the header is truncated or damaged.
    """
    if len(header) < _HEADER.size:
        raise _TruncatedError(f"truncated header: expected {_HEADER.size} bytes, received {len(header)}")
    length, checksum = _HEADER.unpack(header)
    if fault := _wrong_crc("length", header[:8], checksum):
        raise _DamageError(f"{fault}; is this a TFRecord file?")
    if length > _MAX_RECORD:
        raise _DamageError(f"corrupt length: expected at most {_MAX_RECORD} bytes, received {length}")
    return length


def _truncated_data(expected: int, received: int) -> _TruncatedError:
    return _TruncatedError(f"truncated data: expected {expected} bytes, received {received}")


def _read(stream: _Stream, size: int) -> bytes:
    """Reads up to `size` bytes, in chunks, so that a wrong length does not allocate memory."""
    chunks = []
    while size:
        chunk = stream.read(min(size, _CHUNK))
        if not chunk:
            break
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def _wrong_crc(part: str, data: bytes, received: int) -> str | None:
    expected = _masked_crc(data)
    if received == expected:
        return None
    return f"corrupt {part}: expected checksum {expected:#010x}, received {received:#010x}"


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _describe(error: Exception) -> tuple[str, str]:
    """Returns the message and the reason code."""
    if isinstance(error, EOFError):
        message = "truncated gzip file: expected the end-of-stream marker, received the end of the file"
        return message, "truncated-file"
    if isinstance(error, _DamageError):
        return str(error), "truncated-file" if isinstance(error, _TruncatedError) else "corrupt-file"
    return f"damaged gzip file: {error}", "corrupt-file"


def _write(stream: IO[bytes] | GzipWriter, records: Iterable[bytes]) -> int:
    count = 0
    for record in records:
        header = struct.pack("<Q", len(record))
        stream.write(header + _FOOTER.pack(_masked_crc(header)) + record + _FOOTER.pack(_masked_crc(record)))
        count += 1
    return count
