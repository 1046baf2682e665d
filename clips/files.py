"""Writes local files atomically (to a temporary file, synced to disk, then renamed over the old one); locks folders.

write_whole("run.json", text)

with replacing("forecast.nc") as part:
    dataset.to_netcdf(part)

with exclusive("work", "run"):
    ...
"""

import contextlib
import datetime
import fcntl
import os
import pathlib
import socket
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


class FolderBusyError(RuntimeError):
    """Another process holds the lock of a folder; the message names it."""


@contextlib.contextmanager
def exclusive(folder: str | os.PathLike[str], use: str) -> Iterator[None]:
    """Locks a local folder. The kernel releases the lock when this process ends, however it ends.

    Args:
        folder: The folder, created if missing.
        use: What one process at a time may do, such as `training`.

    Raises:
        FolderBusyError: If another process holds the lock.
    """
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    with open(pathlib.Path(folder) / ".lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip()
            raise FolderBusyError(f"{folder}: expected no other {use} in this folder, found {holder}") from None
        file.truncate(0)
        started = datetime.datetime.now().isoformat(" ", "seconds")
        print(f"process {os.getpid()} on {socket.gethostname()}, running since {started}", file=file, flush=True)
        yield
