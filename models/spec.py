"""The `task`, `model`, `train` and `export` sections of the configuration. Imports no TensorFlow and no Keras.

    task = parse_task({"kind": "forecast", "horizon": 6, "context": {"min": 4}})
    task.min_frames, task.min_served_frames  # (10, 4)
    task.metrics.headline                    # ("mse", "skill")

A task's section holds its settings and the facts that follow from them. `framecast.models.tasks` defines the objective
and the exported module of each kind of task.
"""

import itertools
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pydantic

from framecast.evaluation.metrics.registry import TASKS, TaskMetrics
from framecast.models.loss_spec import Loss
from framecast.models.optimizer_spec import OptimizerSpec
from framecast.models.preset_arguments import PresetArguments
from framecast.schemas import features
from framecast.schemas.clip_spec import LabelSpec
from framecast.schemas.section import Section

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
TrainPrecision = Literal["auto", Precision]
Augmentation = Literal["flip", "rotate90", "subclip"]

# TensorFlow Serving rejects a model with more than 1000 warm-up requests: one per batch size and padded length.
_MAX_BATCH_SIZES = 100


class ContextSpec(Section):
    """How many observed frames a forecast needs.

    Args:
        min: Fewest observed frames.
    """

    min: int = pydantic.Field(default=1, ge=1)


class BaseTask(Section):
    """The facts that every kind of task defines."""

    if TYPE_CHECKING:
        kind: str

    @property
    def metrics(self) -> TaskMetrics:
        """Metrics of the task."""
        return TASKS[self.kind]

    @property
    def is_forecast(self) -> bool:
        """Whether the model outputs future frames."""
        return False

    @property
    def label(self) -> LabelSpec | None:
        """The label of a clip or frame; None if the task needs no labels."""
        return None

    @property
    def min_frames(self) -> int:
        """Fewest frames of a clip for training and evaluation."""
        return 1

    @property
    def min_served_frames(self) -> int:
        """Fewest frames of a clip in a serving request."""
        return self.min_frames

    def is_long_enough(self, frames: Any) -> Any:
        """Checks whether clips can be used in training and evaluation.

        Args:
            frames: Number of frames: an int, an array or a tensor.
        """
        return frames >= self.min_frames

    def forecast_channels(self, channels: int) -> list[int]:
        """Returns the channels that are forecast, of clips with `channels` channels."""
        return list(getattr(self, "channels", None) or range(channels))

    @property
    def builder_arguments(self) -> dict[str, Any]:
        """Keyword arguments of a builder, in addition to `channels` and `dtype`."""
        return {}

    @property
    def preset_arguments(self) -> dict[str, Any]:
        """Keyword arguments of a preset's model, in addition to `channels` and `dtype`."""
        return self.builder_arguments


class ForecastTask(BaseTask):
    """Forecasts the next `horizon` frames from at least `context.min` frames.

    Args:
        horizon: Lead times, in frames.
        context: Observed frames that a forecast needs.
        channels: Channels that are forecast, ascending from 0; all by default. The others, such as terrain or another
            sensor, are input only: after the context the model sees their last frame. Loss, metrics and reference
            forecasts are of the forecast channels.
    """

    kind: Literal["forecast"] = "forecast"
    horizon: int = pydantic.Field(ge=1)
    context: ContextSpec = ContextSpec()
    channels: tuple[Annotated[int, pydantic.Field(ge=0)], ...] | None = pydantic.Field(default=None, min_length=1)

    @pydantic.field_validator("channels")
    @classmethod
    def _check_channels(cls, channels: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if channels and any(left >= right for left, right in itertools.pairwise(channels)):
            raise ValueError(f"expected ascending numbers from 0 on, received {', '.join(map(str, channels))}")
        return channels

    @property
    def builder_arguments(self) -> dict[str, Any]:
        """`forecast_channels`, if the task names them."""
        return {} if self.channels is None else {"forecast_channels": self.channels}

    @property
    def min_frames(self) -> int:
        """Fewest frames of a clip for training and evaluation."""
        return self.context.min + self.horizon

    @property
    def min_served_frames(self) -> int:
        """Fewest frames of a clip in a serving request: every frame is context."""
        return self.context.min

    @property
    def is_forecast(self) -> bool:
        """True."""
        return True


class AnomalyTask(BaseTask):
    """Scores each frame after the first `context.min` frames by its distance from the model's forecast.

    Args:
        context: Number of leading frames without a score.
        false_alarm_rate: Share of the val split's frames, and of its clips, above the alarm threshold. Clips of the
            train and val splits count as normal, even if their labels say otherwise.
    """

    kind: Literal["anomaly"]
    horizon: ClassVar[int] = 0
    context: ContextSpec = ContextSpec(min=2)
    false_alarm_rate: float = pydantic.Field(default=0.01, gt=0, lt=1)

    @property
    def min_frames(self) -> int:
        """Fewest frames of a clip for training, evaluation and serving."""
        return self.context.min + 1

    @property
    def label(self) -> LabelSpec:
        """1 for an anomalous frame, else 0. Unlabelled clips are scored and left out of metrics that need labels."""
        return LabelSpec(name=features.FRAME_LABEL_INDEX, per="frame", classes=2, required=False)


class LabelTask(BaseTask):
    """Labels every clip or every frame.

    Args:
        per: `clip` or `frame`.
    """

    horizon: ClassVar[int] = 0
    per: Literal["clip", "frame"] = "clip"

    @property
    def builder_arguments(self) -> dict[str, Any]:
        """`outputs`: how many classes or numbers there are."""
        assert self.label is not None
        return {"outputs": self.label.classes or self.label.numbers}

    @property
    def preset_arguments(self) -> dict[str, Any]:
        """`outputs` and `per`."""
        return {**self.builder_arguments, "per": self.per}


class ClassifyTask(LabelTask):
    """Assigns one of `classes` classes to every clip or every frame.

    Args:
        classes: Number of classes.
    """

    kind: Literal["classify"]
    classes: int = pydantic.Field(ge=2)

    @property
    def label(self) -> LabelSpec:
        """The class, from 0."""
        name = features.LABEL_INDEX if self.per == "clip" else features.FRAME_LABEL_INDEX
        return LabelSpec(name=name, per=self.per, classes=self.classes)


class RegressTask(LabelTask):
    """Estimates a number for every clip or every frame, or several for every clip.

    Args:
        numbers: How many numbers the label of a clip has.
    """

    kind: Literal["regress"]
    numbers: int = pydantic.Field(default=1, ge=1)

    @pydantic.model_validator(mode="after")
    def _check_numbers(self) -> "RegressTask":
        if self.numbers > 1 and self.per == "frame":
            raise ValueError(f"numbers: expected 1 with per: frame, received {self.numbers}")
        return self

    @property
    def label(self) -> LabelSpec:
        """The number."""
        name = features.LABEL_VALUE if self.per == "clip" else features.FRAME_LABEL_VALUE
        return LabelSpec(name=name, per=self.per, classes=None, numbers=self.numbers)


def _kind(task: Any) -> str:
    return task.get("kind", "forecast") if isinstance(task, dict) else getattr(task, "kind", "")


TaskSpec = Annotated[
    Annotated[ForecastTask, pydantic.Tag("forecast")]
    | Annotated[AnomalyTask, pydantic.Tag("anomaly")]
    | Annotated[ClassifyTask, pydantic.Tag("classify")]
    | Annotated[RegressTask, pydantic.Tag("regress")],
    pydantic.Discriminator(_kind),
]


def parse_task(values: dict[str, Any]) -> ForecastTask | AnomalyTask | ClassifyTask | RegressTask:
    """Returns the task that the values of a `task` section describe."""
    return pydantic.TypeAdapter(TaskSpec).validate_python(values)


class ModelSpec(Section):
    """A preset of `framecast.models.networks.presets`, or a builder.

    A builder is `package.module:function` or `path/to/file.py:function`. For forecasts and anomaly scores, it is called
    as `build(channels=int, dtype=keras.DTypePolicy)`, with `forecast_channels` if `task.channels` is given, and returns
    a Keras model with the call contract of `framecast.models.networks.frame_forecaster.FrameForecaster`. For labels, it
    is called as `build(channels=int, outputs=int, dtype=keras.DTypePolicy)` and returns one with the call contract of
    `framecast.models.networks.labeller.Labeller`. Plain Keras models without a contract are adapted; see
    `framecast.models.networks.user_models`.

    A forecast model that also has the methods `initial_states` and `forecast_next` of `FrameForecaster` is exported
    with the signature `step`, which forecasts a stream frame by frame; see `framecast.models.export.step.Step`.

    Args:
        preset: Name of the preset.
        builder: The builder.
        arguments: Keyword arguments of the builder, or of the preset's model (`PresetArguments`), where they replace
            the preset's own, such as `{filters: [64, 64], normalization: layer}`.
    """

    model_config = pydantic.ConfigDict(
        json_schema_extra={
            "if": {"properties": {"preset": {"type": "string"}}, "required": ["preset"]},
            "then": {"properties": {"arguments": PresetArguments.model_json_schema()}},
        }
    )

    preset: str | None = None
    builder: str | None = None
    arguments: dict[str, Any] = {}

    @pydantic.model_validator(mode="after")
    def _check_source(self) -> "ModelSpec":
        if (self.preset is None) == (self.builder is None):
            raise ValueError("expected exactly one of preset and builder")
        if self.preset is not None:
            try:
                PresetArguments.model_validate(self.arguments)
            except pydantic.ValidationError as error:
                problem = error.errors()[0]
                key = ".".join(str(part) for part in problem["loc"])
                raise ValueError(f"arguments.{key}: {problem['msg']}, received {problem['input']!r}") from None
        return self


class TrainSpec(OptimizerSpec):
    """How the model is trained; `OptimizerSpec` describes the settings of the optimizer.

    Args:
        batch_frames: Frames per batch, padding included; a batch holds `batch_frames // padded length` clips.
        crop: Side of the square crops in pixels; whole frames by default.
        augment: Random augmentations, drawn once per clip and applied to all its frames.
        precision: Keras dtype policy in training. `auto` is `mixed_bfloat16` if the GPUs, or without GPUs the CPU,
            support bfloat16, else `float32`.
        loss: Of forecasts and anomaly scores, over all next-frame predictions: `mse`, the default; `mae`; `weighted`,
            the squared error with a weight that grows with the true intensity, so that rare high values are not
            smoothed; `ssim`, 1 - SSIM over windows of 7x7 pixels. Of classes: `cross_entropy`, the default, or `focal`.
            Of numbers: `mse`. Or a function, `package.module:function` or `path/to/file.py:function`, see
            `framecast.models.training.losses`; or a weight for each of several, such as `{mse: 1, ssim: 0.2}`.
        class_weights: The weight of each class in the loss, such as `[1, 5]` if the second is rare; all 1 by default.
            `balanced` makes every class of the train split count equally: by the inverse of its frequency.
        sampling: Which true frames the model sees in training. `none`: all of the context, none after it. `scheduled`
            (Bengio et al. 2015): also frames after the context, with a probability that falls from 1 to 0 as
            1 - (share of the steps)**2. `reverse` (Wang et al. 2022): frames of the context with a probability that
            rises from 0.5 to 1, frames after it with half the probability of `scheduled`.
        warm_start: Start from the weights of the serving model if it has the same architecture and function; by
            default, and otherwise, from random weights. The learning rate schedule is the same: its warm-up matters
            more, because Adam's averages start from zero while the weights are already good, and with few steps a peak
            of a third loses less (benchmarks/RESULTS.md). A new serving model causes a new training.
        init_from: Start from the weights of another exported model: its folder, or a push directory, for its newest
            version. A weight is loaded if name and shape match; the others start from random values, and the Trainer
            names them. Other content of that folder causes a new training.
        freeze: Weights that are not trained, by patterns of their names such as `*encoder/*`.
        seed: Seed of weights, order, crops and augmentation.
        deterministic: Whether the same seed, data and machine give bit-identical weights.
    """

    batch_frames: int = pydantic.Field(default=160, ge=1)
    crop: int | None = pydantic.Field(default=None, ge=8)
    augment: tuple[Augmentation, ...] = ()
    precision: TrainPrecision = "float32"
    loss: Loss = None
    class_weights: Literal["balanced"] | tuple[Annotated[float, pydantic.Field(gt=0)], ...] | None = None
    sampling: Literal["none", "scheduled", "reverse"] = "none"
    warm_start: bool = False
    init_from: str | None = None
    freeze: tuple[str, ...] = ()
    seed: int = 0
    deterministic: bool = False

    @pydantic.field_validator("class_weights", mode="wrap")
    @classmethod
    def _check_class_weights(cls, value: Any, handler: pydantic.ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except pydantic.ValidationError:
            raise ValueError(f"expected balanced, or a number above 0 for each class, received {value}") from None

    @pydantic.model_validator(mode="after")
    def _check_rotation(self) -> "TrainSpec":
        if "rotate90" in self.augment and self.crop is None:
            raise ValueError("augment: rotate90 needs square frames: expected crop to be given")
        return self

    @pydantic.model_validator(mode="after")
    def _check_start(self) -> "TrainSpec":
        if self.warm_start and self.init_from is not None:
            raise ValueError(f"init_from: expected none with warm_start: true, received {self.init_from}")
        return self


class ExportSpec(Section):
    """What is exported.

    Args:
        precision: Precision of the exported graph, independent of the training precision.
        batch_sizes: Batch sizes that the model is warmed up for before a version serves: those that clients send, or
            the server's `allowed_batch_sizes` if it batches.
    """

    precision: Precision = "float32"
    batch_sizes: tuple[int, ...] = (1, 4, 16)

    @pydantic.field_validator("batch_sizes")
    @classmethod
    def _check_batch_sizes(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if not sizes or any(left >= right for left, right in itertools.pairwise((0, *sizes))):
            raise ValueError(f"expected ascending numbers from 1 on, received {', '.join(map(str, sizes)) or 'none'}")
        if len(sizes) > _MAX_BATCH_SIZES:
            raise ValueError(f"expected at most {_MAX_BATCH_SIZES} numbers, received {len(sizes)}")
        return sizes
