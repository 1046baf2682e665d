"""Defines the convolution that computes the gates of a convolutional LSTM or GRU; imports Keras only.

gates = GateConvolution(4, filters=64, kernel_size=(5, 5))
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
        initializers: Of the kernel of the input, the kernel of `h`, and the bias; None draws a kernel as PyTorch does.
        regularizers: Of the same three, or None.
        **kwargs: Arguments of `keras.Layer`; the dtype policy gives compute and variable dtype.
    """

    def __init__(
        self,
        parts,
        filters,
        kernel_size,
        normalization=None,
        initializers=(None, None, "zeros"),
        regularizers=(None, None, None),
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self._size = parts * filters
        self._filters = filters
        self._kernel_size = kernel_size
        *self._kernel_initializers, self._bias_initializer = initializers
        *self._kernel_regularizers, self._bias_regularizer = regularizers
        options = {"center": False, "dtype": self.variable_dtype, "name": "normalization"}
        self.normalization = None
        if normalization == "layer":
            self.normalization = keras.layers.LayerNormalization(**options)
        elif normalization == "group":
            self.normalization = keras.layers.GroupNormalization(parts, **options)

    def build(self, input_shape):
        channels, penalties = input_shape[-1], self._kernel_regularizers
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self._kernel_size, channels + self._filters, self._size),
            initializer=self._initial_kernel,
            regularizer=_KernelRegularizer(channels, *penalties) if any(penalties) else None,
            autocast=False,
        )
        self.bias = self.add_weight(
            name="bias",
            shape=(self._size,),
            initializer=self._bias_initializer,
            regularizer=self._bias_regularizer,
            autocast=False,
        )
        if self.normalization is not None:
            self.normalization.build((*input_shape[:-1], self._size))
        self.built = True

    def _initial_kernel(self, shape, dtype=None):
        """Draws the kernels of frame and state separately, by default uniform within 1 / sqrt(pixels * channels)."""
        rows, columns, channels, size = shape
        kernels = []
        for count, draw in zip((channels - self._filters, self._filters), self._kernel_initializers, strict=True):
            if draw is None:
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


class _KernelRegularizer(keras.regularizers.Regularizer):
    """Adds the penalties of a kernel's first `channels` input channels, and of the others."""

    def __init__(self, channels, of_input, of_h):
        self._channels = channels
        self._regularizers = (of_input, of_h)

    def __call__(self, kernel):
        parts = kernel[:, :, : self._channels], kernel[:, :, self._channels :]
        return sum(penalty(part) for penalty, part in zip(self._regularizers, parts, strict=True) if penalty)
