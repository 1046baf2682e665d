"""A convolutional LSTM cell, and the layer that runs it over time. Imports Keras only.

layer = RNN(ConvLSTMCell(filters=64, kernel_size=5), return_sequences=True)
layer(frames, mask=mask)  # (batch, time, height, width, channel) -> (batch, time, height, width, 64)
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="framecast")
class ConvLSTMCell(keras.Layer):
    """One step of a convolutional LSTM: every gate comes from one convolution over `concat(input, h)`.

    `i, f, o = sigmoid(...)`, `g = tanh(...)`, `c = f * c + i * g`, `h = o * tanh(c)`, without peepholes. Gates stand
    in the kernel in the order i, f, g, o, so that `keras.layers.ConvLSTM2D`'s kernel and recurrent kernel (there g is
    called c), concatenated along their input channels, are this kernel. The forget gate's bias starts at 1.

    The convolution runs in the compute dtype; gates and `c` stay in the variable dtype, because a sum over many steps
    loses small increments in 16 bits.

    Args:
        filters: Channels of `h` and `c`.
        kernel_size: Side of the square kernel in pixels.

    Call arguments:
        inputs: The frame.
        states: `[h, c]`.

    Input shape:
        `(batch, height, width, channel)`; height and width may be unknown, and change between calls.

    Output shape:
        `(batch, height, width, filters)`, in the compute dtype; and the new states, `h` equal to the output.

    References:
        Shi et al. 2015, https://arxiv.org/abs/1506.04214
    """

    def __init__(self, filters: int, kernel_size: int, **kwargs):
        # Keras would cast the states to the compute dtype together with the inputs.
        super().__init__(autocast=False, **kwargs)
        self.filters = filters
        self.kernel_size = kernel_size

    @property
    def state_size(self) -> list[int]:
        """Channels of each state."""
        return [self.filters, self.filters]

    def build(self, input_shape):
        shape = (self.kernel_size, self.kernel_size, input_shape[-1] + self.filters, 4 * self.filters)
        self.kernel = self.add_weight(name="kernel", shape=shape, autocast=False)
        self.bias = self.add_weight(name="bias", shape=shape[-1:], initializer=self._initial_bias, autocast=False)
        self.built = True

    def _initial_bias(self, shape, dtype=None):
        forget = ops.arange(shape[0]) // self.filters == 1
        return ops.cast(forget, dtype)

    def get_initial_state(self, batch_size, spatial_size) -> list:
        """Returns zeros for `h` and `c`; `spatial_size` is `(height, width)`."""
        shape = (batch_size, *spatial_size, self.filters)
        return [ops.zeros(shape, self.compute_dtype), ops.zeros(shape, self.variable_dtype)]

    def call(self, inputs, states):
        h, c = states
        x = ops.concatenate([ops.cast(inputs, self.compute_dtype), h], axis=-1)
        kernel = ops.cast(self.kernel, self.compute_dtype)
        gates = ops.conv(x, kernel, padding="same", data_format="channels_last")
        gates = ops.cast(gates, self.variable_dtype) + self.bias
        i, f, g, o = ops.split(gates, 4, axis=-1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        h = ops.cast(ops.sigmoid(o) * ops.tanh(c), self.compute_dtype)
        return h, [h, c]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "kernel_size": self.kernel_size}


@keras.saving.register_keras_serializable(package="framecast")
class RNN(keras.layers.RNN):
    """`keras.layers.RNN` for convolutional cells.

    Differs from its base where that one assumes vectors: output shapes keep height and width, states start at the
    sequence's own height and width and keep the dtypes that the cell gives them, and a mask `(batch, time)` also works
    where height and width are unknown. A masked step keeps the states and repeats the output before it (zeros at the
    start); what stands in masked frames, NaN included, reaches neither outputs nor gradients.

    Args:
        cell: A layer with `state_size` (channels of each state), `get_initial_state(batch_size, spatial_size)`,
            `compute_output_shape(step_shape)` and `call(inputs, states) -> (output, new states)`.
        **kwargs: As for `keras.layers.RNN`, without `stateful`: pass `initial_state` instead.

    Input shape:
        `(batch, time, height, width, channel)`.

    Output shape:
        The cell's output shape, with time after batch if `return_sequences`; then the states if `return_state`.

    Raises:
        ValueError: When `stateful` is asked for.
    """

    def __init__(self, cell, **kwargs):
        if kwargs.get("stateful"):
            raise ValueError("stateful: expected False (pass initial_state, take return_state), received True")
        super().__init__(cell, **kwargs)
        # Keras would cast an initial state to the compute dtype together with the inputs.
        self.autocast = False

    def get_initial_state(self, batch_size, spatial_size) -> list:
        """Returns the cell's initial states; `spatial_size` is `(height, width)`."""
        return self.cell.get_initial_state(batch_size, spatial_size)

    def call(self, sequences, initial_state=None, mask=None, training=False):
        batch, time, *spatial, _ = ops.shape(sequences)
        if initial_state is None:
            initial_state = self.get_initial_state(batch, spatial)
        if mask is not None:
            # Keras tiles a mask of lower rank by the static shape, which fails at unknown height and width.
            mask = ops.reshape(mask, (batch, time, 1, 1, 1))
            sequences = ops.where(mask, sequences, ops.zeros_like(sequences))
        last_output, outputs, states = self.inner_loop(sequences, list(initial_state), mask, training)
        output = outputs if self.return_sequences else last_output
        return (output, *states) if self.return_state else output

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):  # noqa: ARG002, as Keras calls it
        batch, time, *step_shape = sequences_shape
        step_output = self.cell.compute_output_shape((batch, *step_shape))
        output = (batch, time, *step_output[1:]) if self.return_sequences else tuple(step_output)
        if not self.return_state:
            return output
        return output, *((batch, *step_shape[:-1], channels) for channels in self.cell.state_size)
