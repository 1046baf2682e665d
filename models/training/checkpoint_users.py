"""Records which Trainer runs used a checkpoint folder, so that `framecast runs gc` can delete unused ones.

add("state/0123456789abcdef", "artifacts/Trainer/model_run/9")
read("state/0123456789abcdef")  # ["artifacts/Trainer/model_run/9"]
"""

import pathlib

from framecast.clips.files import write_whole

_FILE = "used_by.txt"  # In the checkpoint folder, one line per Trainer run.


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
