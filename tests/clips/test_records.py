"""Tests TFRecord files against TensorFlow's reader and writer, and the errors for damaged files."""

import gzip
import pickle
import random
import struct
import zlib

import google_crc32c
import pytest
import tensorflow as tf

from framecast.clips import filesystem
from framecast.clips.records import BadFile, find_files, read_records, write_records

_RECORDS = [b"first", b"", b"\x00" * 5000, bytes(range(256)) * 300]


def _write(path, options, records=_RECORDS):
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for record in records:
            writer.write(record)
    return path.read_bytes()


def _read(path):
    return [record for _, record in read_records(path)]


@pytest.mark.parametrize(
    ("options", "name"), [("", "clips.tfrecord"), ("GZIP", "clips.tfrecord.gz"), ("GZIP", "clips.tfrecord")]
)
def test_compression_is_detected_from_content(tmp_path, options, name):
    _write(tmp_path / name, options)
    assert list(read_records(tmp_path / name)) == list(enumerate(_RECORDS))


@pytest.mark.parametrize(("name", "compression"), [("clips.tfrecord", ""), ("clips.tfrecord.gz", "GZIP")])
def test_tensorflow_reads_written_records(tmp_path, name, compression):
    path = tmp_path / name
    assert write_records(path, iter(_RECORDS)) == len(_RECORDS)
    assert list(tf.data.TFRecordDataset(str(path), compression).as_numpy_iterator()) == _RECORDS


def test_equal_records_give_equal_bytes(tmp_path):
    for name in ("a.gz", "b.gz"):
        write_records(tmp_path / name, _RECORDS)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_multi_member_gzip_is_read_completely(tmp_path):
    data = _write(tmp_path / "one.gz", "GZIP")
    (tmp_path / "two.gz").write_bytes(data + data)
    assert _read(tmp_path / "two.gz") == _RECORDS + _RECORDS


def test_plain_file_with_gzip_magic_is_read(tmp_path):
    record = b"\x07" * 0x8B1F
    data = _write(tmp_path / "clips.tfrecord", "", [record])
    assert data.startswith(b"\x1f\x8b")
    assert _read(tmp_path / "clips.tfrecord") == [record]


def test_truncated_gzip_names_file_and_record(tmp_path):
    path = tmp_path / "clips.tfrecord.gz"
    data = _write(path, "GZIP", _RECORDS[:3])
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(BadFile, match=r"clips\.tfrecord\.gz, record [0-3]: ") as caught:
            _read(path)
        assert caught.value.path == str(path)


def test_gzip_truncated_between_records_raises_after_them(tmp_path):
    plain = _write(tmp_path / "plain", "")
    first_two = 2 * 16 + len(_RECORDS[0]) + len(_RECORDS[1])
    packer = zlib.compressobj(wbits=31)
    path = tmp_path / "cut.gz"
    path.write_bytes(packer.compress(plain[:first_two]) + packer.flush(zlib.Z_FULL_FLUSH))
    read = []
    with pytest.raises(BadFile, match=r"record 2: truncated gzip file: expected the end-of-stream marker"):
        read.extend(record for _, record in read_records(path))
    assert read == _RECORDS[:2]


def test_plain_file_truncated_inside_record_raises(tmp_path):
    path = tmp_path / "clips.tfrecord"
    data = _write(path, "", [b"first", b"second"])
    boundary = 16 + len(b"first")
    for size in range(boundary + 1, len(data)):
        path.write_bytes(data[:size])
        part = "header: expected 12 bytes" if size < boundary + 12 else "data: expected 10 bytes"
        with pytest.raises(BadFile, match=rf"clips\.tfrecord, record 1: truncated {part}, received \d+"):
            _read(path)


@pytest.mark.parametrize(("place", "what"), [(0, "length"), (9, "length"), (14, "data"), (17 + 3, "data")])
def test_flipped_bit_is_detected(tmp_path, place, what):
    path = tmp_path / "clips.tfrecord"
    data = bytearray(_write(path, "", [b"first", b"second"]))
    data[21 + place] ^= 1
    path.write_bytes(data)
    message = rf"record 1: corrupt {what}: expected checksum 0x[0-9a-f]{{8}}, received 0x[0-9a-f]{{8}}"
    with pytest.raises(BadFile, match=message):
        _read(path)


def test_flipped_bit_in_gzip_is_detected(tmp_path):
    path = tmp_path / "clips.tfrecord.gz"
    data = _write(path, "GZIP")
    for place in range(20, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(BadFile, match=r"clips\.tfrecord\.gz, record [0-4]: "):
            _read(path)


@pytest.mark.parametrize(
    "content", [b"any text that is longer than a header", gzip.compress(b"any text in gzip", mtime=0)]
)
def test_non_tfrecord_file_is_rejected(tmp_path, content):
    (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(BadFile, match=r"notes\.txt, record 0: corrupt length: .* is this a TFRecord file\?"):
        _read(tmp_path / "notes.txt")


def test_wrong_length_allocates_no_memory(tmp_path):
    whole = _write(tmp_path / "small", "", [b""])
    length = struct.pack("<Q", 2**60)
    crc = google_crc32c.value(length)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    (tmp_path / "large").write_bytes(whole + length + struct.pack("<I", masked))
    with pytest.raises(BadFile, match=r"record 1: corrupt length: expected at most 2147483647 bytes"):
        _read(tmp_path / "large")


def test_empty_plain_file_has_no_records(tmp_path):
    (tmp_path / "clips-00001-of-00002").write_bytes(b"")
    assert _read(tmp_path / "clips-00001-of-00002") == []


def test_records_are_streamed(tmp_path, monkeypatch):
    path = tmp_path / "clips.tfrecord.gz"
    write_records(path, (random.Random(number).randbytes(100_000) for number in range(20)))
    opened = []

    def spy(name, mode):
        opened.append(open(name, mode))  # noqa: SIM115 - read_records closes it
        return opened[0]

    monkeypatch.setattr(filesystem, "open_path", spy)
    records = read_records(path)
    next(records)
    assert opened[0].tell() < path.stat().st_size / 2
    records.close()
    assert opened[0].closed


def test_object_store_files_equal_local_files(tmp_path, bucket):
    for path in (f"{bucket.uri}/clips.tfrecord.gz", tmp_path / "clips.tfrecord.gz"):
        write_records(path, _RECORDS)
        assert _read(path) == _RECORDS
    whole = (tmp_path / "clips.tfrecord.gz").read_bytes()
    assert bucket.get("clips.tfrecord.gz") == whole
    bucket.put("cut.tfrecord.gz", whole[:-9])
    with pytest.raises(BadFile, match=f"{bucket.uri}/cut.tfrecord.gz, record {len(_RECORDS)}: truncated gzip file"):
        _read(f"{bucket.uri}/cut.tfrecord.gz")


def test_bad_file_survives_pickling():
    copy = pickle.loads(pickle.dumps(BadFile("a.gz", 3, "cut", "truncated-file")))
    assert (str(copy), copy.path, copy.record, copy.reason) == ("a.gz, record 3: cut", "a.gz", 3, "truncated-file")


def test_hidden_files_are_skipped(tmp_path):
    (tmp_path / "below").mkdir()
    for name in ("b", "below/c", ".open", "below/.open"):
        (tmp_path / name).touch()
    found = [str(tmp_path / name) for name in ("b", "below/c")]
    assert list(find_files([str(tmp_path)])) == found
    assert list(find_files([str(tmp_path / "below" / "*"), found[0]])) == [found[1], found[0]]
    with pytest.raises(FileNotFoundError, match="nowhere: expected files, received none"):
        list(find_files([str(tmp_path / "nowhere")]))


def test_object_store_prefix_is_searched(bucket):
    for key in ("day1/b", "day1/below/c", "day1/.open", "day1/manifest.json", "day10/a"):
        bucket.put(key)
    found = [f"{bucket.uri}/day1/{name}" for name in ("b", "below/c")]
    assert list(find_files([f"{bucket.uri}/day1"])) == found
    assert list(find_files([f"{bucket.uri}/day1/*", found[1]])) == [
        found[0],
        f"{bucket.uri}/day1/manifest.json",
        found[1],
    ]
    with pytest.raises(FileNotFoundError, match="day2: expected files, received none"):
        list(find_files([f"{bucket.uri}/day2"]))
