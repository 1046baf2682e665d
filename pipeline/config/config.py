"""Reads and validates the configuration of a run: one YAML file.

config = load("configs/radar.yaml", overrides=["train.steps=500"])
config.train.steps  # 500
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import pydantic
import yaml

from framecast.evaluation.metrics import registry
from framecast.evaluation.spec import EvaluateSpec
from framecast.models import hyperparameters, loss_spec, user_functions
from framecast.models.optimizer_spec import VAL_LOSS
from framecast.models.spec import ExportSpec, ModelSpec, TaskSpec, TrainSpec
from framecast.models.tuning.spec import TuneSpec
from framecast.pipeline import quiet
from framecast.pipeline.config.beam import BeamSpec
from framecast.pipeline.config.data import DataSpec
from framecast.pipeline.config.kubeflow import KubeflowSpec
from framecast.pipeline.config.overrides import Override, apply_override, parse_override, resolve_paths
from framecast.pipeline.config.push import PushSpec
from framecast.schemas.clip_spec import ClipSpec
from framecast.schemas.section import Section
from framecast.serving.bulk.spec import InferSpec


class ConfigError(ValueError):
    """A configuration or a command line that is wrong; the message names file or option, key, expected and received."""


class Config(Section):
    """The configuration of a run."""

    data: DataSpec
    clip: ClipSpec
    task: TaskSpec
    model: ModelSpec
    train: TrainSpec
    tune: TuneSpec | None = None
    export: ExportSpec = ExportSpec()
    evaluate: EvaluateSpec = EvaluateSpec()
    push: PushSpec
    infer: InferSpec | None = None
    beam: BeamSpec = BeamSpec()
    kubeflow: KubeflowSpec = KubeflowSpec()

    @pydantic.model_validator(mode="after")
    def _clips_long_enough(self) -> "Config":
        if self.task.min_frames > self.clip.frames.max:
            raise ValueError(
                f"task: expected clips of at most {self.clip.frames.max} frames (clip.frames.max), "
                f"received a task that needs {self.task.min_frames}"
            )
        channels = self.task.forecast_channels(self.clip.channels)
        if channels[-1] >= self.clip.channels:
            raise ValueError(f"task.channels: expected channels below {self.clip.channels}, received {channels[-1]}")
        if self.train.crop and self.clip.height and self.train.crop > min(self.clip.height, self.clip.width or 0):
            raise ValueError(f"train.crop: expected at most clip.height and clip.width, received {self.train.crop}")
        return self

    @pydantic.model_validator(mode="after")
    def _loss_fits_task(self) -> "Config":
        try:
            parts = loss_spec.parts_of(self.train.loss, self.task.kind)
        except ValueError as error:
            raise ValueError(f"train.loss: {error}") from error
        sides = [side for side in (self.clip.height, self.clip.width) if side]
        if "ssim" in parts and sides and min(sides) < loss_spec.SSIM_SIDE:
            raise ValueError(f"train.loss: ssim: expected frames of at least 7 x 7 pixels, received {min(sides)}")
        classes, weights = getattr(self.task, "classes", None), self.train.class_weights
        if weights is not None and (classes is None if weights == "balanced" else len(weights) != classes):
            expected = f"{classes} numbers, one for each class" if classes else f"none for {self.task.kind}"
            received = weights if weights == "balanced" else len(weights)
            raise ValueError(f"train.class_weights: expected {expected}, received {received}")
        return self

    @pydantic.model_validator(mode="after")
    def _format_fits_task(self) -> "Config":
        forecasts = self.task.is_forecast
        if self.infer is not None and self.infer.format == ("parquet" if forecasts else "nc"):
            expected = "scores or labels" if forecasts else "forecasts"
            raise ValueError(f"infer.format: expected a task of {expected} for {self.infer.format}")
        return self

    @pydantic.model_validator(mode="after")
    def _evaluation_fits_task(self) -> "Config":
        events = self.evaluate.events
        if events is not None:
            if not self.task.metrics.events:
                raise ValueError(f"evaluate.events: expected a forecast, received {self.task.kind}")
            try:
                events.in_pixels(self.clip)
            except ValueError as error:
                raise ValueError(f"evaluate.events: {error}") from error
        try:
            registry.check_names(self.evaluate.thresholds, self.task.kind, events)
        except ValueError as error:
            raise ValueError(f"evaluate.thresholds: {error}") from error
        if self.train.best_by != VAL_LOSS:
            try:
                registry.check_names([self.train.best_by], self.task.kind, events)
            except ValueError as error:
                raise ValueError(f"train.best_by: {error}; or {VAL_LOSS}") from error
            if not registry.judges_model(self.train.best_by):
                raise ValueError(f"train.best_by: expected a metric of the model, received {self.train.best_by}")
        by_lead_time = any(own.bounds.per_lead_time for own in self.evaluate.bounded())
        if by_lead_time and not self.task.metrics.lead_times:
            raise ValueError(f"evaluate.thresholds: per_lead_time: expected a forecast, received {self.task.kind}")
        return self

    @pydantic.model_validator(mode="after")
    def _every_trial_valid(self) -> "Config":
        if self.tune is None:
            return self
        if self.train.warm_start:
            raise ValueError(
                "tune: expected train.warm_start: false, received true, because a search finds values for cold starts"
            )
        for values in self.tune.space.corners():
            try:
                self.with_values(values)
            except pydantic.ValidationError as error:
                given = ", ".join(f"{name}: {value}" for name, value in values.items())
                raise ValueError(f"tune.space: {given}: {_describe(error.errors()[0])}") from error
        return self

    def with_values(self, values: dict[str, Any]) -> "Config":
        """Returns this configuration without a search and with some values replaced: `{"train.learning_rate": 0.01}`.

        Raises:
            pydantic.ValidationError: If the values are not valid.
        """
        sections = {**self.model_dump(mode="json"), "tune": None}
        return Config.model_validate(hyperparameters.with_values(sections, values))


def load(path: str, overrides: Sequence[str] = ()) -> Config:
    """Reads a YAML file and applies overrides, in order.

    Relative paths (`data`, `push.directory`, `infer`, `train.init_from` and the files of `model.builder` and
    `train.loss`) are relative to the folder of the file; those of overrides to the current folder.

    Args:
        path: The YAML file.
        overrides: `key.path=value`, see `framecast.pipeline.config.overrides`.

    Raises:
        ConfigError: If anything is wrong; the message has a line for each wrong key.
    """
    file = pathlib.Path(path)
    try:
        values = yaml.safe_load(file.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable YAML file, received: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: expected YAML, received: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected sections at the top, received {type(values).__name__}")
    resolve_paths(values, file.resolve().parent)
    try:
        changes = [parse_override(text) for text in overrides]
        for change in changes:
            apply_override(values, change, Config)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    try:
        return Config.model_validate(values)
    except pydantic.ValidationError as error:
        raise ConfigError("\n".join(_explain(path, changes, problem) for problem in error.errors())) from error


def to_yaml(config: Config) -> str:
    """Returns the resolved configuration, defaults included."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def json_schema() -> str:
    """Returns the JSON Schema of the configuration, for editors."""
    return json.dumps(Config.model_json_schema(), indent=1) + "\n"


def check_functions(config: Config) -> None:
    """Imports the user's model builder and losses, if there are any, and Keras with them.

    Raises:
        ConfigError: If one cannot be imported.
    """
    named = dict.fromkeys(loss_spec.functions_of(config.train.loss), "train.loss")
    if config.model.builder is not None:
        named[config.model.builder] = "model.builder"
    if not named:
        return
    with quiet.heavy_imports():
        import keras  # noqa: F401 - imported here, so that its messages are hidden
    try:
        for name, key in named.items():
            user_functions.load_function(name, key)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _explain(path: str, overrides: Sequence[Override], problem: Any) -> str:
    """Formats a validation error: the file or the option that set the value, the key, expected and received."""
    parts = [str(part) for part in problem["loc"]]
    if len(parts) > 1 and parts[0] == "task":
        del parts[1]  # The kind of task, which pydantic adds and the file does not have.
    key = ".".join(parts) or "configuration"
    source = path
    for override in overrides:
        typed = ".".join(override.keys)
        unknown_parent = problem["type"] == "extra_forbidden" and typed.startswith(f"{key}.")
        if typed == key or key.startswith(f"{typed}.") or unknown_parent:
            source = f"--set {override.text}"
    return f"{source}: {key}: {_describe(problem)}"


def _describe(problem: Any) -> str:
    received = problem["input"]
    if problem["type"] == "extra_forbidden":
        return f"unknown key (received {received!r})"
    if problem["type"] == "missing":
        return "expected a value, received none"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return f"{problem['msg']}, received {received!r}"
