"""Locates the records of TFRecord files without reading their data, for random access and for a digest of the content.

    index = index_records(files)
    index.digest()
    index.files[index.file[0]], index.offset[0]

The order of the index depends on the records alone: not on the names or the number of the files, nor on the order of
the records in them. It takes 24 bytes of memory per record.
"""

import array
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from framecast.clips.records import scan_records


class RecordIndex(NamedTuple):
    """The records of TFRecord files, ordered by checksum and length.

    Args:
        files: The files.
        file: `(records,)` int32, index of each record's file.
        offset: `(records,)` int64, first byte of each record's header.
        length: `(records,)` int64, bytes of each record's data.
        checksum: `(records,)` uint32, checksum of each record's data.
    """

    files: tuple[str, ...]
    file: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    checksum: np.ndarray

    def digest(self) -> str:
        """Returns a digest of the records' lengths and checksums."""
        total = hashlib.sha256(self.length.astype("<i8").tobytes())
        total.update(self.checksum.astype("<u4").tobytes())
        return total.hexdigest()[:16]


def index_records(files: Sequence[str]) -> RecordIndex:
    """Locates all records. The time depends on their number, not on their size.

    Args:
        files: Local TFRecord files without compression.

    Raises:
        BadFile: If a file is compressed, damaged or truncated.
    """
    file, offset, length, checksum = array.array("i"), array.array("q"), array.array("q"), array.array("I")
    for number, name in enumerate(files):
        for record in scan_records(name):
            file.append(number)
            for column, value in zip((offset, length, checksum), record):
                column.append(value)
    columns = [np.array(column, column.typecode) for column in (file, offset, length, checksum)]
    order = np.lexsort((columns[2], columns[3]))
    return RecordIndex(tuple(files), *(column[order] for column in columns))
