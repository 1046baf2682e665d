"""Defines the parameters of a compiled pipeline: values that a run may replace."""

from typing import Any

from tfx.orchestration.data_types import RuntimeParameter

from framecast.clips import spans
from framecast.components.run_parameters import (
    EVAL_DATA,
    NEWEST,
    PUSH_DIRECTORY,
    SPAN,
    TRAIN_DATA,
    TRAIN_STEPS,
)
from framecast.pipeline.config.config import Config


def runtime_parameters(config: Config) -> dict[str, RuntimeParameter]:
    """Returns the parameters of a compiled pipeline; the configuration gives their defaults."""
    span = None
    if spans.SPAN in config.data.train:
        span = NEWEST if config.data.newest_span is None else config.data.newest_span
    values: dict[str, Any] = {
        TRAIN_DATA: config.data.train,
        EVAL_DATA: config.data.eval,
        SPAN: span,
        TRAIN_STEPS: config.train.steps,
        PUSH_DIRECTORY: config.push.directory,
    }
    return {
        name: RuntimeParameter(name=name, ptype=type(value), default=value)
        for name, value in values.items()
        if value is not None
    }


def set_runtime_properties(component: Any, **properties: Any) -> None:
    """Adds execution properties that TFX's own spec of a component does not declare."""
    component.spec.exec_properties.update(properties)
