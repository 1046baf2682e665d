"""Writes local files whole: beside the target, synced to disk, then renamed. A reader sees the old file or the new one.

write_whole("run.json", text)
with replacing("forecast.nc") as part:
    dataset.to_netcdf(part)
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file in one piece.

    Args:
        path: The file, replaced if it exists.
        content: Text, written as UTF-8, or bytes.

    Raises:
        OSError: If the file cannot be written; the old one is then unchanged.
    """
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields the path to write to, which replaces `path` when the block ends without an error.

    The temporary file is `path` with `.part` appended. It is removed after an error; one that a killed process left is
    overwritten.

    Raises:
        OSError: If the file cannot be synced or renamed.
    """
    target = pathlib.Path(path)
    part = target.with_name(f"{target.name}.part")
    try:
        yield part
        _sync(part)
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync(target.parent)  # The new name survives a crash only once its folder is on disk.


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
