"""Checks which models and thresholds an exported model can be compared with."""

from framecast.pipeline.config.config import Config, ConfigError, load
from framecast.schemas.intervals import other_intervals
from framecast.serving.exported_model import ExportedModel


def check_comparable(model: ExportedModel, other: ExportedModel) -> None:
    """Checks that two models have the same contract.

    Raises:
        ConfigError: If they differ, or their intervals between frames do, naming the differences.
    """
    differing = [
        f"{key}: expected {model.contract[key]}, received {other.contract[key]}"
        for key in model.contract
        if other.contract[key] != model.contract[key]
    ]
    if differ := other_intervals(model.clip.intervals, other.clip.intervals):
        differing.append(f"clip.intervals: {differ}")
    if differing:
        raise ConfigError(f"--against {other.folder}: expected the contract of {model.folder}: {'; '.join(differing)}")


def read_config(path: str, model: ExportedModel) -> Config:
    """Reads a configuration whose thresholds apply to a model.

    Raises:
        ConfigError: If the file is invalid, or its task, events, pixel value or intervals differ from the model's.
    """
    config = load(path)
    for key, expected, received in (
        ("task", model.task, config.task),
        ("evaluate.events", model.events, config.evaluate.events),
    ):
        if received != expected:
            raise ConfigError(f"{path}: {key}: expected {expected!r} as in {model.folder}, received {received!r}")
    clip = config.clip
    if clip.value is not None and model.clip.value is not None and clip.value != model.clip.value:
        raise ConfigError(
            f"{path}: clip.value: expected {model.clip.value!r} as in {model.folder}, received {clip.value!r}"
        )
    if differ := other_intervals(model.clip.intervals, clip.intervals):
        raise ConfigError(f"{path}: clip.intervals: {differ}; {model.folder} was trained on the former")
    return config
