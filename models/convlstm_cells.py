"""Defines convolutional LSTM and GRU cells, one step of a recurrence; imports Keras only.

cell = ConvLSTMCell(filters=64, kernel_size=5)
output, [h, c] = cell(frame, cell.get_initial_state(batch_size, (height, width)))
"""

import operator
from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import ops

from framecast.models.gate_convolution import GateConvolution

Normalization = Literal["layer", "group"]

_CONSTRAINT = ("the kernels of frame and state are one weight", (None,))
# Arguments of keras.layers.ConvLSTM2D that the cells lack: what to do instead, and the values that change nothing.
_UNSUPPORTED: dict[str, tuple[str, tuple[Any, ...]]] = {
    "strides": ("put a strided Conv2D in TimeDistributed before the layer", (1, (1, 1), [1, 1])),
    "padding": ("pad or crop the frames outside the layer", ("same",)),
    "data_format": ("transpose the frames", (None, "channels_last")),
    "dilation_rate": ("use a larger kernel_size", (1, (1, 1), [1, 1])),
    "use_bias": ("set unit_forget_bias=False for a bias that starts at 0", (True,)),
    "kernel_constraint": _CONSTRAINT,
    "recurrent_constraint": _CONSTRAINT,
    "bias_constraint": ("use a bias_regularizer", (None,)),
}
_WEIGHTS = ("kernel", "recurrent", "bias")


class _ConvCell(keras.Layer):
    """Holds the options, the dropout and the errors that both cells share."""

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        activation: str | Callable | None = "tanh",
        recurrent_activation: str | Callable | None = "sigmoid",
        normalization: Normalization | None = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        kernel_initializer=None,
        recurrent_initializer=None,
        bias_initializer="zeros",
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        **kwargs,
    ):
        for name in kwargs.keys() & _UNSUPPORTED.keys():
            advice, neutral = _UNSUPPORTED[name]
            if (value := kwargs.pop(name)) not in neutral:
                raise ValueError(f"{name}: expected {neutral[-1]!r}, received {value!r}; {advice}")
        # With autocast Keras casts the states to the compute dtype too.
        super().__init__(autocast=False, **kwargs)
        if normalization not in (None, "layer", "group"):
            raise ValueError(f"normalization: expected None, 'layer' or 'group', received {normalization!r}")
        self.filters = _positive("filters", filters)
        sizes = tuple(kernel_size) if isinstance(kernel_size, (tuple, list)) else (kernel_size, kernel_size)
        if len(sizes) != 2:
            raise ValueError(f"kernel_size: expected one number or two, received {kernel_size!r}")
        self.kernel_size = tuple(_positive("kernel_size", size) for size in sizes)
        self.activation = keras.activations.get(activation)
        self.recurrent_activation = keras.activations.get(recurrent_activation)
        self.normalization = normalization
        self.dropout = _fraction("dropout", dropout)
        self.recurrent_dropout = _fraction("recurrent_dropout", recurrent_dropout)
        self.seed = None if seed is None else operator.index(seed)
        self._seed_generator = keras.random.SeedGenerator(self.seed) if self._drops else None
        initializers = (kernel_initializer, recurrent_initializer, bias_initializer)
        self._initializers = [keras.initializers.get(one) for one in initializers]
        regularizers = (kernel_regularizer, recurrent_regularizer, bias_regularizer)
        self._regularizers = [keras.regularizers.get(one) for one in regularizers]

    def build(self, input_shape):
        if input_shape[-1] is None:
            raise ValueError(f"{type(self).__name__}: expected frames of known channels, received shape {input_shape}")
        self.channels = input_shape[-1]
        for convolution in self._convolutions:
            if not self.trainable:
                convolution.trainable = False  # Keras freezes only the layer's own weights.
            convolution.build(input_shape)

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
    def output_size(self):
        """Raises ValueError, because only `keras.layers.RNN` reads it, and derives the shape of vectors from it."""
        raise self._wrong_rnn()

    def _wrong_rnn(self) -> ValueError:
        return ValueError(
            f"{type(self).__name__}: expected framecast.models.convlstm.RNN as the layer around the cell, "
            "received keras.layers.RNN, which supports vector states only"
        )

    def get_dropout_masks(self, batch_size, spatial_size) -> list | None:
        """Returns the dropout masks of the frames and of `h` for all steps of a sequence; None without dropout.

        One mask is drawn for a whole sequence (Gal & Ghahramani 2016, https://arxiv.org/abs/1512.05287). The mask of a
        part without dropout is None.
        """
        if not self._drops:
            return None
        masks = []
        for channels, rate in ((self.channels, self.dropout), (self.filters, self.recurrent_dropout)):
            ones = ops.ones((batch_size, *spatial_size, channels), self.compute_dtype)
            masks.append(keras.random.dropout(ones, rate, seed=self._seed_generator) if rate else None)
        return masks

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        names = ("filters", "kernel_size", "normalization", "dropout", "recurrent_dropout", "seed")
        config = {**super().get_config(), **{name: getattr(self, name) for name in names}}
        for name in ("activation", "recurrent_activation"):
            config[name] = keras.activations.serialize(getattr(self, name))
        for part, initializer, regularizer in zip(_WEIGHTS, self._initializers, self._regularizers, strict=True):
            config[f"{part}_initializer"] = keras.initializers.serialize(initializer)
            config[f"{part}_regularizer"] = keras.regularizers.serialize(regularizer)
        return config

    @property
    def _drops(self) -> bool:
        return bool(self.dropout or self.recurrent_dropout)

    @property
    def _state_dtypes(self) -> list[str]:
        raise NotImplementedError

    @property
    def _convolutions(self) -> list[GateConvolution]:
        raise NotImplementedError

    def _convolution(self, parts: int, name: str, bias=None) -> GateConvolution:
        *kernels, own_bias = self._initializers
        return GateConvolution(
            parts,
            self.filters,
            self.kernel_size,
            self.normalization,
            (*kernels, bias or own_bias),
            self._regularizers,
            dtype=self.dtype_policy,
            name=name,
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
        dropout: Fraction of the frame dropped before the convolution in training, the same in all steps and gates.
        recurrent_dropout: Fraction of `h` dropped in the same way.
        seed: Seed of the dropout.
        kernel_initializer, recurrent_initializer, bias_initializer: Of the kernel's part for the frame, its part for
            `h`, and the bias, as in `keras.layers.ConvLSTM2D`.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: Of the same parts.
        **kwargs: Arguments of `keras.Layer`. `padding="same"` and other defaults of `keras.layers.ConvLSTM2D` are
            accepted; an error about another value of them names the replacement.

    Call arguments:
        inputs: The frame.
        states: `[h, c]`.
        dropout_masks: From `get_dropout_masks`, None for no dropout; `RNN` passes them in training.

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

    @property
    def _convolutions(self) -> list[GateConvolution]:
        return [self.gates]

    def build(self, input_shape):
        if self.peephole:
            self.peepholes = self.add_weight(
                name="peepholes", shape=(3, self.filters), initializer="zeros", autocast=False
            )
        super().build(input_shape)

    def _initial_bias(self, shape, dtype=None):
        bias = self._initializers[2](shape, dtype)
        is_forget = ops.arange(shape[0]) // self.filters == 1
        return ops.where(is_forget, ops.ones_like(bias), bias) if self.unit_forget_bias else bias

    def call(self, inputs, states, dropout_masks=None):
        h, c = states
        frame_mask, h_mask = dropout_masks or (None, None)
        i, f, g, o = ops.split(self.gates(_masked(inputs, frame_mask), _masked(h, h_mask)), 4, axis=-1)
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

    @property
    def _convolutions(self) -> list[GateConvolution]:
        return [self.gates, self.candidate]

    def call(self, inputs, states, dropout_masks=None):
        (h,) = states
        frame_mask, h_mask = dropout_masks or (None, None)
        inputs, seen = _masked(inputs, frame_mask), _masked(h, h_mask)
        z, r = ops.split(self.recurrent_activation(self.gates(inputs, seen)), 2, axis=-1)
        g = self.activation(self.candidate(inputs, r * seen))
        h = z * h + (1 - z) * g
        return h, [h]


def _masked(x, mask):
    return x if mask is None else x * ops.cast(mask, x.dtype)


def _positive(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name}: expected a whole number of at least 1, received {value!r}")
    return number


def _fraction(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"{name}: expected a fraction in [0, 1), received {value!r}")
    return float(value)
