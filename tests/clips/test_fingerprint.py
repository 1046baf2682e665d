"""Fingerprints of input files: contents count, time stamps do not."""

import os
import pathlib

import pytest

from framecast.clips.fingerprint import fingerprint


@pytest.fixture(params=["", "state/file_digests.json"], ids=["every file read", "known digests"])
def find(tmp_path, request):
    known = request.param and str(tmp_path / request.param)
    return lambda: fingerprint(f"{tmp_path}/*.gz", known)


@pytest.fixture
def write(tmp_path):
    def write(name, data, time=1_700_000_000):
        (tmp_path / name).write_bytes(data)
        os.utime(tmp_path / name, (time, time))

    return write


def test_touched_file_keeps_the_fingerprint(find, write):
    write("a.gz", b"clips")
    first = find()
    write("a.gz", b"clips", time=1_800_000_000)
    assert find() == first
    assert first.startswith("1 files of 5 bytes, ")


@pytest.mark.parametrize(("name", "data"), [("a.gz", b"clipz"), ("b.gz", b"clips"), ("a.gz", b"")])
def test_changed_or_new_file_changes_the_fingerprint(find, write, name, data):
    write("a.gz", b"clips")
    first = find()
    write(name, data, time=1_800_000_000)
    assert find() != first


def test_file_outside_the_pattern_changes_nothing(find, write):
    write("a.gz", b"clips")
    first = find()
    write("a.txt", b"")
    assert find() == first


def test_unchanged_file_is_not_read_again(tmp_path, write):
    known = str(tmp_path / "known.json")
    write("a.gz", b"clips")
    write("b.gz", b"clips")
    fingerprint(f"{tmp_path}/*.gz", known)
    write("b.gz", b"other")  # Of the same size and time: only a second reading would notice.
    assert fingerprint(f"{tmp_path}/*.gz", known) == fingerprint(f"{tmp_path}/*.gz", known)
    assert fingerprint(f"{tmp_path}/*.gz") != fingerprint(f"{tmp_path}/*.gz", known)


def test_unreadable_file_is_left_to_the_reader(find, write, tmp_path):
    write("a.gz", b"clips")
    (tmp_path / "b.gz").symlink_to("gone")
    first = find()
    assert first.startswith("2 files of 5 bytes, ")
    (tmp_path / "gone").write_bytes(b"back again")
    assert find() != first


def test_damaged_known_digests_are_made_again(tmp_path, write):
    known = tmp_path / "known.json"
    write("a.gz", b"clips")
    known.write_text("{")
    assert fingerprint(f"{tmp_path}/a.gz", str(known)) == fingerprint(f"{tmp_path}/a.gz")
    assert str(tmp_path / "a.gz") in known.read_text()


def test_bucket_fingerprint_follows_contents(bucket):
    pattern = f"{bucket.uri}/day1/*.gz"
    bucket.put("day1/a.gz", b"clips")
    first = fingerprint(pattern)
    bucket.put("day1/a.gz", b"clips")
    bucket.put("day2/b.gz", b"clips")
    assert fingerprint(pattern) == first
    bucket.put("day1/a.gz", b"clipz")
    assert fingerprint(pattern) != first


def test_no_match_names_the_pattern(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected files, received none that match"):
        fingerprint(str(pathlib.Path(tmp_path) / "*.gz"))
