"""What an exported model is held against: another one of the same contract, and the thresholds of a configuration."""

from framecast.pipeline.config.config import Config, ConfigError, load
from framecast.serving.exported_model import Exported


def check_comparable(model: Exported, other: Exported) -> None:
    """Refuses to compare two models of which each was made under another contract.

    Raises:
        ConfigError: Naming what differs.
    """
    differing = [
        f"{key}: expected {model.contract[key]}, received {other.contract[key]}"
        for key in model.contract
        if other.contract[key] != model.contract[key]
    ]
    if differing:
        raise ConfigError(f"--against {other.folder}: expected the contract of {model.folder}: {'; '.join(differing)}")


def read_config(path: str, model: Exported) -> Config:
    """Returns a configuration file that a model can be held to.

    Raises:
        ConfigError: When the file is refused, or is of another task or other events than the model.
    """
    config = load(path)
    for key, expected, received in (
        ("task", model.task, config.task),
        ("evaluate.events", model.events, config.evaluate.events),
    ):
        if received != expected:
            raise ConfigError(f"{path}: {key}: expected that of {model.folder}, {expected!r}, received {received!r}")
    return config
