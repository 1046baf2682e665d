"""Builds the smallest model that learns a moving column, because its trace takes little time."""

import keras

from framecast.models.networks.plain_models import within


class Shift(keras.Model):
    """Predicts each next frame by one convolution of the frame before; after the context, all are black."""

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.convolution = keras.layers.Conv2D(1, size, padding="same", use_bias=False)

    def call(self, frames, context_length, steps, observed=None):
        frames = keras.ops.where(within(frames, context_length), frames, 0.0)
        frames = keras.ops.pad(frames, [[0, 0], [0, steps], [0, 0], [0, 0], [0, 0]])[:, :steps]
        batch, time, height, width, _ = keras.ops.shape(frames)
        flat = keras.ops.reshape(frames, (batch * time, height, width, 1))
        return keras.ops.reshape(self.convolution(flat), (batch, time, height, width, 1))


def build(channels, dtype, size=3):
    return Shift(size, dtype=dtype)
