"""Defines the convolution that computes the gates of a convolutional LSTM or GRU; imports Keras only.

gates = GateConvolution(4, filters=64, kernel_size=(5, 5), normalization=None, bias_initializer="zeros")
gates(frame, h)  # (batch, height, width, channel), (batch, height, width, 64) -> (batch, height, width, 256)
"""

import keras
from keras import ops


class GateConvolution(keras.Layer):
    """Maps `concat(input, h)` to the pre-activations of `parts` gates, `filters` channels each, in the variable dtype.

    Args:
        parts: Number of gates.
        filters: Channels of `h` and of each gate.
        kernel_size: `(rows, columns)` in pixels.
        normalization: None, `layer` (per pixel over all channels) or `group` (per gate); applied before the bias.
        bias_initializer: Initializer of the bias.
        **kwargs: Arguments of `keras.Layer`; the dtype policy gives compute and variable dtype.
    """

    def __init__(self, parts, filters, kernel_size, normalization, bias_initializer, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self._size = parts * filters
        self._filters = filters
        self._kernel_size = kernel_size
        self._bias_initializer = bias_initializer
        options = {"center": False, "dtype": self.variable_dtype, "name": "normalization"}
        self.normalization = None
        if normalization == "layer":
            self.normalization = keras.layers.LayerNormalization(**options)
        elif normalization == "group":
            self.normalization = keras.layers.GroupNormalization(parts, **options)

    def build(self, input_shape):
        shape = (*self._kernel_size, input_shape[-1] + self._filters, self._size)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=self._initial_kernel, autocast=False)
        self.bias = self.add_weight(
            name="bias", shape=(self._size,), initializer=self._bias_initializer, autocast=False
        )
        if self.normalization is not None:
            self.normalization.build((*input_shape[:-1], self._size))
        self.built = True

    def _initial_kernel(self, shape, dtype=None):
        """Draws the kernels of frame and state separately, each uniform within 1 / sqrt(pixels * its channels)."""
        rows, columns, channels, size = shape
        kernels = []
        for count in (channels - self._filters, self._filters):
            bound = (rows * columns * count) ** -0.5
            draw = keras.initializers.RandomUniform(-bound, bound)
            kernels.append(draw((rows, columns, count, size), dtype))
        return ops.concatenate(kernels, axis=2)

    def call(self, inputs, h):
        x = ops.concatenate([ops.cast(inputs, self.compute_dtype), ops.cast(h, self.compute_dtype)], axis=-1)
        kernel = ops.cast(self.kernel, self.compute_dtype)
        x = ops.conv(x, kernel, padding="same", data_format="channels_last")
        x = ops.cast(x, self.variable_dtype)
        if self.normalization is not None:
            x = self.normalization(x)
        return x + self.bias
