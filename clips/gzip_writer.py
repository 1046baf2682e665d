"""Writes gzip files; data that do not shrink, such as PNG images, are stored, which takes a tenth of the time."""

import struct
import zlib
from typing import IO

_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # Without a name or time, so that equal data give equal files.
_LEVEL = 6
_SAMPLE = 1 << 12  # Bytes amid each write that decide whether it is compressed.
_LEAST_GAIN = 0.1  # Share that must be saved.


class GzipWriter:
    """Writes one gzip member to an open file, as a context manager.

    with GzipWriter(file) as stream:
        stream.write(record)
    """

    def __init__(self, file: IO[bytes]):
        self._file = file
        self._checksum = zlib.crc32(b"")
        self._size = 0
        self._level: int | None = None
        self._packer = zlib.compressobj(0, zlib.DEFLATED, -zlib.MAX_WBITS)
        file.write(_HEADER)

    def __enter__(self) -> "GzipWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._use(self._level or 0)
            self._file.write(self._packer.flush())
            self._file.write(struct.pack("<II", self._checksum, self._size & 0xFFFFFFFF))

    def write(self, data: bytes) -> None:
        """Appends data, which are compressed or stored as a whole."""
        sample = data[len(data) // 2 :][:_SAMPLE]
        self._use(_LEVEL if len(zlib.compress(sample, 1)) <= (1 - _LEAST_GAIN) * len(sample) else 0)
        self._file.write(self._packer.compress(data))
        self._checksum = zlib.crc32(data, self._checksum)
        self._size += len(data)

    def _use(self, level: int) -> None:
        """Continues the stream at a level; 0 stores."""
        if level == self._level:
            return
        if self._level is not None:
            # Ends at a whole byte, where the blocks of another compressor can follow.
            self._file.write(self._packer.flush(zlib.Z_SYNC_FLUSH))
        self._packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._level = level
