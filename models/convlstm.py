"""Defines convolutional LSTM and GRU cells and the layers that run them over time; imports Keras only.

    layer = ConvLSTM(filters=64, kernel_size=5, return_sequences=True)
    layer(frames, length=length)  # (batch, time, height, width, channel) -> (batch, time, height, width, 64)

`RNN` runs any cell: `RNN(ConvLSTMCell(64, 5), return_sequences=True)` equals the layer above.
"""

import functools
import operator
from typing import Literal

import keras
from keras import ops
from keras.src.backend import rnn as loop_over_time  # Private: Keras exports no loop that keeps height and width.

from framecast.models.gate_convolution import GateConvolution

Normalization = Literal["layer", "group"]


class _ConvCell(keras.Layer):
    """Holds the options, the recurrent dropout and the errors that both cells share."""

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        activation="tanh",
        recurrent_activation="sigmoid",
        normalization: Normalization | None = None,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs,
    ):
        # With autocast Keras casts the states to the compute dtype too.
        super().__init__(autocast=False, **kwargs)
        if normalization not in (None, "layer", "group"):
            raise ValueError(f"normalization: expected None, 'layer' or 'group', received {normalization!r}")
        if not 0 <= recurrent_dropout < 1:
            raise ValueError(f"recurrent_dropout: expected a fraction in [0, 1), received {recurrent_dropout!r}")
        self.filters = filters
        self.kernel_size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        self.activation = keras.activations.get(activation)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.normalization = normalization
        self.recurrent_dropout = recurrent_dropout
        self.seed = seed
        self._seed_generator = keras.random.SeedGenerator(seed) if recurrent_dropout else None

    def get_initial_state(self, batch_size=None, spatial_size=None) -> list:
        """Returns zero states for frames of `spatial_size`, `(height, width)`.

        Raises:
            ValueError: If `spatial_size` is None, as in a call by `keras.layers.RNN`.
        """
        if spatial_size is None:
            raise self._wrong_rnn()
        shape = (batch_size, *spatial_size, self.filters)
        return [ops.zeros(shape, dtype) for dtype in self._state_dtypes]

    @property
    def state_size(self) -> list[int]:
        """Channels of each state."""
        return [self.filters for _ in self._state_dtypes]

    @property
    def _state_dtypes(self) -> list[str]:
        raise NotImplementedError

    @property
    def output_size(self):
        """Raises ValueError, because only `keras.layers.RNN` reads it, and derives the shape of vectors from it."""
        raise self._wrong_rnn()

    def _wrong_rnn(self) -> ValueError:
        return ValueError(
            f"{type(self).__name__}: expected framecast.models.convlstm.RNN as the layer around the cell, "
            "received keras.layers.RNN, which supports vector states only"
        )

    def get_recurrent_mask(self, batch_size, spatial_size):
        """Returns the dropout mask of `h` for all steps of a sequence (Gal & Ghahramani 2016), or None."""
        if self._seed_generator is None:
            return None
        ones = ops.ones((batch_size, *spatial_size, self.filters), self.compute_dtype)
        return keras.random.dropout(ones, self.recurrent_dropout, seed=self._seed_generator)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        names = ("filters", "kernel_size", "normalization", "recurrent_dropout", "seed")
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in names},
            "activation": keras.activations.serialize(self.activation),
            "recurrent_activation": keras.activations.serialize(self.recurrent_activation),
        }

    def _convolution(self, parts: int, name: str, bias="zeros") -> GateConvolution:
        return GateConvolution(
            parts, self.filters, self.kernel_size, self.normalization, bias, dtype=self.dtype_policy, name=name
        )


@keras.saving.register_keras_serializable(package="framecast")
class ConvLSTMCell(_ConvCell):
    """Runs one step of a convolutional LSTM (Shi et al. 2015, https://arxiv.org/abs/1506.04214).

    `i, f, o = sigmoid(...)` and `g = tanh(...)` from one convolution over `concat(input, h)`, `c = f * c + i * g`,
    `h = o * tanh(c)`. The kernel holds the gates in the order i, f, g, o: it equals kernel and recurrent kernel of
    `keras.layers.ConvLSTM2D` (which calls g c), concatenated along their input channels.

    The convolution runs in the compute dtype. Gates and `c` keep the variable dtype, because a sum over many steps
    loses small increments in 16 bits. Kernels are initialised as PyTorch initialises two convolutions, of the frame and
    of `h`, because Glorot's bound over both gives frames of few channels too little weight.

    Args:
        filters: Channels of `h` and `c`.
        kernel_size: Height and width of the kernel in pixels; one number for both.
        activation: Activation of the candidate `g`, and of `c` in `h`.
        recurrent_activation: Activation of the gates i, f and o.
        peephole: Whether i and f also see the previous `c`, and o the new one (equation 3). One weight per channel,
            because the paper's weight per pixel would fix height and width.
        normalization: Normalization of the pre-activations, before the bias. `layer`: per pixel over the channels of
            all gates (Ba et al. 2016). `group`: per gate over channels, height and width (Wu & He 2018).
        unit_forget_bias: Whether the forget gate's bias starts at 1 (Jozefowicz et al. 2015).
        recurrent_dropout: Fraction of `h` dropped before the convolution in training, the same in all steps.
        seed: Seed of the dropout.

    Call arguments:
        inputs: The frame.
        states: `[h, c]`.
        recurrent_mask: From `get_recurrent_mask`, None for no dropout; `RNN` passes it in training.

    Input shape:
        `(batch, height, width, channel)`; height and width may be unknown, and may change between calls.

    Output shape:
        `(batch, height, width, filters)` in the compute dtype, and the new states, with `h` equal to the output.

    Raises:
        ValueError: If an option is unknown or out of range.
    """

    def __init__(self, filters, kernel_size, peephole: bool = False, unit_forget_bias: bool = True, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        self.peephole = peephole
        self.unit_forget_bias = unit_forget_bias
        self.gates = self._convolution(4, "gates", self._initial_bias)

    @property
    def _state_dtypes(self) -> list[str]:
        return [self.compute_dtype, self.variable_dtype]

    def build(self, input_shape):
        self.gates.build(input_shape)
        if self.peephole:
            self.peepholes = self.add_weight(
                name="peepholes", shape=(3, self.filters), initializer="zeros", autocast=False
            )
        self.built = True

    def _initial_bias(self, shape, dtype=None):
        forget = ops.arange(shape[0]) // self.filters == 1
        return ops.cast(forget, dtype) * self.unit_forget_bias

    def call(self, inputs, states, recurrent_mask=None):
        h, c = states
        seen = h if recurrent_mask is None else h * recurrent_mask
        i, f, g, o = ops.split(self.gates(inputs, seen), 4, axis=-1)
        if self.peephole:
            i, f = i + self.peepholes[0] * c, f + self.peepholes[1] * c
        c = self.recurrent_activation(f) * c + self.recurrent_activation(i) * self.activation(g)
        if self.peephole:
            o = o + self.peepholes[2] * c
        h = ops.cast(self.recurrent_activation(o) * self.activation(c), self.compute_dtype)
        return h, [h, c]

    def get_config(self):
        return {**super().get_config(), "peephole": self.peephole, "unit_forget_bias": self.unit_forget_bias}


@keras.saving.register_keras_serializable(package="framecast")
class ConvGRUCell(_ConvCell):
    """Runs one step of a convolutional GRU (Ballas et al. 2016, https://arxiv.org/abs/1511.06432).

    `z, r = sigmoid(...)` from one convolution over `concat(input, h)`, `g = tanh(...)` from one over
    `concat(input, r * h)`, `h = z * h + (1 - z) * g`, as in `keras.layers.GRU(reset_after=False)`. The convolutions run
    in the compute dtype; gates and `h` keep the variable dtype.

    Arguments, call, shapes and errors are those of `ConvLSTMCell`, except that there is no `peephole` and no
    `unit_forget_bias`, the states are `[h]`, and the output has the variable dtype.
    """

    def __init__(self, filters, kernel_size, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        self.gates = self._convolution(2, "gates")
        self.candidate = self._convolution(1, "candidate")

    @property
    def _state_dtypes(self) -> list[str]:
        return [self.variable_dtype]

    def build(self, input_shape):
        self.gates.build(input_shape)
        self.candidate.build(input_shape)
        self.built = True

    def call(self, inputs, states, recurrent_mask=None):
        (h,) = states
        seen = h if recurrent_mask is None else h * ops.cast(recurrent_mask, h.dtype)
        z, r = ops.split(self.recurrent_activation(self.gates(inputs, seen)), 2, axis=-1)
        g = self.activation(self.candidate(inputs, r * seen))
        h = z * h + (1 - z) * g
        return h, [h]


@keras.saving.register_keras_serializable(package="framecast")
class RNN(keras.layers.RNN):
    """Runs a convolutional cell over time, as `keras.layers.RNN` runs a cell of vectors.

    Differs from its base class in three ways: output shapes keep height and width, states keep the dtypes that the cell
    gives them, and a `(batch, time)` mask also works with unknown height and width. A masked step keeps the states and
    repeats the previous output (zeros at the start). Masked frames, NaN included, reach neither outputs nor gradients.

    Args:
        cell: A layer with `state_size` (channels of each state), `get_initial_state(batch_size, spatial_size)`,
            `compute_output_shape(step_shape)` and `call(inputs, states) -> (output, new states)`. The output has the
            shape and dtype of the first state.
        remat: Whether training recomputes the inside of each step for the gradient instead of keeping it.
        **kwargs: Arguments of `keras.layers.RNN` without `stateful`: pass `initial_state` instead.

    Call arguments:
        sequences: The frames.
        length: `(batch,)` int, valid frames of each sequence. The loop stops after the longest, except under JAX's
            `jit`, which needs fixed shapes.
        mask: `(batch, time)` bool, instead of `length` if masked frames may be anywhere.
        initial_state: The states to start from, such as those of the last call with `return_state`; zeros by default.

    Input shape:
        `(batch, time, height, width, channel)`; all but channel may be unknown, and may change between calls.

    Output shape:
        The cell's output shape, with time after batch for `return_sequences`; then the states for `return_state`.

    Raises:
        ValueError: If `stateful` is set, or both `length` and `mask` are given.
    """

    def __init__(self, cell, remat: bool = False, **kwargs):
        if kwargs.get("stateful"):
            raise ValueError("stateful: expected False, received True; use return_state and pass initial_state")
        super().__init__(cell, **kwargs)
        self.remat = remat
        # With autocast Keras casts initial states to the compute dtype too.
        self.autocast = False

    def get_initial_state(self, batch_size, spatial_size) -> list:
        """Returns the cell's initial states for frames of `spatial_size`, `(height, width)`."""
        return self.cell.get_initial_state(batch_size, spatial_size)

    def call(self, sequences, initial_state=None, mask=None, length=None, training=False):
        if length is not None and mask is not None:
            raise ValueError("length, mask: expected at most one of them, received both")
        batch, time, *spatial, _ = ops.shape(sequences)
        if initial_state is None:
            initial_state = self.get_initial_state(batch, spatial)
        steps = time
        if length is not None:
            length = ops.cast(length, "int32")
            steps = _step_count(ops.max(length), time)
            sequences = sequences[:, :steps]
            mask = ops.arange(steps)[None] < length[:, None]
        if mask is not None:
            # Keras expands a mask of lower rank by the static shape, which fails for unknown height and width.
            mask = ops.reshape(mask, (batch, steps, 1, 1, 1))
            sequences = ops.where(mask, sequences, ops.zeros_like(sequences))
        last_output, outputs, states = loop_over_time(
            self._step(batch, spatial, training),
            sequences,
            list(initial_state),
            go_backwards=self.go_backwards,
            mask=mask,
            unroll=self.unroll,
            zero_output_for_mask=self.zero_output_for_mask,
            return_all_outputs=self.return_sequences,
        )
        output = last_output
        if self.return_sequences:
            output = outputs if length is None else self._extend(outputs, steps, time)
        return (output, *states) if self.return_state else output

    def _step(self, batch, spatial, training):
        """Returns the step function of the loop, `(inputs, states) -> (output, new states)`."""
        arguments = {}
        if self.cell._call_has_training_arg:
            arguments["training"] = training
        if training and getattr(self.cell, "recurrent_dropout", 0):
            # Drawn outside the loop, which must not change the state of a random generator.
            arguments["recurrent_mask"] = self.cell.get_recurrent_mask(batch, spatial)
        run = self._rematerialised(arguments) if self.remat else functools.partial(self.cell, **arguments)
        # Keras calls the step once before its loop, only for shape and dtype of the output: those of the first state.
        is_shape_probe = keras.backend.backend() != "jax" and not self.unroll

        def step(inputs, states):
            nonlocal is_shape_probe
            if is_shape_probe:
                is_shape_probe = False
                return ops.zeros_like(states[0]), states
            return run(inputs, list(states))

        return step

    def _rematerialised(self, arguments):
        """Returns the cell as a function that keeps only its inputs, and is recomputed in the backward pass."""
        weights = [weight.value for weight in self.cell.trainable_variables]
        fixed = [weight.value for weight in self.cell.non_trainable_variables]

        # Weights are inputs, because TensorFlow cannot recompute, inside a loop, a function that reads variables.
        @keras.remat
        def run(weights, inputs, states):
            (output, states), _ = self.cell.stateless_call(weights, fixed, inputs, states, **arguments)
            return output, states

        return functools.partial(run, weights)

    def _extend(self, outputs, steps, time):
        """Extends the outputs of `steps` steps to `time` steps, in the order of the loop."""
        # Backwards the padding comes first, when there is no output to repeat yet.
        index = ops.arange(time) - (time - steps if self.go_backwards else 0)
        outputs = ops.take(outputs, ops.clip(index, 0, steps - 1), axis=1)
        if self.zero_output_for_mask or self.go_backwards:
            valid = ops.reshape(ops.logical_and(index >= 0, index < steps), (1, time, 1, 1, 1))
            outputs = ops.where(valid, outputs, ops.zeros_like(outputs))
        return outputs

    def compute_output_shape(self, sequences_shape, initial_state_shape=None, length_shape=None):  # noqa: ARG002
        batch, time, *step_shape = sequences_shape
        step_output = self.cell.compute_output_shape((batch, *step_shape))
        output = (batch, time, *step_output[1:]) if self.return_sequences else tuple(step_output)
        if not self.return_state:
            return output
        return output, *((batch, *step_shape[:-1], channels) for channels in self.cell.state_size)

    def get_config(self):
        return {**super().get_config(), "remat": self.remat}


def _step_count(longest, time):
    """Returns `longest`, a scalar tensor; under JAX's `jit`, where every shape is fixed, `time`."""
    if keras.backend.backend() == "tensorflow":
        return longest
    try:
        return operator.index(longest)
    except TypeError:
        return time


class _ConvLayer(RNN):
    """Combines a cell and its loop over time in one layer."""

    _CELL: type[_ConvCell]
    _LOOP = ("remat", "return_sequences", "return_state", "go_backwards", "unroll", "zero_output_for_mask")

    def __init__(self, filters, kernel_size, **kwargs):
        loop = {name: kwargs.pop(name) for name in (*self._LOOP, "stateful", "name", "trainable") if name in kwargs}
        cell = self._CELL(filters, kernel_size, name="cell", **kwargs)
        super().__init__(cell, dtype=cell.dtype_policy, **loop)

    def get_config(self):
        loop = {name: getattr(self, name) for name in self._LOOP}
        return {**self.cell.get_config(), "name": self.name, "trainable": self.trainable, **loop}

    @classmethod
    def from_config(cls, config, custom_objects=None):  # noqa: ARG003
        return cls(**config)


@keras.saving.register_keras_serializable(package="framecast")
class ConvLSTM(_ConvLayer):
    """Runs a convolutional LSTM over `(batch, time, height, width, channel)`.

    Takes the arguments of `ConvLSTMCell` and of `RNN`; the call is that of `RNN`.
    """

    _CELL = ConvLSTMCell


@keras.saving.register_keras_serializable(package="framecast")
class ConvGRU(_ConvLayer):
    """Runs a convolutional GRU over `(batch, time, height, width, channel)`.

    Takes the arguments of `ConvGRUCell` and of `RNN`; the call is that of `RNN`.
    """

    _CELL = ConvGRUCell
