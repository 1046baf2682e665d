"""Adapts Keras models without a call contract of Framecast: frames in, the next frames or labels out.

    model = HorizonForecaster(keras_model, context=4, horizon=3)      # (batch, 4, ...) -> (batch, 3, ...)
    model = NextFrameForecaster(keras_model, horizon=3)               # (batch, time, ...) -> (batch, time, ...)
    model = PlainLabeller(keras_model)                                # (batch, time, ...) -> (batch, outputs)

The adapted models have the call contracts of `framecast.models.networks.frame_forecaster.FrameForecaster` and
`framecast.models.networks.labeller.Labeller`. Shapes are `(batch, time, height, width, channel)`.
"""

from collections.abc import Sequence

import keras
from keras import ops


def within(frames, length):
    """Returns `(batch, time, 1, 1, 1)` bool: whether a frame is one of the first `length` frames of its clip."""
    place = ops.arange(ops.shape(frames)[1], dtype="int32")
    return (place[None] < ops.cast(length, "int32")[:, None])[:, :, None, None, None]


class _Adapter(keras.Model):
    """What the adapters share.

    Args:
        model: The adapted model.
        size: Height and width of its input; `(None, None)` if they are free.
    """

    def __init__(self, model: keras.Model, size: tuple[int | None, int | None] = (None, None)):
        super().__init__(dtype=model.dtype_policy, autocast=False)
        self.model = model
        self.size = size
        self.built = True

    def _run(self, frames, training):
        """Calls the model on `frames`, whose static shape becomes that of the model's input."""
        height, width = (1 if side is None else side for side in self.size)
        # Broadcasting fails for frames of other sizes, where a reshape would mix them up.
        frames = frames + ops.zeros((1, 1, height, width, 1), frames.dtype)
        return self.model(frames, training=training)


class HorizonForecaster(_Adapter):
    """Forecasts by a model of the last `context` frames.

    Args:
        model: Maps `(batch, context, ...)` to `(batch, horizon, ...)`.
        context: Frames that the model receives.
        horizon: Frames that it forecasts.
        size: Height and width of its input; `(None, None)` if they are free.

    Attributes:
        predicts_context: False, because the model predicts no frame of the context, so the loss has none either.
    """

    predicts_context = False

    def __init__(self, model: keras.Model, context: int, horizon: int, size=(None, None)):
        super().__init__(model, size)
        self.context = context
        self.horizon = horizon

    def call(self, frames, context_length, steps, training=False):
        first = ops.cast(context_length, "int32")[:, None] - self.context
        window = _take(frames, ops.maximum(first + ops.arange(self.context, dtype="int32")[None], 0))
        forecast = self._run(window, training)
        lead = ops.arange(steps, dtype="int32")[None] - (first + self.context - 1)
        forecast = _take(forecast, ops.clip(lead, 0, self.horizon - 1))
        is_lead = ops.logical_and(lead >= 0, lead < self.horizon)
        return ops.where(is_lead[:, :, None, None, None], forecast, 0.0)

    def initial_states(self, frames):
        """Returns `past_frames`, `(batch, 0, height, width, channel)`: the last frames of the stream."""
        batch, _, height, width, channels = ops.shape(frames)
        return {"past_frames": ops.zeros((batch, 0, height, width, channels), "float32")}

    def forecast_next(self, frames, states, horizon: int):
        """Forecasts a stream; see `FrameForecaster.forecast_next`. Before `context` frames, the earlier ones are 0."""
        past = ops.concatenate([states["past_frames"], frames], axis=1)[:, -self.context :]
        window = ops.pad(past, [[0, 0], [self.context, 0], [0, 0], [0, 0], [0, 0]])[:, -self.context :]
        return self._run(window, False)[:, :horizon], {"past_frames": past}


class NextFrameForecaster(_Adapter):
    """Forecasts by a model that predicts the next frame after each frame, and receives its predictions again.

    Args:
        model: Maps `(batch, time, ...)` to `(batch, time, ...)`; output t predicts frame t + 1 from frames 0 .. t.
        horizon: Frames to forecast, each by one more call of the model; with 0, the first only.
        forecast_channels: Channels that it predicts; after the context it receives the last frame of the others.
        size: Height and width of its input; `(None, None)` if they are free.
    """

    def __init__(self, model: keras.Model, horizon: int, forecast_channels: Sequence[int], size=(None, None)):
        super().__init__(model, size)
        self.horizon = horizon
        self.forecast_channels = tuple(forecast_channels)

    def call(self, frames, context_length, steps, training=False):
        context_length = ops.cast(context_length, "int32")
        frames = ops.where(within(frames, context_length), frames, 0.0)
        window = ops.pad(frames, [[0, 0], [0, steps], [0, 0], [0, 0], [0, 0]])[:, :steps]
        place = ops.arange(steps, dtype="int32")[None]
        last = _take(frames, context_length[:, None] - 1)
        predictions = self._run(window, training)
        for lead in range(self.horizon - 1):
            here = (place == context_length[:, None] + lead)[:, :, None, None, None]
            # Prediction t is frame t + 1.
            shifted = ops.pad(self._all_channels(predictions, last), [[0, 0], [1, 0], [0, 0], [0, 0], [0, 0]])[:, :-1]
            window = ops.where(here, shifted, window)
            predictions = self._run(window, training)
        return predictions

    def _all_channels(self, predictions, last):
        """Returns frames of all channels: those of `last` where a channel is not predicted."""
        if len(self.forecast_channels) == last.shape[-1]:
            return predictions
        own = [predictions[..., place : place + 1] for place in range(len(self.forecast_channels))]
        held = ops.broadcast_to(last, (*ops.shape(predictions)[:-1], last.shape[-1]))
        channels = [held[..., channel : channel + 1] for channel in range(last.shape[-1])]
        for channel, frames in zip(self.forecast_channels, own, strict=True):
            channels[channel] = frames
        return ops.concatenate(channels, axis=-1)


class PlainLabeller(_Adapter):
    """Labels by a model of frames alone; frames after a clip's length are 0.

    Args:
        model: Maps `(batch, time, ...)` to `(batch, outputs)` or `(batch, time, outputs)`.
        size: Height and width of its input; `(None, None)` if they are free.
    """

    def call(self, frames, length, training=False):
        return self._run(ops.where(within(frames, length), frames, 0.0), training)


class StandardisedRegressor(keras.Model):
    """Estimates numbers in their own unit by a model of standardised numbers.

    Args:
        model: A model with the call contract of `Labeller`.
        numbers: Numbers that it estimates.

    Attributes:
        mean: `(numbers,)` weight that is not trained: the mean of the labels in the train split; 0 until it is set.
        spread: `(numbers,)` weight that is not trained: their standard deviation; 1 until it is set.
    """

    def __init__(self, model: keras.Model, numbers: int):
        super().__init__(dtype=model.dtype_policy, autocast=False)
        self.model = model
        self.mean = self.add_weight((numbers,), "zeros", "float32", trainable=False, name="label_mean")
        self.spread = self.add_weight((numbers,), "ones", "float32", trainable=False, name="label_spread")
        self.built = True

    def call(self, frames, length, training=False):
        return self.model(frames, length, training=training) * self.spread + self.mean


def _take(frames, index):
    """Returns frames `index` `(batch, count)` of each clip."""
    batch, time, *rest = ops.shape(frames)
    flat = ops.reshape(frames, (batch * time, *rest))
    return ops.take(flat, ops.arange(batch, dtype="int32")[:, None] * time + index, axis=0)
