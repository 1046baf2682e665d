"""Simulates object stores by folders, and maps object URIs to the launcher's local paths."""

import pathlib
import shutil

_FOLDERS = {"minio": "minio", "s3": "s3", "gs": "gcs"}


def local_path(root: pathlib.Path, uri: str) -> pathlib.Path | None:
    """Returns the path of an object in KFP's launcher: `root/minio/b/k` for `minio://b/k`, `root/gcs/...` for `gs://`.

    Returns:
        The path; None if the URI is not in an object store.

    Raises:
        ValueError: If the URI contains `..`.
    """
    scheme, separator, key = uri.partition("://")
    if not separator or scheme not in _FOLDERS:
        return None
    if ".." in pathlib.PurePosixPath(key).parts:
        raise ValueError(f"{uri}: expected an object URI without '..'")
    return root / _FOLDERS[scheme] / key


class Store:
    """Object stores in a folder. As in real object stores, an empty folder does not exist.

    Args:
        folder: Contains a folder per store (`minio`, `s3`, `gcs`), each with a folder per bucket.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder

    def path(self, uri: str) -> pathlib.Path | None:
        """Returns the path of an object or prefix; None if the URI is not in an object store."""
        return local_path(self.folder, uri)

    def download(self, uri: str, to: pathlib.Path) -> None:
        """Copies an object, or all objects under a prefix; a missing one copies nothing."""
        source = self.path(uri)
        assert source is not None
        _copy(source, to)

    def upload(self, source: pathlib.Path, uri: str) -> None:
        """Copies a file, or every file below a folder."""
        to = self.path(uri)
        assert to is not None
        _copy(source, to)


def _copy(source: pathlib.Path, to: pathlib.Path) -> None:
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    for file in files:
        copy = to / file.relative_to(source) if file != source else to
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
