"""Folders that stand for the buckets of object stores, and the launcher's local paths of what lies in them."""

import pathlib
import shutil

_FOLDERS = {"minio": "minio", "s3": "s3", "gs": "gcs"}


def local_path(root: pathlib.Path, uri: str) -> pathlib.Path | None:
    """Returns where KFP's launcher has the object of a URI: `minio://b/k` in `root/minio/b/k`, `gs://` in `root/gcs`.

    Returns:
        The path; None when the URI is of no object store.

    Raises:
        ValueError: When the URI leads out of the folder.
    """
    scheme, separator, key = uri.partition("://")
    if not separator or scheme not in _FOLDERS:
        return None
    if ".." in pathlib.PurePosixPath(key).parts:
        raise ValueError(f"{uri}: expected an object's URI, which has no '..'")
    return root / _FOLDERS[scheme] / key


class Store:
    """Object stores on this machine. As in the real ones there are objects only: an empty folder is nothing.

    Args:
        folder: Has a folder for each kind of store (`minio`, `s3`, `gcs`), with a folder for each bucket.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder

    def path(self, uri: str) -> pathlib.Path | None:
        """Returns where the object, or everything under the prefix, lies; None when the URI is of no object store."""
        return local_path(self.folder, uri)

    def download(self, uri: str, to: pathlib.Path) -> None:
        """Copies an object, or everything under a prefix; what does not exist leaves nothing behind."""
        source = self.path(uri)
        assert source is not None
        _copy(source, to)

    def upload(self, source: pathlib.Path, uri: str) -> None:
        """Copies a file, or every file of a folder."""
        to = self.path(uri)
        assert to is not None
        _copy(source, to)


def _copy(source: pathlib.Path, to: pathlib.Path) -> None:
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    for file in files:
        copy = to / file.relative_to(source) if file != source else to
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
