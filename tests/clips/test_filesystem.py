"""Files in an S3 that runs here, seen through ours and through boto3, and the same files on a disk."""

import importlib.util
import os

import pytest

from framecast.clips import filesystem

_KEYS = ("day1/a.gz", "day1/b.gz", "day1/.c.gz", "day1/deep/d.gz", "day2/a.gz", "day10/a.txt", ".day3/a.gz")


@pytest.fixture
def both(bucket, tmp_path):
    """The same files in a bucket and in a folder."""
    for key in _KEYS:
        bucket.put(key, key.encode())
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(key.encode())
    bucket.put("day1/")  # As a console marks a folder.
    return bucket.uri, str(tmp_path)


@pytest.mark.parametrize(
    "pattern", ["day1/*.gz", "*/a.gz", "day?/[ab].gz", "day[0-9]*/*", "day1/.*.gz", "day1/a.gz", "day1/none*", "none"]
)
def test_a_pattern_matches_in_a_bucket_what_it_matches_in_a_folder(both, pattern):
    remote, local = both
    found = [os.path.relpath(path, local) for path in filesystem.glob(f"{local}/{pattern}") if not os.path.isdir(path)]
    assert filesystem.glob(f"{remote}/{pattern}") == [f"{remote}/{path}" for path in found]


def test_what_lies_below_is_listed_alike(both):
    remote, local = both
    assert filesystem.list_below(remote) == filesystem.list_below(local) == sorted(_KEYS)
    assert filesystem.list_below(f"{remote}/day1/") == filesystem.list_below(f"{local}/day1/")
    assert filesystem.list_below(f"{remote}/day") == []
    assert filesystem.exists(f"{remote}/day1/a.gz")
    assert not filesystem.exists(f"{remote}/day1/none.gz")


def test_sizes_add_up_and_what_is_not_there_has_none(both):
    for base in both:
        files = [f"{base}/{key}" for key in _KEYS]
        assert filesystem.total_size([*files, f"{base}/none"]) == sum(map(len, _KEYS))
    assert filesystem.total_size([]) == 0


def test_bytes_are_written_and_read_as_they_are(bucket):
    data = bytes(range(256)) * 60_000  # More than one part of an upload.
    with filesystem.open_path(f"{bucket.uri}/a.gz", "wb") as file:
        file.write(data)
    assert bucket.get("a.gz") == data
    with filesystem.open_path(f"{bucket.uri}/a.gz", "rb") as file:
        assert file.read(3) == data[:3]
        file.seek(0)
        assert file.read() == data


def test_copies_go_both_ways(bucket, tmp_path):
    (tmp_path / "a").write_bytes(b"model")
    filesystem.copy(str(tmp_path / "a"), f"{bucket.uri}/1/a")
    filesystem.copy(f"{bucket.uri}/1/a", str(tmp_path / "below" / "a"))
    assert (bucket.get("1/a"), (tmp_path / "below" / "a").read_bytes()) == (b"model", b"model")
    filesystem.remove([f"{bucket.uri}/1/a"])
    assert bucket.list() == []


def test_a_fingerprint_changes_with_the_files_that_match_and_not_otherwise(both, bucket):
    remote, _ = both
    first = filesystem.fingerprint(f"{remote}/day1/*.gz")
    bucket.put("day1/a.txt")
    bucket.put("day2/b.gz")
    assert filesystem.fingerprint(f"{remote}/day1/*.gz") == first
    bucket.put("day1/e.gz")
    second = filesystem.fingerprint(f"{remote}/day1/*.gz")
    bucket.put("day1/e.gz", b"replaced")
    assert len({first, second, filesystem.fingerprint(f"{remote}/day1/*.gz")}) == 3
    with pytest.raises(FileNotFoundError, match=f"expected files, received none that match {remote}/none"):
        filesystem.fingerprint(f"{remote}/none")


def test_a_file_that_is_gone_is_named(both, bucket):
    path = f"{both[0]}/day1/a.gz"
    with filesystem.open_path(path, "rb") as file:
        bucket.client.delete_object(Bucket=bucket.name, Key="day1/a.gz")
        with pytest.raises(OSError, match=f"{path}: .*does not exist"):
            file.read()
    with pytest.raises(OSError, match=f"{path}: .*Not found"):
        filesystem.open_path(path, "rb")


def test_a_bucket_that_is_not_there_is_not_an_empty_one(bucket):
    with pytest.raises(OSError, match=r"s3://nowhere/a\*: .*NoSuchBucket"):
        filesystem.glob("s3://nowhere/a*")


def test_missing_credentials_are_told_at_once(bucket, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"slept {seconds} s"))
    with pytest.raises(OSError, match=r"s3://.*: .*credentials"):
        filesystem.glob(f"{bucket.uri}/*")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OSError, match=r"s3://bucket/a: expected framecast\[s3\] to be installed, found no boto3"):
        filesystem.glob("s3://bucket/a")


@pytest.mark.parametrize("path", ["ftp://host/a", "minio://bucket/a"])
def test_a_scheme_that_nothing_opens_is_named(path):
    with pytest.raises(OSError, match=f"{path}: .*nable to get filesystem"):
        filesystem.glob(path)
