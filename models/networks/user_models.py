"""Checks the Keras model that a user's builder returned, and adapts a model without Framecast's call contract.

    model = adapt(build(channels=1, dtype=policy), task, clip, "model.builder my_models.py:build")

Three kinds of forecasters are accepted; examples/forecaster_template.py is a template of the first two:

1. `call(frames, context_length, steps)`, the contract of `framecast.models.networks.frame_forecaster.FrameForecaster`.
2. `(batch, context, height, width, channel)` to `(batch, horizon, height, width, channel)`.
3. `(batch, time, height, width, channel)` to the same shape: output t predicts frame t + 1 from frames 0 .. t.
"""

import inspect
import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from framecast.models.networks.plain_models import HorizonForecaster, NextFrameForecaster, PlainLabeller
from framecast.models.spec import LabelTask
from framecast.schemas.clip_spec import ClipSpec

_SIDE = 64  # Pixels; side of the frames that a model is tried on, if neither it nor the clip contract fixes one.
_TOLERANCE = 1e-4  # Of rounding, between two calls of equal shapes.
_KERAS_CAUSE = re.compile(r"\x1b\[1m(.*?)\x1b\[0m", re.DOTALL)
_STEPS_ADVICE = (
    "The batch, the time and `steps` are tensors when the model is trained and served. A Python loop needs a fixed "
    "number: loop to N, at least clip.frames.max + task.horizon - 1, which `model.arguments` can give to the builder, "
    "and return `predictions[:, :steps]`; or use a layer that loops, such as keras.layers.RNN"
)


def adapt(made: Any, task: Any, clip: ClipSpec, name: str) -> keras.Model:
    """Returns a model with the task's call contract.

    Args:
        made: The builder's result.
        task: A task of `framecast.models.spec.TaskSpec`.
        clip: The clip contract.
        name: Names the builder in messages.

    Raises:
        ValueError: If it is no model, its outputs have another shape or dtype than the task needs, it cannot be traced,
            or it sees frames that it is to forecast.
    """
    if not isinstance(made, keras.Model):
        raise ValueError(f"{name}: expected a keras.Model, received {_describe(made)}")
    if isinstance(task, LabelTask):
        return _Labels(made, task, clip, name).adapt()
    return _Forecasts(made, task, clip, name).adapt()


class _Trial:
    """Tries a model on random frames."""

    def __init__(self, made: keras.Model, task: Any, clip: ClipSpec, name: str):
        self.made, self.task, self.clip, self.name = made, task, clip, name
        self.time, self.size = None, (None, None)
        shape = _input_shape(made)
        if shape is not None:
            self._check_input(shape)
            self.time, self.size = shape[1], tuple(shape[2:4])

    def _check_input(self, shape: Any) -> None:
        channels, given = self.clip.channels, (self.clip.height, self.clip.width)
        if len(shape) != 5 or shape[-1] not in (None, channels):
            raise ValueError(
                f"{self.name}: expected an input (batch, time, height, width, {channels}), received {shape}"
            )
        for key, own, fixed in zip(("height", "width"), shape[2:4], given):
            if own is not None and own != fixed:
                raise ValueError(
                    f"clip.{key}: expected {own}, the only {key} that {self.name} accepts, received {fixed or 'none'}"
                )

    def frames(self, time: int) -> tf.Tensor:
        """Returns frames of two clips."""
        height, width = (own or given or _SIDE for own, given in zip(self.size, (self.clip.height, self.clip.width)))
        shape = (2, time, height, width, self.clip.channels)
        return tf.constant(np.random.default_rng(0).random(shape, np.float32))

    def call(self, model: keras.Model, frames: tf.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Calls the model."""
        try:
            return model(frames, *args, **kwargs)
        except Exception as error:  # A user's model may raise anything.
            raise ValueError(
                f"{self.name}: the model failed on frames {tuple(frames.shape)}: {_cause(error)}"
            ) from error

    def require(self, output: Any, expected: tuple[int, ...], meaning: str) -> None:
        """Checks an output's type, shape and dtype."""
        if not tf.is_tensor(output) or tuple(output.shape) != expected:
            raise ValueError(
                f"{self.name}: expected an output of shape {expected}, {meaning}, received {_describe(output)}"
            )
        if output.dtype != tf.float32:
            raise ValueError(
                f"{self.name}: expected an output of dtype float32, received {output.dtype.name}; "
                "give the last layer dtype='float32'"
            )

    def trace(self, model: keras.Model, advice: str, *specs: tf.TensorSpec, **named: tf.TensorSpec) -> None:
        """Traces the model with a free batch and time, as training and export do."""
        frames = tf.TensorSpec([None, None, self.clip.height, self.clip.width, self.clip.channels], tf.float32)
        try:
            tf.function(lambda *args, **kwargs: model(*args, **kwargs), autograph=False).get_concrete_function(
                frames, *specs, **named
            )
        except Exception as error:  # A user's model may raise anything.
            raise ValueError(f"{self.name}: the model cannot be traced: {_cause(error)}. {advice}") from error


class _Labels(_Trial):
    def adapt(self) -> keras.Model:
        model = self.made if _takes(self.made, 2) else PlainLabeller(self.made, self.size)
        time = self.time or self.task.min_frames + 1
        if self.time is not None and self.clip.frames.max != self.time:
            raise ValueError(
                f"{self.name}: expected a model for any number of frames, because clips have "
                f"{self.clip.frames.min} to {self.clip.frames.max}, received one for {self.time}"
            )
        outputs = self.task.builder_arguments["outputs"]
        estimates = self.call(model, self.frames(time), tf.constant([time, time - 1]))
        if self.task.per == "clip":
            self.require(estimates, (2, outputs), "(batch, outputs)")
        else:
            self.require(estimates, (2, time, outputs), "(batch, time, outputs)")
        self.trace(model, "The batch and the time are free", tf.TensorSpec([None], tf.int32))
        return model


class _Forecasts(_Trial):
    def adapt(self) -> keras.Model:
        has_contract = "steps" in inspect.signature(self.made.call).parameters
        model = self.made if has_contract else self._plain()
        self._check_contract(model)
        self.trace(model, _STEPS_ADVICE, tf.TensorSpec([None], tf.int32), steps=tf.TensorSpec([], tf.int32))
        return model

    @property
    def _channels(self) -> list[int]:
        return self.task.forecast_channels(self.clip.channels)

    @property
    def _frame(self) -> tuple[int, ...]:
        """Height, width and channels of a forecast frame."""
        return (*self.frames(1).shape[2:4], len(self._channels))

    def _plain(self) -> keras.Model:
        shortest, horizon = self.task.context.min, self.task.horizon
        context = self.time or shortest
        if context > shortest:
            raise ValueError(
                f"task.context.min: expected at least {context}, the frames that {self.name} takes, received "
                f"{shortest}; clips of fewer than context.min + horizon frames are left out"
            )
        output = self.call(self.made, self.frames(context))
        if self.time is None and _time_of(output) == context:
            following = self.call(self.made, self.frames(context + 1))
            if _time_of(following) == context + 1:
                self.require(output, (2, context, *self._frame), "a next frame for each frame")
                return NextFrameForecaster(self.made, horizon, self._channels, self.size)
        if not horizon:
            raise ValueError(
                f"{self.name}: expected a next frame for each frame of any number, because every frame is scored, "
                f"received {_describe(output)} for frames {tuple(self.frames(context).shape)}"
            )
        self.require(output, (2, horizon, *self._frame), "(batch, task.horizon, height, width, channel)")
        return HorizonForecaster(self.made, context, horizon, self.size)

    def _check_contract(self, model: keras.Model) -> None:
        context = self.task.context.min + 1
        steps = context + max(self.task.horizon, 1)
        frames = self.frames(steps + 1)
        length = tf.constant([context, context], tf.int32)
        predictions = self.call(model, frames, length, steps=steps)
        self.require(predictions, (2, steps, *self._frame), "(batch, steps, height, width, channel)")
        if not np.isfinite(predictions.numpy()).all():
            raise ValueError(f"{self.name}: expected finite predictions before training, received NaN or infinity")
        hidden = self.call(model, _hide(frames, context), length, steps=steps)
        self._require_equal(predictions, hidden, "frames after context_length", "Replace them, such as by 0, before")
        if not getattr(model, "predicts_context", True):
            return
        hidden = self.call(model, _hide(frames, context - 1), length, steps=steps)
        self._require_equal(
            predictions[:, : context - 1],
            hidden[:, : context - 1],
            "later frames of the context",
            "Output t may use frames 0 .. t only; or give the model an attribute predicts_context = False, so that the "
            "loss counts the forecast alone: all of it before",
        )

    def _require_equal(self, expected: tf.Tensor, received: tf.Tensor, changed: str, advice: str) -> None:
        if not np.allclose(expected.numpy(), received.numpy(), _TOLERANCE, _TOLERANCE):
            raise ValueError(
                f"{self.name}: the model sees frames that it is to forecast: its predictions change with {changed}. "
                f"{advice} any layer that combines frames"
            )


def _hide(frames: tf.Tensor, first: int) -> tf.Tensor:
    """Returns frames with NaN from frame `first` on."""
    return tf.concat([frames[:, :first], tf.fill(frames[:, first:].shape, np.float32(np.nan))], axis=1)


def _takes(model: keras.Model, count: int) -> bool:
    """Checks whether `model.call` takes `count` positional arguments, besides those that Keras adds."""
    if isinstance(model, keras.Sequential) or hasattr(model, "input_shape"):
        return False
    own = [name for name in inspect.signature(model.call).parameters if name not in ("training", "mask")]
    return len(own) >= count


def _input_shape(model: keras.Model) -> Any:
    """Returns the shape of a functional or sequential model's input; None if the model has no fixed one."""
    try:
        return model.input_shape
    except AttributeError:
        return None


def _time_of(output: Any) -> int | None:
    return output.shape[1] if tf.is_tensor(output) and len(output.shape) == 5 else None


def _cause(error: Exception) -> str:
    """Returns the error without the arguments of the call, which Keras adds."""
    found = _KERAS_CAUSE.search(str(error))
    return f"{type(error).__name__}: {found[1] if found else error}"


def _describe(value: Any) -> str:
    if tf.is_tensor(value):
        return f"{tuple(value.shape)}"
    if isinstance(value, dict):
        return f"a dict of {', '.join(map(str, value))}"
    return type(value).__name__
