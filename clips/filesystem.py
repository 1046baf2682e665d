"""Files by their path: local ones, and those in object stores, `s3://bucket/clips/day3/*.gz`.

    for path in stores.glob("s3://bucket/clips/*.gz"):
        with stores.open_path(path, "rb") as file:
            ...

What has a scheme is opened by Beam's file systems: TensorFlow opens no `s3://`. Endpoint and credentials are those of
the environment (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, ...), or of Beam's flags where a pipeline has been made.
Nothing heavy is imported for a local path.
"""

import contextlib
import dataclasses
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
class Stored:
    """A file, as a listing has it.

    Args:
        path: Where it is.
        size: In bytes.
        time: Of its last change, in seconds since 1970.
    """

    path: str
    size: int
    time: float


def is_remote(path: str) -> bool:
    """Returns whether a path has a scheme."""
    return "://" in path


def check_scheme(path: str) -> None:
    """Refuses a scheme that nothing opens.

    Raises:
        ValueError: When it is `minio://`, which only Kubeflow Pipelines' launcher knows.
    """
    if path.startswith("minio://"):
        raise ValueError(
            f"expected a local path, s3:// or gs://, received {path} (MinIO is s3://, its address in AWS_ENDPOINT_URL)"
        )


def open_path(path: str, mode: str) -> IO[bytes]:
    """Opens a file, `mode` being `rb` or `wb`; in an object store it is there only once it is closed.

    Raises:
        OSError: When it cannot be opened; for a remote one also from reading and writing, naming the path.
    """
    if not is_remote(path):
        return open(path, mode)
    from apache_beam.io.filesystem import CompressionTypes

    system = _file_system(path)
    # Not by its name: who reads decompresses, and tells a damaged file by that.
    given = {"compression_type": CompressionTypes.UNCOMPRESSED}
    with _naming(path):
        return cast(
            IO[bytes], _Named(path, system.open(path, **given) if mode == "rb" else system.create(path, **given))
        )


def glob(pattern: str) -> list[str]:
    """Returns the files that a pattern matches, sorted; hidden ones only when it names them.

    Raises:
        OSError: When an object store does not answer or refuses, naming the pattern.
    """
    if not is_remote(pattern):
        return sorted(local_glob.glob(pattern))
    return [file.path for file in _match(pattern)]


def list_files(pattern: str) -> list[Stored]:
    """Returns the files that a pattern matches, with size and time, sorted as by `glob`.

    A local file that cannot be inspected, such as a broken link, has size 0.

    Raises:
        OSError: If an object store does not answer or refuses, naming the pattern.
    """
    if is_remote(pattern):
        return _match(pattern)
    files = []
    for path in glob(pattern):
        try:
            stat = os.stat(path)
            files.append(Stored(path, stat.st_size, stat.st_mtime))
        except OSError:
            files.append(Stored(path, 0, 0.0))
    return files


def exists(path: str) -> bool:
    """Returns whether there is such a file, or locally such a folder: object stores have none."""
    if not is_remote(path):
        return os.path.exists(path)
    system = _file_system(path)
    with _naming(path):
        if path.startswith(_S3):
            _ask(path)
        return system.exists(path)


def list_below(folder: str) -> list[str]:
    """Returns the files in a folder and below, hidden ones too, sorted, as they are called from there."""
    if is_remote(folder):
        within = f"{folder.rstrip('/')}/"
        return [file.path.removeprefix(within) for file in _match(f"{within}**", hidden=True)]
    return sorted(
        os.path.relpath(os.path.join(place, name), folder) for place, _, names in os.walk(folder) for name in names
    )


def fingerprint(pattern: str) -> str:
    """Returns what changes with the files that a pattern matches: number, names, sizes and times.

    Raises:
        FileNotFoundError: When it matches none.
    """
    if is_remote(pattern):
        files = _match(pattern)
    else:
        found = [(path, os.stat(path)) for path in glob(pattern)]
        files = [Stored(path, stat.st_size, stat.st_mtime) for path, stat in found]
    if not files:
        raise FileNotFoundError(f"expected files, received none that match {pattern}")
    size = sum(file.size for file in files)
    digest = hashlib.sha256("\n".join(f"{file.path}\0{file.size}\0{file.time}" for file in files).encode())
    return f"{len(files)} files of {size} bytes, {digest.hexdigest()[:16]}"


def total_size(files: Iterable[str]) -> int:
    """Returns how many bytes files have together; what is not there has none."""
    size = 0
    for path in files:
        if is_remote(path):
            size += sum(file.size for file in _match(path))
        elif os.path.exists(path):
            size += os.path.getsize(path)
    return size


def copy(source: str, target: str) -> None:
    """Copies a file; the folder that it is copied to is made where there are folders."""
    if not is_remote(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
    with open_path(source, "rb") as file, open_path(target, "wb") as written:
        shutil.copyfileobj(file, written, 1 << 20)


def remove(paths: Iterable[str]) -> None:
    """Removes files of an object store.

    Raises:
        OSError: When one cannot be removed.
    """
    for path in paths:
        with _naming(path):
            _file_system(path).delete([path])


class _Named(io.RawIOBase):
    """A file of Beam's, whose errors name it; Beam's own are of each store's kind, and most name nothing."""

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
        with _naming(self._path):
            return self._file.readinto(buffer)

    def write(self, data: Any) -> int:
        with _naming(self._path):
            return self._file.write(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            super().close()
            with _naming(self._path):
                self._file.close()


def _match(pattern: str, hidden: bool = False) -> list[Stored]:
    """Returns the files of an object store that a pattern matches, sorted."""
    system = _file_system(pattern)
    with _naming(pattern):
        if pattern.startswith(_S3):
            _ask(pattern)
        (result,) = system.match([pattern])
    files = (Stored(one.path, one.size_in_bytes, one.last_updated_in_seconds) for one in result.metadata_list)
    hidden = hidden or "/." in pattern
    # What ends in a slash is no file: consoles write such names to show a folder.
    return sorted(file for file in files if file.path[-1] != "/" and (hidden or "/." not in file.path))


def _ask(pattern: str) -> None:
    """Asks S3 first: Beam takes a missing bucket for an empty one, and tries for minutes without credentials."""
    from apache_beam.io.aws.clients.s3 import boto3_client

    bucket, _, key = pattern.removeprefix(_S3).partition("/")
    (prefix,) = re.findall(r"^[^[*?]*", key)
    boto3_client.Client(options=_options()).client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)


def _file_system(path: str) -> Any:
    if path.startswith(_S3) and importlib.util.find_spec("boto3") is None:
        raise OSError(f"{path}: expected framecast[s3] to be installed, found no boto3")
    from apache_beam.io.filesystems import FileSystems

    _options()
    with _naming(path):
        return FileSystems.get_filesystem(path)


def _options() -> Any:
    """Returns the options of Beam's file systems; before there is a pipeline there are none, and S3 wants some."""
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    if FileSystems._pipeline_options is None:
        FileSystems.set_options(PipelineOptions([]))
    return FileSystems._pipeline_options


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise OSError(f"{path}: expected a file that can be opened, received: {error}") from error
