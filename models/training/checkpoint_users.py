"""Which executions of the Trainer used a folder of checkpoints, so that it can be told when nobody will again.

add("state/0123456789abcdef", "artifacts/Trainer/model_run/9")
read("state/0123456789abcdef")  # ["artifacts/Trainer/model_run/9"]
"""

import pathlib

_FILE = "used_by.txt"  # Beside the checkpoints: a line each.


def add(state: str, model_run: str) -> None:
    """Writes down that the training with this output `model_run` uses the folder."""
    users = read(state)
    if model_run in users:
        return
    folder = pathlib.Path(state)
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f"{_FILE}.part"
    beside.write_text("".join(f"{user}\n" for user in [*users, model_run]))
    beside.replace(folder / _FILE)


def read(state: str) -> list[str]:
    """Returns the outputs `model_run` of those who used the folder; none where it does not say."""
    file = pathlib.Path(state) / _FILE
    return file.read_text().splitlines() if file.exists() else []
