"""The index of records: places and digests in any division into files, compared with the records' own bytes."""

import gzip
import os
import re
import struct

import google_crc32c
import numpy as np
import pytest
import tensorflow as tf

from framecast.clips.records import BadFile
from framecast.models.training.clip_files.record_index import index_records

_RECORDS = [bytes([number % 251]) * (number % 37 + 1) + str(number).encode() for number in range(200)]


def _write(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return str(path)


@pytest.fixture(scope="module")
def one_file(tmp_path_factory):
    return _write(tmp_path_factory.mktemp("records") / "all", _RECORDS)


def _read(index, place):
    with open(index.files[index.file[place]], "rb") as file:
        file.seek(index.offset[place] + 12)
        return file.read(index.length[place])


def test_index_finds_every_record_once(tmp_path):
    files = [_write(tmp_path / name, part) for name, part in (("a", _RECORDS[:70]), ("b", []), ("c", _RECORDS[70:]))]
    index = index_records(files)
    assert sorted(_read(index, place) for place in range(len(index.offset))) == sorted(_RECORDS)


def test_order_and_digest_do_not_depend_on_files(one_file, tmp_path):
    order = np.random.default_rng(0).permutation(len(_RECORDS))
    parts = [[_RECORDS[place] for place in part] for part in np.array_split(order, 3)]
    moved = index_records([_write(tmp_path / str(number), part) for number, part in enumerate(parts)])
    index = index_records([one_file])
    assert moved.digest() == index.digest()
    assert [_read(moved, place) for place in range(200)] == [_read(index, place) for place in range(200)]


@pytest.mark.parametrize("change", ["one byte", "one record less", "one record twice"])
def test_digest_depends_on_every_record(one_file, tmp_path, change):
    records = {
        "one byte": [*_RECORDS[:-1], _RECORDS[-1][:-1] + b"x"],
        "one record less": _RECORDS[:-1],
        "one record twice": [*_RECORDS, _RECORDS[0]],
    }[change]
    assert index_records([_write(tmp_path / "other", records)]).digest() != index_records([one_file]).digest()


def test_index_does_not_read_data(tmp_path):
    """500 records of 2 GiB are holes in the file, which take no disk space and would take minutes to read."""
    path, hole = tmp_path / "sparse", 2**31 - 1
    length = struct.pack("<Q", hole)
    crc = google_crc32c.value(length)
    header = length + struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
    with open(path, "wb") as file:
        for _ in range(500):
            file.write(header)
            file.seek(hole, os.SEEK_CUR)
            file.write(b"\0\0\0\0")
    assert index_records([str(path)]).length.tolist() == [hole] * 500


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-3], "record 199: truncated data: expected 22 bytes, received 19"),
        (lambda data: data[:10], "record 0: truncated header: expected 12 bytes, received 10"),
        (lambda data: b"\x09" + data[1:], "record 0: corrupt length"),
        (gzip.compress, "record 0: expected a TFRecord file without compression, received a gzip file"),
    ],
    ids=["cut in data", "cut in header", "corrupt length", "gzip"],
)
def test_damaged_file_names_file_and_record(one_file, tmp_path, damage, message):
    path = tmp_path / "damaged"
    with open(one_file, "rb") as file:
        path.write_bytes(damage(file.read()))
    with pytest.raises(BadFile, match=f"^{re.escape(f'{path}, {message}')}"):
        index_records([str(path)])
