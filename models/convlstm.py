"""Convolutional LSTM and GRU cells, and the layers that run them over time. Imports Keras only.

    layer = ConvLSTM(filters=64, kernel_size=5, return_sequences=True)
    layer(frames, length=length)  # (batch, time, height, width, channel) -> (batch, time, height, width, 64)

The same with a cell of one's own choice is `RNN(ConvLSTMCell(64, 5), return_sequences=True)`.
"""

import functools
import operator
from typing import Literal

import keras
from keras import ops
from keras.src.backend import rnn as loop_over_time  # What keras.layers.RNN runs; Keras exports no other such loop.

Normalization = Literal["layer", "group"]


class _ConvCell(keras.Layer):
    """What the cells share: convolutions over `concat(input, h)`, normalised or not, in the compute dtype."""

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
        # Keras would cast the states to the compute dtype together with the inputs.
        super().__init__(autocast=False, **kwargs)
        if normalization not in (None, "layer", "group"):
            raise ValueError(f"normalization: expected None, 'layer' or 'group', received {normalization!r}")
        if not 0 <= recurrent_dropout < 1:
            raise ValueError(f"recurrent_dropout: expected a share in [0, 1), received {recurrent_dropout!r}")
        self.filters = filters
        self.kernel_size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        self.activation = keras.activations.get(activation)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.normalization = normalization
        self.recurrent_dropout = recurrent_dropout
        self.seed = seed
        self._seed_generator = keras.random.SeedGenerator(seed) if recurrent_dropout else None

    def get_initial_state(self, batch_size=None, spatial_size=None) -> list:
        """Returns zeros; `spatial_size` is `(height, width)`.

        Raises:
            ValueError: When there is no `spatial_size`, which is how `keras.layers.RNN` asks.
        """
        if spatial_size is None:
            raise self._in_a_keras_rnn()
        return self._zeros((batch_size, *spatial_size, self.filters))

    @property
    def output_size(self):
        """Raises ValueError: only `keras.layers.RNN` asks, and would answer with the shape of vectors."""
        raise self._in_a_keras_rnn()

    def _in_a_keras_rnn(self) -> ValueError:
        return ValueError(
            f"{type(self).__name__}: expected framecast.models.convlstm.RNN around it, which keeps height and width; "
            "received keras.layers.RNN, which knows vectors only"
        )

    def get_recurrent_mask(self, batch_size, spatial_size):
        """Returns what `h` is multiplied with in every step of one sequence (Gal & Ghahramani 2016); None without."""
        if self._seed_generator is None:
            return None
        ones = ops.ones((batch_size, *spatial_size, self.filters), self.compute_dtype)
        return keras.random.dropout(ones, self.recurrent_dropout, seed=self._seed_generator)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "activation": keras.activations.serialize(self.activation),
            "recurrent_activation": keras.activations.serialize(self.recurrent_activation),
            "normalization": self.normalization,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
        }

    def _convolution(self, parts: int, name: str, bias="zeros") -> "_Convolution":
        return _Convolution(
            parts, self.filters, self.kernel_size, self.normalization, bias, dtype=self.dtype_policy, name=name
        )


class _Convolution(keras.Layer):
    """`concat(input, h)` to `parts` times `filters` pre-activations in the variable dtype."""

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
        """Returns frame and state drawn apart, each uniform in 1 / sqrt(pixels times channels that it has)."""
        rows, columns, channels, size = shape
        parts = []
        for own in (channels - self._filters, self._filters):
            bound = (rows * columns * own) ** -0.5
            draw = keras.initializers.RandomUniform(-bound, bound)
            parts.append(draw((rows, columns, own, size), dtype))
        return ops.concatenate(parts, axis=2)

    def call(self, inputs, h):
        x = ops.concatenate([ops.cast(inputs, self.compute_dtype), ops.cast(h, self.compute_dtype)], axis=-1)
        kernel = ops.cast(self.kernel, self.compute_dtype)
        x = ops.conv(x, kernel, padding="same", data_format="channels_last")
        x = ops.cast(x, self.variable_dtype)
        if self.normalization is not None:
            x = self.normalization(x)
        return x + self.bias


@keras.saving.register_keras_serializable(package="framecast")
class ConvLSTMCell(_ConvCell):
    """One step of a convolutional LSTM: every gate comes from one convolution over `concat(input, h)`.

    `i, f, o = sigmoid(...)`, `g = tanh(...)`, `c = f * c + i * g`, `h = o * tanh(c)`. Gates stand in the kernel in the
    order i, f, g, o, so that `keras.layers.ConvLSTM2D`'s kernel and recurrent kernel (there g is called c),
    concatenated along their input channels, are this kernel.

    The convolution runs in the compute dtype; gates and `c` stay in the variable dtype, because a sum over many steps
    loses small increments in 16 bits. Kernels start as those of two convolutions in PyTorch would, one of the frame and
    one of `h`: Glorot's bound over both at once leaves frames of few channels too little weight.

    Args:
        filters: Channels of `h` and `c`.
        kernel_size: Height and width of the kernel in pixels; one number for both.
        activation: Of the candidate `g` and of `c` on its way to `h`.
        recurrent_activation: Of the gates i, f and o.
        peephole: Whether i and f also see `c` before the step, and o after it (Shi et al. 2015, equation 3), one weight
            a channel: the paper's weight a pixel would fix height and width.
        normalization: Of the gates' inputs before the bias. `layer`: each pixel over all gates' channels (Ba et al.
            2016). `group`: each gate over its channels, height and width (Wu & He 2018).
        unit_forget_bias: Whether the forget gate's bias starts at 1 (Jozefowicz et al. 2015).
        recurrent_dropout: Share of `h` that the convolution does not see in training, the same in every step.
        seed: Seed of the dropout.

    Call arguments:
        inputs: The frame.
        states: `[h, c]`.
        recurrent_mask: From `get_recurrent_mask`, None for no dropout; `RNN` passes it in training.

    Input shape:
        `(batch, height, width, channel)`; height and width may be unknown, and change between calls.

    Output shape:
        `(batch, height, width, filters)`, in the compute dtype; and the new states, `h` equal to the output.

    Raises:
        ValueError: When an option is unknown or out of range.

    References:
        Shi et al. 2015, https://arxiv.org/abs/1506.04214
    """

    def __init__(self, filters, kernel_size, peephole: bool = False, unit_forget_bias: bool = True, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        self.peephole = peephole
        self.unit_forget_bias = unit_forget_bias
        self.gates = self._convolution(4, "gates", self._initial_bias)

    @property
    def state_size(self) -> list[int]:
        """Channels of each state."""
        return [self.filters, self.filters]

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

    def _zeros(self, shape):
        return [ops.zeros(shape, self.compute_dtype), ops.zeros(shape, self.variable_dtype)]

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
    """One step of a convolutional GRU: both gates come from one convolution over `concat(input, h)`.

    `z, r = sigmoid(...)`, `g = tanh(...)` from a convolution over `concat(input, r * h)`, `h = z * h + (1 - z) * g`, as
    `keras.layers.GRU(reset_after=False)` has it. The convolutions run in the compute dtype; gates and `h` stay in the
    variable dtype.

    Args:
        filters: Channels of `h`.
        kernel_size: Height and width of the kernels in pixels; one number for both.
        activation: Of the candidate `g`.
        recurrent_activation: Of the gates z and r.
        normalization: Of the inputs of gates and candidate, as for `ConvLSTMCell`.
        recurrent_dropout: Share of `h` that the convolutions do not see in training, the same in every step.
        seed: Seed of the dropout.

    Call arguments:
        inputs: The frame.
        states: `[h]`.
        recurrent_mask: From `get_recurrent_mask`, None for no dropout; `RNN` passes it in training.

    Input shape:
        `(batch, height, width, channel)`; height and width may be unknown, and change between calls.

    Output shape:
        `(batch, height, width, filters)`, in the variable dtype; and the new state, equal to it.

    Raises:
        ValueError: When an option is unknown or out of range.

    References:
        Ballas et al. 2016, https://arxiv.org/abs/1511.06432
    """

    def __init__(self, filters, kernel_size, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        self.gates = self._convolution(2, "gates")
        self.candidate = self._convolution(1, "candidate")

    @property
    def state_size(self) -> list[int]:
        """Channels of each state."""
        return [self.filters]

    def build(self, input_shape):
        self.gates.build(input_shape)
        self.candidate.build(input_shape)
        self.built = True

    def _zeros(self, shape):
        return [ops.zeros(shape, self.variable_dtype)]

    def call(self, inputs, states, recurrent_mask=None):
        (h,) = states
        seen = h if recurrent_mask is None else h * ops.cast(recurrent_mask, h.dtype)
        z, r = ops.split(self.recurrent_activation(self.gates(inputs, seen)), 2, axis=-1)
        g = self.activation(self.candidate(inputs, r * seen))
        h = z * h + (1 - z) * g
        return h, [h]


@keras.saving.register_keras_serializable(package="framecast")
class RNN(keras.layers.RNN):
    """`keras.layers.RNN` for convolutional cells.

    Differs from its base where that one assumes vectors: output shapes keep height and width, states start at the
    sequence's own height and width and keep the dtypes that the cell gives them, and a mask `(batch, time)` also works
    where height and width are unknown. A masked step keeps the states and repeats the output before it (zeros at the
    start); what stands in masked frames, NaN included, reaches neither outputs nor gradients.

    Args:
        cell: A layer with `state_size` (channels of each state), `get_initial_state(batch_size, spatial_size)`,
            `compute_output_shape(step_shape)` and `call(inputs, states) -> (output, new states)`, the output of the
            shape and dtype of the first state.
        remat: Whether a training step computes each step's inside again for the gradient instead of keeping it.
        **kwargs: As for `keras.layers.RNN`, without `stateful`: pass `initial_state` instead.

    Call arguments:
        sequences: The frames.
        length: `(batch,)` int, true frames of each sequence. As many steps are run as the longest has; only under
            JAX's `jit`, whose shapes are fixed, as there are frames.
        mask: `(batch, time)` bool, instead of `length` where what is masked may stand anywhere.
        initial_state: The states to start from, such as the last call gave with `return_state`; zeros without.

    Input shape:
        `(batch, time, height, width, channel)`; everything but channel may be unknown, and change between calls.

    Output shape:
        The cell's output shape, with time after batch if `return_sequences`; then the states if `return_state`.

    Raises:
        ValueError: When `stateful` is asked for, or both `length` and `mask` are given.
    """

    def __init__(self, cell, remat: bool = False, **kwargs):
        if kwargs.get("stateful"):
            raise ValueError("stateful: expected False (pass initial_state, take return_state), received True")
        super().__init__(cell, **kwargs)
        self.remat = remat
        # Keras would cast an initial state to the compute dtype together with the inputs.
        self.autocast = False

    def get_initial_state(self, batch_size, spatial_size) -> list:
        """Returns the cell's initial states; `spatial_size` is `(height, width)`."""
        return self.cell.get_initial_state(batch_size, spatial_size)

    def call(self, sequences, initial_state=None, mask=None, length=None, training=False):
        batch, time, *spatial, _ = ops.shape(sequences)
        if length is not None and mask is not None:
            raise ValueError("length, mask: expected at most one of them, received both")
        if initial_state is None:
            initial_state = self.get_initial_state(batch, spatial)
        steps = time
        if length is not None:
            length = ops.cast(length, "int32")
            steps = _static_where_it_must_be(ops.max(length), time)
            sequences = sequences[:, :steps]
            mask = ops.arange(steps)[None] < length[:, None]
        if mask is not None:
            # Keras tiles a mask of lower rank by the static shape, which fails at unknown height and width.
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
        arguments = {}
        if self.cell._call_has_training_arg:
            arguments["training"] = training
        if training and getattr(self.cell, "recurrent_dropout", 0):
            # Drawn here, because a loop must not change the state of a random generator.
            arguments["recurrent_mask"] = self.cell.get_recurrent_mask(batch, spatial)
        run = self._rematerialised(arguments) if self.remat else functools.partial(self.cell, **arguments)
        # Before its loop Keras runs a step only to see the output's shape and dtype, which are the first state's.
        looking = keras.backend.backend() != "jax" and not self.unroll

        def step(inputs, states):
            nonlocal looking
            if looking:
                looking = False
                return ops.zeros_like(states[0]), states
            return run(inputs, list(states))

        return step

    def _rematerialised(self, arguments):
        """Returns the cell as a function that keeps its inputs only, and computes again in the backward pass."""
        weights = [weight.value for weight in self.cell.trainable_variables]
        fixed = [weight.value for weight in self.cell.non_trainable_variables]

        # Weights are inputs here: TensorFlow cannot recompute, inside a loop, what reads variables.
        @keras.remat
        def run(weights, inputs, states):
            (output, states), _ = self.cell.stateless_call(weights, fixed, inputs, states, **arguments)
            return output, states

        return functools.partial(run, weights)

    def _extend(self, outputs, steps, time):
        """Gives the outputs of the first `steps` steps, in the order of the loop, the place of all `time` steps."""
        place = ops.arange(time)
        if not self.go_backwards:
            outputs = ops.take(outputs, ops.minimum(place, steps - 1), axis=1)
            kept = place < steps
        else:
            # Padding comes first there, before there is an output to repeat.
            outputs = ops.take(outputs, ops.maximum(place - (time - steps), 0), axis=1)
            kept = place >= time - steps
        if self.zero_output_for_mask or self.go_backwards:
            outputs = ops.where(ops.reshape(kept, (1, time, 1, 1, 1)), outputs, ops.zeros_like(outputs))
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


def _static_where_it_must_be(steps, time):
    """Returns `steps`, a scalar tensor; under JAX's `jit`, which must know every shape, `time` instead."""
    if keras.backend.backend() == "tensorflow":
        return steps
    try:
        return operator.index(steps)
    except TypeError:
        return time


class _ConvLayer(RNN):
    """A cell and its loop over time in one layer."""

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
    def from_config(cls, config, custom_objects=None):  # noqa: ARG003, as Keras calls it
        return cls(**config)


@keras.saving.register_keras_serializable(package="framecast")
class ConvLSTM(_ConvLayer):
    """A convolutional LSTM over `(batch, time, height, width, channel)`.

    Takes every argument of `ConvLSTMCell` and of `RNN`, and is called as `RNN` is.
    """

    _CELL = ConvLSTMCell


@keras.saving.register_keras_serializable(package="framecast")
class ConvGRU(_ConvLayer):
    """A convolutional GRU over `(batch, time, height, width, channel)`.

    Takes every argument of `ConvGRUCell` and of `RNN`, and is called as `RNN` is.
    """

    _CELL = ConvGRUCell
