"""The folder of numbered model versions that TensorFlow Serving watches, a local one or one in an object store.

Nothing heavy is imported for a local path: a command that is given a wrong folder says so within a second.
"""

import hashlib
import json
import os
from typing import Any

from framecast.clips import filesystem

CARD = os.path.join("assets.extra", "framecast.json")
MODEL = "saved_model.pb"  # A version that has it is whole.


def newest(directory: str) -> int | None:
    """Returns the highest complete version under `directory`; None when there is none."""
    if filesystem.is_remote(directory):
        names = [model.split("/")[-2] for model in filesystem.glob(os.path.join(directory, "*", MODEL))]
    else:
        there = os.listdir(directory) if os.path.isdir(directory) else []
        names = [name for name in there if is_model(os.path.join(directory, name))]
    return max((int(name) for name in names if name.isdigit()), default=None)


def path(directory: str, version: int) -> str:
    """Returns the folder of a version."""
    return os.path.join(directory, str(version))


def is_model(folder: str) -> bool:
    """Tells whether a folder holds a whole exported model."""
    return filesystem.exists(os.path.join(folder, MODEL))


def read_card(model: str) -> dict[str, Any]:
    """Returns `assets.extra/framecast.json` of an exported model; empty when the model was not made by us."""
    card = os.path.join(model, CARD)
    if not filesystem.exists(card):
        return {}
    with filesystem.open_path(card, "rb") as file:
        return json.loads(file.read())


def digest(model: str) -> str:
    """Returns a digest over names and bytes of all files of an exported model."""
    total = hashlib.sha256()
    for name in filesystem.list_below(model):
        total.update(name.encode() + b"\0")
        with filesystem.open_path(os.path.join(model, name), "rb") as file:
            while chunk := file.read(2**20):
                total.update(chunk)
    return total.hexdigest()
