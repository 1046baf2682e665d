"""Derives from a configuration when models, serving models and span statistics can be compared."""

import hashlib
import json
from typing import Any

from framecast.evaluation.metrics import registry
from framecast.pipeline.config.config import Config
from framecast.schemas import features
from framecast.serving import versions


def contract(config: Config) -> str:
    """Returns, as JSON, the settings that two models must share for a comparison: clips, task, outputs and slices."""
    shared = {
        "clip": _clip(config),
        "task": config.task.model_dump(mode="json", exclude_none=True),
        "events": events(config),
        "outputs": registry.outputs_of(config.task.kind, config.evaluate.events),
        "slices": list(features.SLICES),
    }
    return json.dumps(shared, sort_keys=True)


def events(config: Config) -> dict[str, Any] | None:
    """Returns `evaluate.events` as JSON values; None without events."""
    return config.evaluate.events.model_dump(mode="json") if config.evaluate.events else None


def serving_fingerprint(directory: str) -> str:
    """Returns number and digest of the serving model, so that a push, a rollback or a replaced version changes it."""
    version = versions.newest(directory)
    return "none" if version is None else f"{version}:{versions.digest(versions.path(directory, version))}"


def statistics_key(config: Config) -> str:
    """Returns a digest of the settings that the statistics of two spans must share: clip contract and `data.train`."""
    shared = {"clip": _clip(config), "train": config.data.train}
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:16]


def _clip(config: Config) -> dict[str, Any]:
    """Returns the clip contract without intervals: the clips themselves have them, and the card says which."""
    return config.clip.model_dump(mode="json", exclude={"intervals"})
