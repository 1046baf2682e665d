"""Tests files in a local S3 server against boto3 and against the same files on disk."""

import importlib.util
import os

import boto3
import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from framecast.clips import filesystem

_KEYS = ("day1/a.gz", "day1/b.gz", "day1/.c.gz", "day1/deep/d.gz", "day2/a.gz", "day10/a.txt", ".day3/a.gz")


def _fill(client, name, folder):
    """Writes the same files to a bucket and to a folder; returns both addresses."""
    for key in _KEYS:
        client.put_object(Bucket=name, Key=key, Body=key.encode())
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(key.encode())
    client.put_object(Bucket=name, Key="day1/")  # Consoles create such objects to show a folder.
    return f"s3://{name}", str(folder)


@pytest.fixture
def filled(bucket, tmp_path):
    """The same files in a bucket and in a folder."""
    return _fill(bucket.client, bucket.name, tmp_path)


@pytest.fixture(scope="module")
def shared_files(s3_address, tmp_path_factory):
    """As `filled`, for tests that only read; made once."""
    keys = {"aws_access_key_id": "framecast", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=s3_address, **keys)
    client.create_bucket(Bucket="framecast-shared-files")
    return _fill(client, "framecast-shared-files", tmp_path_factory.mktemp("files"))


@pytest.fixture
def both(shared_files, bucket):
    """The shared files, with the credentials of `bucket` in the environment."""
    return shared_files


@pytest.mark.parametrize(
    "pattern", ["day1/*.gz", "*/a.gz", "day?/[ab].gz", "day[0-9]*/*", "day1/.*.gz", "day1/a.gz", "day1/none*", "none"]
)
def test_glob_matches_alike_in_bucket_and_folder(both, pattern):
    remote, local = both
    found = [os.path.relpath(path, local) for path in filesystem.glob(f"{local}/{pattern}") if not os.path.isdir(path)]
    assert filesystem.glob(f"{remote}/{pattern}") == [f"{remote}/{path}" for path in found]


def test_listing_is_alike_in_bucket_and_folder(both):
    remote, local = both
    assert filesystem.list_below(remote) == filesystem.list_below(local) == sorted(_KEYS)
    assert filesystem.list_below(f"{remote}/day1/") == filesystem.list_below(f"{local}/day1/")
    assert filesystem.list_below(f"{remote}/day") == []
    assert filesystem.exists(f"{remote}/day1/a.gz")
    assert not filesystem.exists(f"{remote}/day1/none.gz")


def test_total_size_counts_missing_files_as_zero(both):
    for base in both:
        files = [f"{base}/{key}" for key in _KEYS]
        assert filesystem.total_size([*files, f"{base}/none"]) == sum(map(len, _KEYS))
    assert filesystem.total_size([]) == 0


def test_bytes_round_trip(bucket):
    data = bytes(range(256)) * 60_000  # More than one part of an upload.
    with filesystem.open_path(f"{bucket.uri}/a.gz", "wb") as file:
        file.write(data)
    assert bucket.get("a.gz") == data
    with filesystem.open_path(f"{bucket.uri}/a.gz", "rb") as file:
        assert file.read(3) == data[:3]
        file.seek(0)
        assert file.read() == data


def test_copy_to_and_from_bucket(bucket, tmp_path):
    (tmp_path / "a").write_bytes(b"model")
    filesystem.copy(str(tmp_path / "a"), f"{bucket.uri}/1/a")
    filesystem.copy(f"{bucket.uri}/1/a", str(tmp_path / "below" / "a"))
    assert (bucket.get("1/a"), (tmp_path / "below" / "a").read_bytes()) == (b"model", b"model")
    filesystem.remove([f"{bucket.uri}/1/a"])
    assert bucket.list() == []


def test_deleted_file_is_named(filled, bucket):
    path = f"{filled[0]}/day1/a.gz"
    with filesystem.open_path(path, "rb") as file:
        bucket.client.delete_object(Bucket=bucket.name, Key="day1/a.gz")
        with pytest.raises(OSError, match=f"{path}: .*does not exist"):
            file.read()
    with pytest.raises(OSError, match=f"{path}: .*Not found"):
        filesystem.open_path(path, "rb")


def test_missing_bucket_raises(bucket):
    with pytest.raises(OSError, match=r"s3://nowhere/a\*: .*NoSuchBucket"):
        filesystem.glob("s3://nowhere/a*")


def test_missing_credentials_raise_without_retry(bucket, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"slept {seconds} s"))
    with pytest.raises(OSError, match=r"s3://.*: .*credentials"):
        filesystem.glob(f"{bucket.uri}/*")


def test_missing_boto3_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OSError, match=r"s3://bucket/a: boto3 is not installed; install framecast\[s3\]"):
        filesystem.glob("s3://bucket/a")


@pytest.mark.parametrize("path", ["ftp://host/a", "minio://bucket/a"])
def test_unsupported_scheme_is_named(path):
    with pytest.raises(OSError, match=f"{path}: .*nable to get filesystem"):
        filesystem.glob(path)


def test_beam_keeps_options_where_files_read_them(both, monkeypatch):
    moved = "Beam has moved FileSystems._pipeline_options, which framecast.clips.filesystem reads: read the new place"
    assert hasattr(FileSystems, "_pipeline_options"), moved
    monkeypatch.setattr(FileSystems, "_pipeline_options", None)
    assert filesystem.list_files(f"{both[0]}/day2/*")  # Sets empty options.
    empty = FileSystems._pipeline_options
    assert isinstance(empty, PipelineOptions), moved
    options = PipelineOptions(["--s3_region_name=eu-west-1"])
    FileSystems.set_options(options)
    assert FileSystems._pipeline_options is options, moved
