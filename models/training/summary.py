"""Writes `training.json`, the summary of a training in the folder of its model run."""

import json
import os
import pathlib
from typing import Any

from framecast.clips.files import write_whole

FILE = "training.json"  # Beside the TensorBoard logs.


def write(folder: str | os.PathLike[str], summary: dict[str, Any]) -> None:
    """Writes the summary.

    Args:
        folder: Folder of the model run, created if missing.
        summary: `train` and `val` (counts of the clips), `best`, `start`, `random` and `unused` (see
            `framecast.models.training.warm_start.Start`), `precision` and `warning`.
    """
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    write_whole(os.path.join(folder, FILE), json.dumps(summary, indent=1))
