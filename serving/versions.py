"""Finds and reads numbered model versions, in a local folder or an object store, as TensorFlow Serving lays them out.

newest = versions.newest("work/serving/radar")
card = versions.read_card(versions.path("work/serving/radar", newest))

Imports nothing heavy, so that a command fails within a second if it is given a wrong folder.
"""

import hashlib
import json
import os
from typing import Any

from framecast.clips import filesystem

CARD = os.path.join("assets.extra", "framecast.json")
MODEL = "saved_model.pb"  # A version that has this file is complete.


def newest(directory: str) -> int | None:
    """Returns the highest complete version in `directory`; None if there is none."""
    if filesystem.is_remote(directory):
        names = [model.split("/")[-2] for model in filesystem.glob(os.path.join(directory, "*", MODEL))]
    else:
        entries = os.listdir(directory) if os.path.isdir(directory) else []
        names = [name for name in entries if is_model(os.path.join(directory, name))]
    return max((int(name) for name in names if name.isdigit()), default=None)


def path(directory: str, version: int) -> str:
    """Returns the folder of a version."""
    return os.path.join(directory, str(version))


def is_model(folder: str) -> bool:
    """Checks whether a folder holds a complete exported model."""
    return filesystem.exists(os.path.join(folder, MODEL))


def read_card(model: str) -> dict[str, Any]:
    """Reads `assets.extra/framecast.json` of an exported model; empty if Framecast did not export the model."""
    card = os.path.join(model, CARD)
    if not filesystem.exists(card):
        return {}
    with filesystem.open_path(card, "rb") as file:
        return json.loads(file.read())


def intervals(card: dict[str, Any]) -> tuple[float, ...]:
    """Returns the seconds between frames that a model was trained on; empty if its card does not say."""
    rate = card.get("frame_rate")
    return tuple(card.get("intervals", [])) or ((1 / rate,) if rate else ())


def digest(model: str) -> str:
    """Returns the SHA-256 of the names and contents of all files of an exported model, as hexadecimal digits."""
    total = hashlib.sha256()
    for name in filesystem.list_below(model):
        total.update(name.encode() + b"\0")
        with filesystem.open_path(os.path.join(model, name), "rb") as file:
            while chunk := file.read(2**20):
                total.update(chunk)
    return total.hexdigest()
