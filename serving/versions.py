"""The folder of numbered model versions that TensorFlow Serving watches.

Nothing heavy is imported for a local path: a command that is given a wrong folder says so within a second.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

from framecast.clips.records import open_path

CARD = os.path.join("assets.extra", "framecast.json")


def newest(directory: str) -> int | None:
    """Returns the highest complete version under `directory`; None when there is none."""
    names = [name for name in _names(directory) if name.isdigit()]
    complete = [int(name) for name in names if is_model(os.path.join(directory, name))]
    return max(complete, default=None)


def path(directory: str, version: int) -> str:
    """Returns the folder of a version."""
    return os.path.join(directory, str(version))


def is_model(folder: str) -> bool:
    """Tells whether a folder holds a whole exported model."""
    return _exists(os.path.join(folder, "saved_model.pb"))


def read_card(model: str) -> dict[str, Any]:
    """Returns `assets.extra/framecast.json` of an exported model; empty when the model was not made by us."""
    card = os.path.join(model, CARD)
    if not _exists(card):
        return {}
    with open_path(card, "rb") as file:
        return json.loads(file.read())


def digest(model: str) -> str:
    """Returns a digest over names and bytes of all files of an exported model."""
    files = sorted(os.path.join(folder, name) for folder, _, names in _walk(model) for name in names)
    total = hashlib.sha256()
    for name in files:
        total.update(os.path.relpath(name, model).encode() + b"\0")
        with open_path(name, "rb") as file:
            while chunk := file.read(2**20):
                total.update(chunk)
    return total.hexdigest()


def _exists(place: str) -> bool:
    return _gfile().exists(place) if "://" in place else os.path.exists(place)


def _names(directory: str) -> list[str]:
    if not _exists(directory):
        return []
    # Object stores end the names of folders with a slash.
    return [name.rstrip("/") for name in _gfile().listdir(directory)] if "://" in directory else os.listdir(directory)


def _walk(directory: str) -> Iterator[tuple[str, list[str], list[str]]]:
    yield from _gfile().walk(directory) if "://" in directory else os.walk(directory)


def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile
