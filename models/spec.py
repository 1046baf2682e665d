"""The `task`, `model`, `train` and `export` sections of the configuration."""

import itertools
from typing import Annotated, Any, Literal

import pydantic

from framecast.schemas import features
from framecast.schemas.clip_spec import LabelSpec
from framecast.schemas.section import Section

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
TrainPrecision = Literal["auto", Precision]
Augmentation = Literal["flip", "rotate90", "subclip"]

# TensorFlow Serving refuses a model with more than 1000 warm-up requests: one for each of these at each padded length.
_MOST_BATCH_SIZES = 100


class ContextSpec(Section):
    """How many frames a forecast starts from."""

    min: int = pydantic.Field(default=1, ge=1)


class ForecastTask(Section):
    """The next `horizon` frames after at least `context.min` frames."""

    kind: Literal["forecast"] = "forecast"
    horizon: int = pydantic.Field(ge=1)
    context: ContextSpec = ContextSpec()

    @property
    def min_frames(self) -> int:
        """The shortest clip that can be trained on and evaluated."""
        return self.context.min + self.horizon

    @property
    def label(self) -> LabelSpec | None:
        """What clips must be labelled with: nothing."""
        return None


class AnomalyTask(Section):
    """A score for each frame after at least `context.min` frames: how far it left the forecast of the model.

    Args:
        context: Frames that a clip starts with are not scored.
        false_alarm_rate: Share of the val split's frames, and of its clips, that may be called anomalous. Clips of the
            train and val splits are taken for normal, whatever their labels.
    """

    kind: Literal["anomaly"]
    context: ContextSpec = ContextSpec(min=2)
    false_alarm_rate: float = pydantic.Field(default=0.01, gt=0, lt=1)

    @property
    def min_frames(self) -> int:
        """The shortest clip that can be trained on and evaluated."""
        return self.context.min + 1

    @property
    def label(self) -> LabelSpec:
        """1 for an anomalous frame, else 0; clips without are scored, and left out of what needs labels."""
        return LabelSpec(name=features.FRAME_LABEL_INDEX, per="frame", classes=2, required=False)


class LabelTask(Section):
    """A label for every clip, or for every frame."""

    per: Literal["clip", "frame"] = "clip"

    @property
    def min_frames(self) -> int:
        """The shortest clip that can be trained on and evaluated."""
        return 1


class ClassifyTask(LabelTask):
    """One of `classes` classes for every clip, or for every frame."""

    kind: Literal["classify"]
    classes: int = pydantic.Field(ge=2)

    @property
    def label(self) -> LabelSpec:
        """The class, from 0."""
        name = features.LABEL_INDEX if self.per == "clip" else features.FRAME_LABEL_INDEX
        return LabelSpec(name=name, per=self.per, classes=self.classes)


class RegressTask(LabelTask):
    """A number for every clip, or for every frame."""

    kind: Literal["regress"]

    @property
    def label(self) -> LabelSpec:
        """The number."""
        name = features.LABEL_VALUE if self.per == "clip" else features.FRAME_LABEL_VALUE
        return LabelSpec(name=name, per=self.per, classes=None)


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
    """A preset of `models.networks.presets`, or a builder `package.module:function` or `path/to/file.py:function`.

    For a forecast or anomaly scores a builder is called as `build(channels=int, dtype=keras.DTypePolicy)` and returns a
    Keras model with the call contract of `framecast.models.networks.frame_forecaster.FrameForecaster`; for labels as
    `build(channels=int, outputs=int, dtype=keras.DTypePolicy)`, with that of `models.networks.labeller.Labeller`.

    A forecast model that has `Forecaster`'s methods `initial_states` and `forecast_next` as well is exported with the
    signature `step`, which forecasts a stream frame by frame; see `framecast.models.export.step.Step`.

    Args:
        preset: Name of the preset.
        builder: The builder.
        arguments: Further keyword arguments: of the builder, or of the preset's model in place of the preset's own,
            such as `{filters: [64, 64]}`.
    """

    preset: str | None = None
    builder: str | None = None
    arguments: dict[str, Any] = {}

    @pydantic.model_validator(mode="after")
    def _one(self) -> "ModelSpec":
        if (self.preset is None) == (self.builder is None):
            raise ValueError("expected exactly one of preset and builder")
        return self


class TrainSpec(Section):
    """How the model is trained.

    Args:
        steps: Optimizer steps.
        batch_frames: Frames in a batch, padding included; a batch holds `batch_frames // padded length` clips.
        crop: Side of the square crops in pixels; whole frames unless given.
        augment: Random augmentations, each drawn once a clip and applied to all its frames.
        precision: Keras dtype policy in training; `auto` is `mixed_bfloat16` where the GPUs, or without any the CPU,
            compute in it, else `float32`.
        loss: Of forecasts, over all next-frame predictions: `mse`; `mae_mse`, the sum of both; `weighted`, the squared
            error with a weight that grows with the true intensity, so that rare high values are not smoothed away.
        sampling: How much of the truth the model sees in training. `none`: all of the context, nothing after.
            `scheduled` (Bengio et al. 2015): after the context too, with a probability that falls from 1 to 0, as
            1 - (share of the steps)**2. `reverse` (Wang et al. 2022): in the context with a probability that rises from
            0.5 to 1, after it with half of that of `scheduled`.
        warm_start: Start from the weights of the model now serving, where it has the same; otherwise, and by default,
            from random ones. The schedule is the same: its slow rise matters more, since Adam's averages start anew
            while the weights are good already, and a peak of a third loses less of them where steps are few
            (benchmarks/RESULTS.md). A new serving model means training again.
        learning_rate: Peak of the one-cycle schedule.
        eval_every: Steps between evaluations on the val split.
        seed: Seed of weights, order, crops and augmentation.
        deterministic: Bit-identical weights for the same seed, data and machine.
    """

    steps: int = pydantic.Field(ge=1)
    batch_frames: int = pydantic.Field(default=160, ge=1)
    crop: int | None = pydantic.Field(default=None, ge=8)
    augment: tuple[Augmentation, ...] = ()
    precision: TrainPrecision = "float32"
    loss: Literal["mse", "mae_mse", "weighted"] = "mse"
    sampling: Literal["none", "scheduled", "reverse"] = "none"
    warm_start: bool = False
    learning_rate: float = pydantic.Field(default=1e-3, ge=0)
    eval_every: int = pydantic.Field(default=200, ge=1)
    seed: int = 0
    deterministic: bool = False

    @pydantic.model_validator(mode="after")
    def _square(self) -> "TrainSpec":
        if "rotate90" in self.augment and self.crop is None:
            raise ValueError("augment: rotate90 needs square frames: expected crop to be given")
        return self


class ExportSpec(Section):
    """What is exported.

    Args:
        precision: Precision of the exported graph, whatever the training precision.
        batch_sizes: Batches that the model is warmed up for before a version of it serves: those that clients send, or
            the server's `allowed_batch_sizes` where it batches.
    """

    precision: Precision = "float32"
    batch_sizes: tuple[int, ...] = (1, 4, 16)

    @pydantic.field_validator("batch_sizes")
    @classmethod
    def _ascending(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if not sizes or any(left >= right for left, right in itertools.pairwise((0, *sizes))):
            raise ValueError(f"expected ascending numbers from 1 on, received {', '.join(map(str, sizes)) or 'none'}")
        if len(sizes) > _MOST_BATCH_SIZES:
            raise ValueError(f"expected at most {_MOST_BATCH_SIZES} numbers, received {len(sizes)}")
        return sizes
