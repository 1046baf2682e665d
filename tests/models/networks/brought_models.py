"""Builders of models as users bring them: with the call contract, without one, and wrong ones."""

import keras
from keras import ops

layers = keras.layers


def _shown(frames, context_length, steps):
    time = ops.shape(frames)[1]
    within = ops.arange(time)[None] < ops.cast(context_length, "int32")[:, None]
    frames = ops.where(within[:, :, None, None, None], frames, 0.0)
    return ops.pad(frames, [[0, 0], [0, ops.maximum(steps - time, 0)], [0, 0], [0, 0], [0, 0]])[:, :steps]


class Rollout(keras.Model):
    def __init__(self, channels, regularizer=None, **kwargs):
        super().__init__(**kwargs)
        self.rnn = layers.ConvLSTM2D(4, 3, padding="same", return_sequences=True, kernel_regularizer=regularizer)
        self.out = layers.Conv3D(channels, 1, dtype="float32")

    def call(self, frames, context_length, steps):
        return self.out(self.rnn(_shown(frames, context_length, steps)))


class Normalised(Rollout):
    """Depends on `training`: by the statistics of batches, and by dropout."""

    def __init__(self, channels, rate=0.5, **kwargs):
        super().__init__(channels, **kwargs)
        self.norm, self.drop = layers.BatchNormalization(), layers.Dropout(rate)

    def call(self, frames, context_length, steps, training=None):
        x = self.rnn(_shown(frames, context_length, steps)) * 10 + 3
        return self.out(self.drop(self.norm(x, training=training), training=training))


class Leaky(Rollout):
    def call(self, frames, context_length, steps):
        return super().call(frames, ops.full_like(context_length, ops.shape(frames)[1]), steps)


class Smoothing(Rollout):
    """Each prediction sees the whole context."""

    predicts_context = True

    def call(self, frames, context_length, steps):
        return super().call(frames, context_length, steps) + ops.mean(
            _shown(frames, context_length, steps), axis=1, keepdims=True
        )


class ForecastOnly(Smoothing):
    predicts_context = False


class LoopsOverSteps(Rollout):
    def call(self, frames, context_length, steps):
        frame, outputs = frames[:, 0], []
        for _ in range(steps):
            frame = self.out(self.rnn(frame[:, None]))[:, -1]
            outputs.append(frame)
        return ops.stack(outputs, axis=1)


class OneFrame(Rollout):
    def call(self, frames, context_length, steps):
        return super().call(frames, context_length, steps)[:, :1]


class Half(Rollout):
    def call(self, frames, context_length, steps):
        return super().call(frames, context_length, steps)[:, :, ::2, ::2]


class Several(Rollout):
    def call(self, frames, context_length, steps):
        return {"mean": super().call(frames, context_length, steps), "spread": 0}


def rollout(channels, dtype):
    return Rollout(channels, dtype=dtype)


def regularised(channels, dtype):
    return Rollout(channels, regularizer=keras.regularizers.L2(100.0), dtype=dtype)


def normalised(channels, dtype, rate=0.5):
    return Normalised(channels, rate, dtype=dtype)


def leaky(channels, dtype):
    return Leaky(channels, dtype=dtype)


def smoothing(channels, dtype):
    return Smoothing(channels, dtype=dtype)


def forecast_only(channels, dtype):
    return ForecastOnly(channels, dtype=dtype)


def loops_over_steps(channels, dtype):
    return LoopsOverSteps(channels, dtype=dtype)


def one_frame(channels, dtype):
    return OneFrame(channels, dtype=dtype)


def half(channels, dtype):
    return Half(channels, dtype=dtype)


def several(channels, dtype):
    return Several(channels, dtype=dtype)


def nothing(channels, dtype):
    return None


def next_frame(channels, dtype, side=16):
    """A functional model of frames of any number, as in Keras' tutorial of next-frame prediction."""
    inputs = keras.Input((None, side, side, channels))
    x = layers.ConvLSTM2D(4, 3, padding="same", return_sequences=True, dtype=dtype)(inputs)
    return keras.Model(inputs, layers.Conv3D(channels, 1, dtype="float32")(x))


def _unstacked(inputs, channels, horizon, dtype):
    x = layers.ConvLSTM2D(8, 3, padding="same", dtype=dtype)(inputs)
    x = layers.Conv2D(horizon * channels, 3, padding="same", dtype="float32")(x)
    return layers.Lambda(lambda y: ops.stack(ops.split(y, horizon, axis=-1), axis=1))(x)


def horizon(channels, dtype, context=4, horizon=3, side=16):
    """Fixed numbers of frames in and out."""
    inputs = keras.Input((context, side, side, channels))
    return keras.Model(inputs, _unstacked(inputs, channels, horizon, dtype))


def free_horizon(channels, dtype, horizon=3, side=16):
    """Any number of frames in, a fixed number out."""
    inputs = keras.Input((None, side, side, channels))
    return keras.Model(inputs, _unstacked(inputs, channels, horizon, dtype))


def half_precision(channels, dtype, side=16):
    """The last layer has the policy's dtype."""
    inputs = keras.Input((None, side, side, channels))
    return keras.Model(
        inputs, layers.ConvLSTM2D(channels, 3, padding="same", return_sequences=True, dtype=dtype)(inputs)
    )


def labels(channels, outputs, dtype):
    """A label model of frames alone."""
    inputs = keras.Input((None, 16, 16, channels))
    return keras.Model(inputs, layers.Dense(outputs, dtype="float32")(layers.GlobalAveragePooling3D()(inputs)))


def scalars(channels, outputs, dtype):
    """A label model whose output lacks the axis of outputs."""
    inputs = keras.Input((None, 16, 16, channels))
    return keras.Model(inputs, layers.Lambda(lambda frames: ops.mean(frames, axis=(1, 2, 3, 4)))(inputs))


class ByPadding(Rollout):
    """The answer depends on the length of the longest clip of a batch."""

    def call(self, frames, context_length, steps):
        return super().call(frames, context_length, steps) + ops.cast(steps, "float32") / 20


def by_padding(channels, dtype):
    return ByPadding(channels, dtype=dtype)


def some_channels_next_frame(channels, forecast_channels, dtype, outputs=None):
    """Predicts the next frame of some channels."""
    inputs = keras.Input((None, 16, 16, channels))
    x = layers.ConvLSTM2D(4, 3, padding="same", return_sequences=True, dtype=dtype)(inputs)
    return keras.Model(inputs, layers.Conv3D(outputs or len(forecast_channels), 1, dtype="float32")(x))


def some_channels_horizon(channels, forecast_channels, dtype):
    """Forecasts some channels."""
    inputs = keras.Input((4, 16, 16, channels))
    return keras.Model(inputs, _unstacked(inputs, len(forecast_channels), 3, dtype))
