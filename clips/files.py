"""Writes local files atomically: to a temporary file, synced to disk, then renamed over the old one.

write_whole("run.json", text)

with replacing("forecast.nc") as part:
    dataset.to_netcdf(part)
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file atomically.

    Args:
        path: The file, replaced if it exists.
        content: Text, written as UTF-8, or bytes.

    Raises:
        OSError: If the file cannot be written; an existing file is then unchanged.
    """
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], part: str | os.PathLike[str] | None = None) -> Iterator[pathlib.Path]:
    """Yields a temporary path to write to; it replaces `path` if the block ends without an error.

    The temporary file is removed after an error. One left by a killed process is overwritten.

    Args:
        path: The file, replaced if it exists.
        part: The temporary file, on the same file system; by default `path` with `.part` appended.

    Raises:
        OSError: If the file cannot be synced or renamed.
    """
    target = pathlib.Path(path)
    part = target.with_name(f"{target.name}.part") if part is None else pathlib.Path(part)
    try:
        yield part
        _sync(part)
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync(target.parent)  # The rename survives a crash only if the folder is synced too.


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
