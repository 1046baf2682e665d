"""Opens, lists, copies and removes files, local or in object stores (`s3://bucket/clips/day3/*.gz`).

    for path in filesystem.glob("s3://bucket/clips/*.gz"):
        with filesystem.open_path(path, "rb") as file:
            ...

Beam's file systems open paths with a scheme, because TensorFlow does not open `s3://`. Endpoint and credentials come
from the environment (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, ...), or from Beam's flags after a pipeline was made.
Local paths import nothing heavy.
"""

import contextlib
import dataclasses
import functools
import glob as local_glob
import hashlib
import importlib.util
import io
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from typing import IO, Any, cast

_S3 = "s3://"


@dataclasses.dataclass(frozen=True, order=True)
class ListedFile:
    """An entry of a file listing.

    Args:
        path: Full path.
        size: In bytes.
        time: Last modification, in seconds since 1970.
    """

    path: str
    size: int
    time: float


def is_remote(path: str) -> bool:
    """Returns whether a path has a scheme."""
    return "://" in path


def check_scheme(path: str) -> None:
    """Rejects a scheme that no file system opens.

    Raises:
        ValueError: If the scheme is `minio://`, which only the launcher of Kubeflow Pipelines supports.
    """
    if path.startswith("minio://"):
        raise ValueError(
            f"expected a local path, s3:// or gs://, received {path} (for MinIO, use s3:// and set AWS_ENDPOINT_URL)"
        )


def open_path(path: str, mode: str) -> IO[bytes]:
    """Opens a file with mode `rb` or `wb`; a file in an object store appears when it is closed.

    Raises:
        OSError: If the file cannot be opened. Reads and writes of remote files also raise OSError with the path.
    """
    if not is_remote(path):
        return open(path, mode)
    from apache_beam.io.filesystem import CompressionTypes

    system = _file_system(path)
    # Readers decompress themselves, so that they detect damage.
    given = {"compression_type": CompressionTypes.UNCOMPRESSED}
    with _errors_with_path(path):
        return cast(
            IO[bytes], _RemoteFile(path, system.open(path, **given) if mode == "rb" else system.create(path, **given))
        )


def glob(pattern: str) -> list[str]:
    """Returns the files that match a pattern, sorted; hidden files only if the pattern names them.

    Raises:
        OSError: If an object store cannot be reached or denies access; the message has the pattern.
    """
    if not is_remote(pattern):
        return sorted(local_glob.glob(pattern))
    return [file.path for file in _match(pattern)]


def no_match(pattern: str) -> str:
    """Returns the message for a pattern that no file matches; it says so if a bracket in it may be part of a name."""
    hint = " ([ is a wildcard; write [[] for a bracket in a name)" if "[" in pattern.replace("[[]", "") else ""
    return f"expected files, received none that match {pattern}{hint}"


def list_files(pattern: str) -> list[ListedFile]:
    """Returns the files that match a pattern, with size and modification time, sorted as by `glob`.

    A local file that cannot be inspected, such as a broken link, has size 0.

    Raises:
        OSError: If an object store cannot be reached or denies access; the message has the pattern.
    """
    if is_remote(pattern):
        return _match(pattern)
    files = []
    for path in glob(pattern):
        try:
            stat = os.stat(path)
            files.append(ListedFile(path, stat.st_size, stat.st_mtime))
        except OSError:
            files.append(ListedFile(path, 0, 0.0))
    return files


def exists(path: str) -> bool:
    """Returns whether a file (or a local folder) exists."""
    if not is_remote(path):
        return os.path.exists(path)
    system = _file_system(path)
    with _errors_with_path(path):
        if path.startswith(_S3):
            _check_bucket(path)
        return system.exists(path)


def list_below(folder: str) -> list[str]:
    """Returns the files in a folder and its subfolders, hidden files included, as sorted relative paths."""
    if is_remote(folder):
        within = f"{folder.rstrip('/')}/"
        return [file.path.removeprefix(within) for file in _match(f"{within}**", hidden=True)]
    return sorted(
        os.path.relpath(os.path.join(place, name), folder) for place, _, names in os.walk(folder) for name in names
    )


def checksum(path: str) -> str:
    """Returns the checksum that an object store keeps for a file; equal for equal contents, if uploaded alike.

    Raises:
        OSError: If the store cannot be reached or has no such file.
    """
    with _errors_with_path(path):
        return str(_file_system(path).checksum(path))


def total_size(files: Iterable[str]) -> int:
    """Returns the total size of files in bytes; a missing file counts as 0."""
    paths = list(files)
    size = sum(os.path.getsize(path) for path in paths if not is_remote(path) and os.path.exists(path))
    remote = [path for path in paths if is_remote(path)]
    # One listing per folder, because Beam creates a client for each listing, which is slow.
    listings = [_match(f"{folder}/*", hidden=True) for folder in {os.path.dirname(path) for path in remote}]
    sizes = {file.path: file.size for listing in listings for file in listing}
    return size + sum(sizes.get(path, 0) for path in remote)


def copy(source: str, target: str) -> None:
    """Copies a file; creates the target's folder if it is local."""
    if not is_remote(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
    with open_path(source, "rb") as file, open_path(target, "wb") as written:
        shutil.copyfileobj(file, written, 1 << 20)


def sha256(path: str) -> str:
    """Returns the SHA-256 digest of a file, local or remote, as hexadecimal digits; reads it in pieces.

    Raises:
        OSError: If the file cannot be read.
    """
    digest = hashlib.sha256()
    with open_path(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def remove(paths: Iterable[str]) -> None:
    """Removes files from an object store.

    Raises:
        OSError: If a file cannot be removed.
    """
    for path in paths:
        with _errors_with_path(path):
            _file_system(path).delete([path])


class _RemoteFile(io.RawIOBase):
    """A Beam file whose errors are OSErrors with the path; Beam's own differ per store, and most lack the path."""

    def __init__(self, path: str, file: Any):
        self._path = path
        self._file = file

    def readable(self) -> bool:
        return self._file.readable()

    def writable(self) -> bool:
        return self._file.writable()

    def seekable(self) -> bool:
        return self._file.seekable()

    def readinto(self, buffer: Any) -> int:
        with _errors_with_path(self._path):
            return self._file.readinto(buffer)

    def write(self, data: Any) -> int:
        with _errors_with_path(self._path):
            return self._file.write(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            super().close()
            with _errors_with_path(self._path):
                self._file.close()


def _match(pattern: str, hidden: bool = False) -> list[ListedFile]:
    """Returns the files in an object store that match a pattern, sorted."""
    system = _file_system(pattern)
    with _errors_with_path(pattern):
        if pattern.startswith(_S3):
            _check_bucket(pattern)
        (result,) = system.match([pattern])
    files = (ListedFile(one.path, one.size_in_bytes, one.last_updated_in_seconds) for one in result.metadata_list)
    hidden = hidden or "/." in pattern
    # Consoles create empty objects whose names end in a slash to show a folder.
    return sorted(file for file in files if file.path[-1] != "/" and (hidden or "/." not in file.path))


def _check_bucket(pattern: str) -> None:
    """Lists one key, because Beam treats a missing bucket as empty and retries for minutes without credentials."""
    bucket, _, key = pattern.removeprefix(_S3).partition("/")
    (prefix,) = re.findall(r"^[^[*?]*", key)
    environment = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    _s3_client(environment, _options()).list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)


@functools.lru_cache(maxsize=1)
def _s3_client(environment: tuple[tuple[str, str], ...], options: Any) -> Any:  # noqa: ARG001 - part of the key
    """Returns the boto3 client that Beam would use, cached, because creating one is slow."""
    from apache_beam.io.aws.clients.s3 import boto3_client

    return boto3_client.Client(options=options).client


def _file_system(path: str) -> Any:
    if path.startswith(_S3) and importlib.util.find_spec("boto3") is None:
        raise OSError(f"{path}: boto3 is not installed; install framecast[s3]")
    from apache_beam.io.filesystems import FileSystems

    _options()
    with _errors_with_path(path):
        return FileSystems.get_filesystem(path)


def _options() -> Any:
    """Returns the options of Beam's file systems; sets empty ones if unset, because Beam's S3 client requires them."""
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    if FileSystems._pipeline_options is None:
        FileSystems.set_options(PipelineOptions([]))
    return FileSystems._pipeline_options


@contextlib.contextmanager
def _errors_with_path(path: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise OSError(f"{path}: cannot access the file: {error}") from error
