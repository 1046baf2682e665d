"""Defines the model of classification and regression.

model = Labeller(channels=1, outputs=10, per="clip", filters=(16, 32), recurrent_filters=32)
model(frames, length)  # (batch, 10): logits
"""

from collections.abc import Sequence
from typing import Literal

import keras
from keras import ops

from framecast.models.convlstm import ConvLSTM
from framecast.models.convlstm_cells import Normalization


@keras.saving.register_keras_serializable(package="framecast")
class Labeller(keras.Model):
    """Classifies a clip or each of its frames, or predicts a number.

    A convolutional network runs on each frame, a ConvLSTM over time, a dense layer on its mean and maximum over pixels.

    Args:
        channels: Channels of a frame.
        outputs: Number of classes; 1 for regression.
        per: `clip`: one output from all frames. `frame`: one output per frame, from the frames up to it.
        filters: Channels of each convolution on the frames; each convolution halves height and width.
        recurrent_filters: Channels of the ConvLSTM.
        peephole, normalization, dropout, recurrent_dropout: See `ConvLSTMCell`.
        remat: See `framecast.models.convlstm.RNN`.

    Call arguments:
        frames: Float32 pixels in [0, 1]; frames past a clip's length, NaN included, change no output or gradient.
        length: int32 `(batch,)`, valid frames of each clip, at least 1.
        training: Whether the call is a training step.

    Input shape:
        `(batch, time, height, width, channel)`.

    Output shape:
        `(batch, outputs)`, or `(batch, time, outputs)` with undefined values past the length: logits, or the number in
        regression, float32 for any dtype policy.

    Raises:
        ValueError: If `frames` has another rank or other channels.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        per: Literal["clip", "frame"] = "clip",
        filters: Sequence[int] = (16, 32),
        recurrent_filters: int = 32,
        peephole: bool = False,
        normalization: Normalization | None = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        remat: bool = False,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.channels = channels
        self.outputs = outputs
        self.per = per
        self.filters = tuple(filters)
        self.recurrent_filters = recurrent_filters
        common = {"dtype": self.dtype_policy, "trainable": self.trainable}
        options = {"padding": "same", "activation": "relu", "data_format": "channels_last", **common}
        self.convolutions = [keras.layers.Conv2D(size, 3, strides=2, **options) for size in self.filters]
        self.recurrence_options = {
            "peephole": peephole,
            "normalization": normalization,
            "dropout": dropout,
            "recurrent_dropout": recurrent_dropout,
            "remat": remat,
        }
        self.recurrence = ConvLSTM(
            recurrent_filters, 3, return_sequences=per == "frame", **common, **self.recurrence_options
        )
        self.head = keras.layers.Dense(outputs, dtype="float32", trainable=self.trainable)
        for layer in self.convolutions:
            layer.build((None, None, None, channels))
            channels = layer.filters
        self.recurrence.build((None, None, None, None, channels))
        self.head.build((None, 2 * recurrent_filters))
        self.built = True

    def call(self, frames, length, training=False):
        if len(frames.shape) != 5 or frames.shape[-1] != self.channels:
            raise ValueError(
                f"frames: expected shape (batch, time, height, width, {self.channels}), received {frames.shape}"
            )
        batch, time = ops.shape(frames)[:2]
        valid = ops.arange(time, dtype="int32")[None] < ops.cast(length, "int32")[:, None]
        x = ops.where(valid[:, :, None, None, None], ops.cast(frames, "float32"), 0.0)
        # No TimeDistributed: in Keras 3.13 it uses the batch size as the time if the time is not static.
        x = ops.reshape(x, (batch * time, *ops.shape(x)[2:4], self.channels))
        for layer in self.convolutions:
            x = layer(x)
        x = ops.reshape(x, (batch, time, *ops.shape(x)[1:]))
        x = ops.cast(self.recurrence(x, length=length, training=training), "float32")
        # Mean and maximum over pixels keep what is seen and how much of it, but not where.
        x = ops.concatenate([ops.mean(x, axis=(-3, -2)), ops.max(x, axis=(-3, -2))], axis=-1)
        return self.head(x)

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "outputs": self.outputs,
            "per": self.per,
            "filters": self.filters,
            "recurrent_filters": self.recurrent_filters,
            **self.recurrence_options,
        }
