"""The `task`, `model`, `train` and `export` sections of the configuration."""

from typing import Literal

import pydantic

from framecast.schemas.section import Section

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
Augmentation = Literal["flip", "rotate90"]


class ContextSpec(Section):
    """How many frames a forecast starts from."""

    min: int = pydantic.Field(default=1, ge=1)


class TaskSpec(Section):
    """What the model is asked for: the next `horizon` frames after at least `context.min` frames."""

    kind: Literal["forecast"] = "forecast"
    horizon: int = pydantic.Field(ge=1)
    context: ContextSpec = ContextSpec()

    @property
    def min_frames(self) -> int:
        """The shortest clip that can be trained on and evaluated."""
        return self.context.min + self.horizon


class ModelSpec(Section):
    """A preset of `framecast.models.presets`, or a builder `package.module:function`.

    A builder is called as `build(channels=int, dtype=keras.DTypePolicy)` and returns a Keras model with the call
    contract of `framecast.models.forecaster.Forecaster`.
    """

    preset: str | None = None
    builder: str | None = None

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
        precision: Keras dtype policy in training.
        loss: `mse`, over all next-frame predictions.
        learning_rate: Peak of the one-cycle schedule.
        eval_every: Steps between evaluations on the val split.
        seed: Seed of weights, order, crops and augmentation.
        deterministic: Bit-identical weights for the same seed, data and machine.
    """

    steps: int = pydantic.Field(ge=1)
    batch_frames: int = pydantic.Field(default=160, ge=1)
    crop: int | None = pydantic.Field(default=None, ge=8)
    augment: tuple[Augmentation, ...] = ()
    precision: Precision = "float32"
    loss: Literal["mse"] = "mse"
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
    """The precision of the exported graph, whatever the training precision."""

    precision: Precision = "float32"
