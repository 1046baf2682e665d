"""Defines the layers that run convolutional LSTM and GRU cells over time; imports Keras only.

    layer = ConvLSTM(filters=64, kernel_size=5, return_sequences=True)
    layer(frames, length=length)  # (batch, time, height, width, channel) -> (batch, time, height, width, 64)

`RNN` runs any cell: `RNN(ConvLSTMCell(64, 5), return_sequences=True)` equals the layer above.
"""

import functools
import operator

import keras
from keras import ops

# Private, because Keras exports neither a loop that keeps height and width, nor the mask that a tensor carries.
from keras.src.backend import get_keras_mask, set_keras_mask
from keras.src.backend import rnn as loop_over_time

from framecast.models.convlstm_cells import ConvGRUCell, ConvLSTMCell


@keras.saving.register_keras_serializable(package="framecast")
class RNN(keras.layers.RNN):
    """Runs a convolutional cell over time, as `keras.layers.RNN` runs a cell of vectors.

    Differs from its base class in three ways: output shapes keep height and width, states keep the dtypes that the cell
    gives them, and masks also work with unknown height and width. A masked step keeps the states and repeats the
    previous output (at the start zeros, or under JAX the first state). Masked frames, NaN included, reach neither
    outputs nor gradients.

    Args:
        cell: A layer with `state_size` (channels of each state), `get_initial_state(batch_size, spatial_size)`,
            `compute_output_shape(step_shape)` and `call(inputs, states) -> (output, new states)`. The output has the
            shape and dtype of the first state. If the cell has `get_dropout_masks(batch_size, spatial_size)`, its
            result is passed to `call` as `dropout_masks` in training.
        remat: Whether training recomputes the inside of each step for the gradient instead of keeping it.
        **kwargs: Arguments of `keras.layers.RNN` without `stateful`: pass `initial_state` instead.

    Call arguments:
        sequences: The frames.
        length: `(batch,)` integers from 0 to `time`, valid frames of each sequence. The loop stops after the longest,
            except under JAX's `jit`, which needs fixed shapes.
        mask: `(batch, time)` bool, for masked frames anywhere; by default the mask that `sequences` carries. A mask of
            pixels, as from `keras.layers.Masking`, masks the frames whose pixels are all masked. With `length` a frame
            is valid if both say so.
        initial_state: The states to start from, such as those of the last call with `return_state`; zeros by default.

    Input shape:
        `(batch, time, height, width, channel)`; all but channel may be unknown, and may change between calls.

    Output shape:
        The cell's output shape, with time after batch for `return_sequences`; then the states for `return_state`. With
        `return_sequences` the output carries the mask of its steps to the next layer.

    Raises:
        ValueError: If `stateful` is set, several cells are given, or an argument of the call has another shape, or
            `length` is out of range. In a graph lengths are unknown: TensorFlow fails at `Reshape` for a length above
            `time`, JAX takes it as `time`.
    """

    def __init__(self, cell, remat: bool = False, **kwargs):
        if kwargs.get("stateful"):
            raise ValueError("stateful: expected False, received True; use return_state and pass initial_state")
        if isinstance(cell, (list, tuple, keras.layers.StackedRNNCells)):
            raise ValueError(
                "cell: expected one cell, received several; use one RNN per cell, all but the last with "
                "return_sequences=True"
            )
        super().__init__(cell, **kwargs)
        self.input_spec = keras.InputSpec(ndim=5)
        self.remat = remat
        # With autocast Keras casts initial states to the compute dtype too.
        self.autocast = False

    def build(self, sequences_shape, initial_state_shape=None):
        if not self.trainable:
            self.cell.trainable = False  # Keras freezes only the layer's own weights.
        super().build(sequences_shape, initial_state_shape)

    def get_initial_state(self, batch_size, spatial_size) -> list:
        """Returns the cell's initial states for frames of `spatial_size`, `(height, width)`."""
        return self.cell.get_initial_state(batch_size, spatial_size)

    def call(self, sequences, initial_state=None, mask=None, length=None, training=False):
        batch, time, *spatial, _ = ops.shape(sequences)
        initial_state = self._initial_states(initial_state, batch, spatial)
        # Keras passes the mask that sequences carries only if they are the only tensor of the call.
        mask = _frame_mask(get_keras_mask(sequences) if mask is None else mask)
        steps = time
        if length is not None:
            length, steps = _check_length(length, sequences)
            valid = ops.arange(time)[None] < length[:, None]
            mask = valid if mask is None else ops.logical_and(valid, mask)
            sequences = sequences[:, :steps]
        step_mask = None
        if mask is not None:
            _check_shape("mask", mask, (batch, time))
            # Keras expands a mask of lower rank by the static shape, which fails for unknown height and width.
            step_mask = ops.reshape(mask[:, :steps], (batch, steps, 1, 1, 1))
            sequences = ops.where(step_mask, sequences, ops.zeros_like(sequences))
        last_output, outputs, states = loop_over_time(
            self._step(batch, spatial, training),
            sequences,
            initial_state,
            go_backwards=self.go_backwards,
            mask=step_mask,
            unroll=self.unroll,
            zero_output_for_mask=self.zero_output_for_mask,
            return_all_outputs=self.return_sequences,
        )
        output = last_output
        if self.return_sequences:
            output = outputs if length is None else self._extend(outputs, steps, time)
            if mask is not None:
                set_keras_mask(output, self._output_mask(mask))
        return (output, *states) if self.return_state else output

    def _initial_states(self, states, batch, spatial) -> list:
        if states is None:
            return self.get_initial_state(batch, spatial)
        states = list(states) if isinstance(states, (list, tuple)) else [states]
        if len(states) != len(self.cell.state_size):
            raise ValueError(f"initial_state: expected {len(self.cell.state_size)} states, received {len(states)}")
        for state, channels in zip(states, self.cell.state_size, strict=True):
            _check_shape("initial_state", state, (batch, *spatial, channels))
        return states

    def _step(self, batch, spatial, training):
        """Returns the step function of the loop, `(inputs, states) -> (output, new states)`."""
        arguments = {}
        if self.cell._call_has_training_arg:
            arguments["training"] = training
        if training and hasattr(self.cell, "get_dropout_masks"):
            # Drawn outside the loop, which must not change the state of a random generator.
            arguments["dropout_masks"] = self.cell.get_dropout_masks(batch, spatial)
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

    def compute_mask(self, _, mask):
        mask = _frame_mask(mask)
        if mask is not None:
            mask = self._output_mask(mask) if self.return_sequences else None
        return [mask, *(None for _ in self.cell.state_size)] if self.return_state else mask

    def _output_mask(self, mask):
        return ops.flip(mask, axis=1) if self.go_backwards else mask

    def compute_output_shape(self, sequences_shape, initial_state_shape=None, length_shape=None):  # noqa: ARG002
        batch, time, *step_shape = sequences_shape
        step_output = self.cell.compute_output_shape((batch, *step_shape))
        output = (batch, time, *step_output[1:]) if self.return_sequences else tuple(step_output)
        if not self.return_state:
            return output
        return output, *((batch, *step_shape[:-1], channels) for channels in self.cell.state_size)

    def compute_output_spec(self, sequences, *args, **kwargs):  # noqa: ARG002
        shapes = self.compute_output_shape(sequences.shape)
        dtypes = [keras.backend.standardize_dtype(state.dtype) for state in self.get_initial_state(1, (1, 1))]
        if not self.return_state:
            return keras.KerasTensor(shapes, dtypes[0])
        return tuple(keras.KerasTensor(*spec) for spec in zip(shapes, [dtypes[0], *dtypes], strict=True))

    def get_config(self):
        return {**super().get_config(), "remat": self.remat}


def _frame_mask(mask):
    """Returns `mask` as `(batch, time)` bool; a frame is masked if all of its pixels are."""
    if mask is None:
        return None
    mask = ops.cast(mask, "bool")
    while len(mask.shape) > 2:  # One axis after the other, because under PyTorch Keras fails with several.
        mask = ops.any(mask, axis=-1)
    return mask


def _check_length(length, sequences):
    """Returns `length` as int32, and the number of steps up to the longest; raises ValueError if it is out of range."""
    batch, time = ops.shape(sequences)[:2]
    length = ops.convert_to_tensor(length)
    if keras.backend.is_float_dtype(keras.backend.standardize_dtype(length.dtype)):
        raise ValueError(f"length: expected integers, received {length.dtype}")
    _check_shape("length", length, (batch,))
    length = ops.cast(length, "int32")
    shortest, longest = ops.min(length), ops.max(length)
    try:
        least, most = operator.index(shortest), operator.index(longest)
    except TypeError:
        # Unknown in a graph; JAX's jit needs fixed shapes.
        return length, time if keras.backend.backend() == "jax" else ops.maximum(longest, 1)
    if least < 0 or most > time:
        raise ValueError(f"length: expected 0 to {time}, the frames of sequences, received {least} to {most}")
    # Without any valid frame one masked step gives the outputs of a masked step.
    return length, max(most, 1)


def _check_shape(name, tensor, expected):
    """Raises ValueError if the known sides of `tensor` differ from those of `expected`."""
    shape = tuple(tensor.shape)
    sides = tuple(side if isinstance(side, int) else None for side in expected)
    if len(shape) != len(sides) or any(a != b for a, b in zip(shape, sides, strict=True) if None not in (a, b)):
        raise ValueError(f"{name}: expected shape {sides}, received {shape}")


class _ConvLayer(RNN):
    """Combines a cell and its loop over time in one layer."""

    _CELL: type[ConvLSTMCell] | type[ConvGRUCell]
    _LOOP = ("remat", "return_sequences", "return_state", "go_backwards", "unroll", "zero_output_for_mask")

    def __init__(self, filters, kernel_size, **kwargs):
        of_layer = (*self._LOOP, "stateful", "name", "trainable", "activity_regularizer")
        loop = {name: kwargs.pop(name) for name in of_layer if name in kwargs}
        cell = self._CELL(filters, kernel_size, name="cell", **kwargs)
        super().__init__(cell, dtype=cell.dtype_policy, **loop)

    def get_config(self):
        loop = {name: getattr(self, name) for name in self._LOOP}
        trainable = self.trainable and self.cell.trainable
        return {**self.cell.get_config(), **keras.Layer.get_config(self), **loop, "trainable": trainable}

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
