"""Locks a checkpoint folder for one training, and records who used it, so that `framecast runs gc` can delete it.

with using("state/0123456789abcdef", "artifacts/Trainer/model_run/9", writes=True):
    ...
read("state/0123456789abcdef")  # ["artifacts/Trainer/model_run/9"]
"""

import contextlib
import pathlib
from collections.abc import Iterator

from framecast.clips.files import exclusive, write_whole

_FILE = "used_by.txt"  # In the checkpoint folder, one line per Trainer run.


@contextlib.contextmanager
def using(state: str, model_run: str, writes: bool) -> Iterator[None]:
    """Locks the folder for a Trainer run and records the run.

    Args:
        state: The checkpoint folder, created if missing.
        model_run: The Trainer's output `model_run`.
        writes: Whether this process writes checkpoints; the other workers of a run do neither lock nor record.

    Raises:
        FolderBusyError: If another training uses the folder.
    """
    with exclusive(state, "training") if writes else contextlib.nullcontext():
        if writes:
            add(state, model_run)
        yield


def add(state: str, model_run: str) -> None:
    """Records that a Trainer run uses the folder.

    Args:
        state: The checkpoint folder, created if missing.
        model_run: The Trainer's output `model_run`.
    """
    users = read(state)
    if model_run in users:
        return
    folder = pathlib.Path(state)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / _FILE, "".join(f"{user}\n" for user in [*users, model_run]))


def read(state: str) -> list[str]:
    """Returns the output `model_run` of every Trainer run that used the folder; empty if none is recorded."""
    file = pathlib.Path(state) / _FILE
    return file.read_text().splitlines() if file.exists() else []
