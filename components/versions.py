"""The folder of numbered model versions that TensorFlow Serving watches."""

import hashlib
import json
import os
from typing import Any

from tfx.dsl.io import fileio

CARD = os.path.join("assets.extra", "framecast.json")


def newest(directory: str) -> int | None:
    """Returns the highest complete version under `directory`; None when there is none."""
    if not fileio.exists(directory):
        return None
    names = [name for name in fileio.listdir(directory) if name.isdigit()]
    complete = [int(name) for name in names if fileio.exists(os.path.join(directory, name, "saved_model.pb"))]
    return max(complete, default=None)


def path(directory: str, version: int) -> str:
    """Returns the folder of a version."""
    return os.path.join(directory, str(version))


def read_card(model: str) -> dict[str, Any]:
    """Returns `assets.extra/framecast.json` of an exported model; empty when the model was not made by us."""
    card = os.path.join(model, CARD)
    if not fileio.exists(card):
        return {}
    with fileio.open(card) as file:
        return json.loads(file.read())


def digest(model: str) -> str:
    """Returns a digest over names and bytes of all files of an exported model."""
    files = sorted(os.path.join(folder, name) for folder, _, names in fileio.walk(model) for name in names)
    total = hashlib.sha256()
    for name in files:
        total.update(os.path.relpath(name, model).encode() + b"\0")
        with fileio.open(name, "rb") as file:
            while chunk := file.read(2**20):
                total.update(chunk)
    return total.hexdigest()
