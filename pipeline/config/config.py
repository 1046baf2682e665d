"""The configuration: one YAML, read strictly.

config = load("configs/radar.yaml", overrides=["train.steps=500"])
"""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import pydantic
import yaml

from framecast.clips import filesystem, spans
from framecast.components.validation_gate.drift_spec import DriftSpec
from framecast.evaluation.metrics import registry
from framecast.evaluation.spec import EvaluateSpec
from framecast.models.spec import ExportSpec, ModelSpec, TaskSpec, TrainSpec
from framecast.models.tuning import spec as tune_spec
from framecast.models.tuning.spec import TuneSpec
from framecast.pipeline import quiet
from framecast.pipeline.config.beam import BeamSpec
from framecast.pipeline.config.kubeflow import KubeflowSpec
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec
from framecast.schemas.section import Section
from framecast.serving.bulk.spec import InferSpec


class ConfigError(ValueError):
    """The configuration is refused; the message names file, key, what was expected and what came."""


class Shares(Section):
    """Relative sizes of the splits that are cut from the `train` files."""

    train: int = pydantic.Field(ge=1)
    val: int = pydantic.Field(ge=1)
    eval: int = pydantic.Field(default=0, ge=0)


class DataSpec(Section):
    """Where the clips are and how they are split.

    Args:
        train: Glob pattern of TFRecord files, relative to the folder of the configuration file. `{SPAN}` stands for
            the number of a span, such as a day: `day{SPAN}/*`.
        eval: Pattern of the files that only the Evaluator sees; without it, `shares` cuts all splits from `train`.
            With `{SPAN}`, the files of the same spans.
        spans: How many of the newest spans are used, where `train` has `{SPAN}`.
        newest_span: No span above this number is used, where `train` has `{SPAN}`; `framecast run --span` sets it.
        span_done: Name of the file that says, in the folder of a span, that it is whole, such as `_SUCCESS`; without,
            a span is whole when `train` and `eval` have files of it and none is hidden or ends with `.part`, `.tmp` or
            `.incomplete`. `framecast run --span latest` waits for it, and a pipeline on Kubeflow.
        drift: How far a span may lie from the one before it, where `train` has `{SPAN}`.
        split_by: Context feature whose equal values share a split: neighbours in two splits leak.
        shares: Relative sizes; `eval` must be 0 exactly when `data.eval` is given.
        on_bad_clip: `fail`: a bad clip ends the run, by name. `quarantine`: it is put aside, with its file, record and
            reason.
        max_bad_fraction: With `quarantine`, the share of bad clips and files that ends the run.
    """

    train: str
    eval: str | None = None
    spans: int = pydantic.Field(default=1, ge=1)
    newest_span: int | None = pydantic.Field(default=None, ge=0)
    span_done: str | None = pydantic.Field(default=None, pattern=r"^[^/]+$")
    drift: DriftSpec = DriftSpec()
    split_by: str = features.MEDIA_ID
    shares: Shares | None = None
    on_bad_clip: Literal["fail", "quarantine"] = "fail"
    max_bad_fraction: float = pydantic.Field(default=0.1, ge=0, le=1)

    @property
    def patterns(self) -> dict[str, str]:
        """The patterns by key, `{SPAN}` unresolved: `train` and, if given, `eval`."""
        return {"train": self.train} | ({"eval": self.eval} if self.eval is not None else {})

    @pydantic.model_validator(mode="after")
    def _three_splits(self) -> "DataSpec":
        if self.shares is not None and bool(self.shares.eval) == bool(self.eval):
            raise ValueError(
                "shares.eval: expected 0 when data.eval is given and above 0 when it is not, "
                f"received {self.shares.eval} with eval: {self.eval}"
            )
        return self

    @pydantic.field_validator("train", "eval")
    @classmethod
    def _unambiguous(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            filesystem.check_scheme(pattern)
            spans.check_pattern(pattern)
        return pattern

    @pydantic.model_validator(mode="after")
    def _spans_of_train(self) -> "DataSpec":
        if spans.SPAN in self.train:
            for key, pattern in (("train", self.train), ("eval", self.eval)):
                if self.span_done is not None and pattern is not None and spans.SPAN in pattern:
                    try:
                        spans.check_marker(pattern, self.span_done)
                    except ValueError as error:
                        raise ValueError(f"span_done: {key}: {error}") from error
            return self
        for key, used in (
            ("spans", self.spans > 1),
            ("newest_span", self.newest_span is not None),
            ("span_done", self.span_done is not None),
            ("drift", self.drift != DriftSpec()),
            ("eval", self.eval is not None and spans.SPAN in self.eval),
        ):
            if used:
                raise ValueError(f"{key}: expected {spans.SPAN} in data.train, received {self.train}")
        return self


class PushSpec(Section):
    """Where blessed models are pushed.

    Args:
        directory: The folder that TensorFlow Serving watches, or one in an object store.
        release: `stable`: a pushed version is what production is answered by at once. `canary`: it is served beside the
            stable one, until `framecast models promote`.
    """

    directory: str
    release: Literal["stable", "canary"] = "stable"

    @pydantic.field_validator("directory")
    @classmethod
    def _opened(cls, directory: str) -> str:
        filesystem.check_scheme(directory)
        return directory

    @pydantic.model_validator(mode="after")
    def _renames(self) -> "PushSpec":
        if self.release == "canary" and "://" in self.directory:
            raise ValueError(
                f"release: expected stable where directory is {self.directory}: an object store cannot withdraw a "
                "version at once"
            )
        return self


class Config(Section):
    """The whole contract of a run."""

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
    def _across_sections(self) -> "Config":
        if self.task.min_frames > self.clip.frames.max:
            raise ValueError(
                f"task: expected clips of at most {self.clip.frames.max} frames (clip.frames.max), "
                f"received a task that needs {self.task.min_frames}"
            )
        forecasts = self.task.kind == "forecast"
        if self.infer is not None and self.infer.format == ("parquet" if forecasts else "nc"):
            expected = "scores or labels" if forecasts else "forecasts"
            raise ValueError(f"infer.format: expected a task of {expected} for {self.infer.format}")
        events = self.evaluate.events
        if events is not None:
            if self.task.kind != "forecast":
                raise ValueError(f"evaluate.events: expected a forecast, received {self.task.kind}")
            try:
                events.in_pixels(self.clip)
            except ValueError as error:
                raise ValueError(f"evaluate.events: {error}") from error
        try:
            registry.check_names(self.evaluate.thresholds, self.task.kind, events)
        except ValueError as error:
            raise ValueError(f"evaluate.thresholds: {error}") from error
        if self.task.kind != "forecast" and any(own.bounds.per_lead_time for own in self.evaluate.bounded()):
            raise ValueError(f"evaluate.thresholds: per_lead_time: expected a forecast, received {self.task.kind}")
        if self.train.crop and self.clip.height and self.train.crop > min(self.clip.height, self.clip.width or 0):
            raise ValueError(f"train.crop: expected at most clip.height and clip.width, received {self.train.crop}")
        return self

    @pydantic.model_validator(mode="after")
    def _every_trial_valid(self) -> "Config":
        if self.tune is None:
            return self
        if self.train.warm_start:
            raise ValueError(
                "tune: expected train.warm_start: false, received true: what trials find holds for cold starts"
            )
        for values in self.tune.space.corners():
            try:
                self.with_values(values)
            except pydantic.ValidationError as error:
                given = ", ".join(f"{name}: {value}" for name, value in values.items())
                raise ValueError(f"tune.space: {given}: {_say(error.errors()[0])}") from error
        return self

    def with_values(self, values: dict[str, Any]) -> "Config":
        """Returns this configuration without a search, some settings replaced: `{"train.learning_rate": 0.01}`.

        Raises:
            pydantic.ValidationError: When they do not fit.
        """
        return Config.model_validate(tune_spec.with_values({**self.model_dump(mode="json"), "tune": None}, values))


def load(path: str, overrides: Sequence[str] = ()) -> Config:
    """Reads a YAML file and applies `key.path=value` overrides.

    Relative patterns in the `data` section, `push.directory`, the paths of the `infer` section and the file of a
    `model.builder` are taken from the folder of the file; those given as overrides from the current folder.

    Raises:
        ConfigError: Naming key, expected and received for everything that is wrong.
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
    _anchor(values, file.resolve().parent)
    changes: dict[str, Any] = {}
    for override in overrides:
        _apply(changes, override)
    _anchor(changes, pathlib.Path.cwd())
    _merge(values, changes)
    try:
        return Config.model_validate(values)
    except pydantic.ValidationError as error:
        raise ConfigError("\n".join(_explain(path, problem) for problem in error.errors())) from error


def to_yaml(config: Config) -> str:
    """Returns the resolved configuration, defaults filled in."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def json_schema() -> str:
    """Returns the JSON Schema of the configuration, for editors."""
    return json.dumps(Config.model_json_schema(), indent=1) + "\n"


def check_builder(config: Config) -> None:
    """Imports the user's builder, if there is one, and Keras with it.

    Raises:
        ConfigError: When it cannot be imported.
    """
    if config.model.builder is None:
        return
    with quiet.heavy_imports():
        from framecast.models.networks import builders

    try:
        builders.load(config.model)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _anchor(values: dict[str, Any], folder: pathlib.Path) -> None:
    paths = (("data", "train"), ("data", "eval"), ("push", "directory"), ("infer", "data"), ("infer", "to"))
    for section, key in paths:
        part = values.get(section)
        if isinstance(part, dict) and isinstance(part.get(key), str) and "://" not in part[key]:
            part[key] = os.path.normpath(folder / part[key])
    model = values.get("model")
    if isinstance(model, dict) and isinstance(model.get("builder"), str) and ".py:" in model["builder"]:
        model["builder"] = os.path.normpath(folder / model["builder"])


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: expected KEY=VALUE, such as train.steps=500")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: {parent} is set twice, as a section and as a value")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: expected a YAML value, received {text}") from error


def _merge(values: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, change in changes.items():
        if isinstance(change, dict) and isinstance(values.get(key), dict):
            _merge(values[key], change)
        else:
            values[key] = change


def _explain(path: str, problem: Any) -> str:
    parts = [str(part) for part in problem["loc"]]
    if len(parts) > 1 and parts[0] == "task":
        del parts[1]  # Which kind of task pydantic tried: the key itself says it.
    key = ".".join(parts) or "configuration"
    return f"{path}: {key}: {_say(problem)}"


def _say(problem: Any) -> str:
    received = problem["input"]
    if problem["type"] == "extra_forbidden":
        return f"unknown key (received {received!r})"
    if problem["type"] == "missing":
        return "expected a value, received none"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return f"{problem['msg']}, received {received!r}"
