"""Locks a work directory, so that one run at a time uses it."""

import contextlib
import datetime
import fcntl
import os
import pathlib
from collections.abc import Iterator


class WorkdirBusyError(RuntimeError):
    """Another run uses the work directory; the message names its process."""


@contextlib.contextmanager
def exclusive(workdir: pathlib.Path) -> Iterator[None]:
    """Locks the work directory. The kernel releases the lock when this process ends, however it ends.

    Raises:
        WorkdirBusyError: If another run holds the lock.
    """
    with open(workdir / ".lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise WorkdirBusyError(
                f"{workdir}: expected no other run in this work directory, found {file.read().strip()}"
            ) from None
        file.truncate(0)
        started = datetime.datetime.now().isoformat(" ", "seconds")
        print(f"process {os.getpid()}, running since {started}", file=file, flush=True)
        yield
