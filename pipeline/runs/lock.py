"""Checks a work directory, and locks it, so that one run at a time uses it."""

import contextlib
import datetime
import fcntl
import os
import pathlib
from collections.abc import Iterator

from framecast.pipeline.config.config import ConfigError


class WorkdirBusyError(RuntimeError):
    """Another run uses the work directory; the message names its process."""


def check_workdir(workdir: pathlib.Path) -> None:
    """Rejects a path that cannot be a work directory.

    Raises:
        ConfigError: If the path is a file, or has a character that TFX and Beam take for a wildcard.
    """
    if workdir.exists() and not workdir.is_dir():
        raise ConfigError(f"--workdir: expected a folder, received the file {workdir}")
    if found := [character for character in "*?[]" if character in str(workdir)]:
        raise ConfigError(
            f"--workdir: expected a path without wildcards, because TFX reads artifacts by patterns, "
            f"received {workdir} with {' '.join(found)}"
        )


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
