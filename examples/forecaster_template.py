"""A template of forecasters that `model.builder` names; copy it, and change the layers.

    model: {builder: "forecaster_template.py:unet", arguments: {context: 4, horizon: 5}}
    model: {builder: "forecaster_template.py:rollout"}

`framecast check` tries a builder in seconds, and names what does not fit. `channels` are those of a frame;
`forecast_channels` is given if `task.channels` names the channels to forecast; `dtype` is the policy of
`train.precision`. The last layer is float32, because bfloat16 has 8 bits of precision.
"""

import keras
from keras import ops

from framecast.models.convlstm import ConvLSTM

layers = keras.layers


def unet(channels, dtype, forecast_channels=None, context=4, horizon=5, filters=32):
    """Returns a plain Keras model: the last `context` frames in, the next `horizon` frames out.

    `context` is at most `task.context.min`, `horizon` equals `task.horizon`, and height and width are even. Frames are
    read as channels, and each output is a change of the last frame.
    """
    forecast = list(range(channels) if forecast_channels is None else forecast_channels)
    convolution = {"padding": "same", "activation": "relu", "dtype": dtype}
    frames = keras.Input((context, None, None, channels))
    stacked = ops.concatenate([frames[:, time] for time in range(context)], axis=-1)
    fine = layers.Conv2D(filters, 3, **convolution)(stacked)
    coarse = layers.Conv2D(2 * filters, 3, strides=2, **convolution)(fine)
    coarse = layers.Conv2D(2 * filters, 3, **convolution)(coarse)
    joined = layers.Concatenate(dtype=dtype)([layers.UpSampling2D(dtype=dtype)(coarse), fine])
    joined = layers.Conv2D(filters, 3, **convolution)(joined)
    changes = layers.Conv2D(horizon * len(forecast), 1, dtype="float32")(joined)
    last = ops.take(frames[:, -1:], forecast, axis=-1)
    return keras.Model(frames, last + ops.stack(ops.split(changes, horizon, axis=-1), axis=1))


class Rollout(keras.Model):
    """Predicts frame t + 1 from frames 0 .. t, for any context and any number of steps.

    Args:
        channels: Channels of a frame.
        filters: Channels of the recurrence.

    Call arguments:
        frames: `(batch, time, height, width, channel)` float32 pixels in [0, 1].
        context_length: int32 `(batch,)`, observed frames of each clip. Later frames must change no output.
        steps: Number of predictions, an int or an int32 tensor; it may exceed the number of frames.
        training: Whether the call is a training step.

    Output shape:
        `(batch, steps, height, width, channel)` float32; `[:, t]` predicts frame t + 1 from frames 0 .. t. For
        predictions from later frames of the context, set the attribute `predicts_context` to False: then only the
        frames after the context count in the loss.
    """

    def __init__(self, channels, filters=16, **kwargs):
        super().__init__(**kwargs)
        self.recurrence = ConvLSTM(filters, 3, return_sequences=True, dtype=self.dtype_policy)
        self.head = layers.Conv3D(channels, 1, dtype="float32")

    def call(self, frames, context_length, steps, training=False):
        place = ops.arange(ops.shape(frames)[1], dtype="int32")
        observed = (place[None] < ops.cast(context_length, "int32")[:, None])[:, :, None, None, None]
        frames = ops.where(observed, frames, 0.0)
        frames = ops.pad(frames, [[0, 0], [0, steps], [0, 0], [0, 0], [0, 0]])[:, :steps]
        return self.head(self.recurrence(frames, training=training))


def rollout(channels, dtype):
    """Returns a model with Framecast's call contract."""
    return Rollout(channels, dtype=dtype)
