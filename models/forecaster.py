"""The forecast model: a stack of ConvLSTM cells that predicts the next frame, fed with its own predictions.

model = Forecaster(channels=1, filters=(48, 48), kernel_size=5, patch=4)
model(frames, context_length, steps=9)  # (batch, 9, height, width, 1): frames 1 .. 9
"""

from collections.abc import Sequence
from typing import Literal

import keras
from keras import ops

from framecast.models.convlstm import RNN, ConvLSTMCell

Predict = Literal["frame", "change"]


@keras.saving.register_keras_serializable(package="framecast")
class Forecaster(keras.Model):
    """Predicts frame t + 1 from frames 0 .. t, and goes on from its own predictions where the context ends.

    Frames are cut into patches, whose pixels become channels, so that the recurrence runs at
    `height / patch x width / patch`. The whole roll-out is one recurrent cell under one loop over time: any number of
    steps, height and width at call time.

    Args:
        channels: Channels of a frame.
        filters: Channels of each ConvLSTM cell, from the input upwards.
        kernel_size: Side of the cells' kernels in patches.
        patch: Side of a patch in pixels. Frames are padded with zeros to a multiple of it, and predictions cropped.
        predict: `frame`: the cells' output is the next frame. `change`: it is added to the frame before.

    Call arguments:
        frames: Float32 pixels in [0, 1]; what stands at and past a clip's context, NaN included, never touches an
            output or a gradient.
        context_length: int32 `(batch,)`, how many frames of each clip are observed, at least 1.
        steps: How many next frames to predict: int or int32 scalar. `steps` may exceed the frames given.

    Input shape:
        `(batch, time, height, width, channel)`.

    Output shape:
        `(batch, steps, height, width, channel)` float32, unclipped, whatever the dtype policy; `[:, t]` predicts frame
        t + 1.

    Raises:
        ValueError: When `predict` is unknown, or `frames` has another rank or other channels.
    """

    def __init__(
        self,
        channels: int,
        filters: Sequence[int],
        kernel_size: int,
        patch: int,
        predict: Predict = "frame",
        **kwargs,
    ):
        # Pixels stay float32 outside the cells: bfloat16 holds 8 bits of them.
        super().__init__(autocast=False, **kwargs)
        if predict not in ("frame", "change"):
            raise ValueError(f"predict: expected 'frame' or 'change', received {predict!r}")
        self.channels = channels
        self.filters = tuple(filters)
        self.kernel_size = kernel_size
        self.patch = patch
        self.predict_kind = predict
        cells = [ConvLSTMCell(size, kernel_size, dtype=self.dtype_policy) for size in self.filters]
        self.rollout = RNN(RolloutCell(cells, patch * patch * channels, predict), return_sequences=True)
        self.rollout.build((None, None, None, None, patch * patch * channels + 1))
        self.built = True

    def call(self, frames, context_length, steps):
        if len(frames.shape) != 5 or frames.shape[-1] != self.channels:
            raise ValueError(
                f"frames: expected shape (batch, time, height, width, {self.channels}), received {frames.shape}"
            )
        _, time, height, width, _ = ops.shape(frames)
        observed = ops.arange(time, dtype="int32")[None] < ops.cast(context_length, "int32")[:, None]
        observed = observed[:, :, None, None, None]
        frames = ops.where(observed, ops.cast(frames, "float32"), 0.0)
        patches = self._patchify(frames)
        flag = ops.broadcast_to(ops.cast(observed, "float32"), (*ops.shape(patches)[:-1], 1))
        inputs = ops.concatenate([patches, flag], axis=-1)
        inputs = ops.pad(inputs, [[0, 0], [0, steps], [0, 0], [0, 0], [0, 0]])[:, :steps]
        return self._unpatchify(self.rollout(inputs), height, width)

    def _patchify(self, frames):
        batch, time, height, width, channels = ops.shape(frames)
        patch = self.patch
        frames = ops.pad(frames, [[0, 0], [0, 0], [0, -height % patch], [0, -width % patch], [0, 0]])
        rows, columns = (height + patch - 1) // patch, (width + patch - 1) // patch
        # Time joins the batch: a transpose of rank 5 is cheaper than one of rank 7.
        frames = ops.reshape(frames, (batch * time, rows, patch, columns, patch * channels))
        frames = ops.transpose(frames, (0, 1, 3, 2, 4))
        return ops.reshape(frames, (batch, time, rows, columns, patch * patch * channels))

    def _unpatchify(self, patches, height, width):
        batch, time, rows, columns, _ = ops.shape(patches)
        patch, channels = self.patch, self.channels
        frames = ops.reshape(patches, (batch * time, rows, columns, patch, patch * channels))
        frames = ops.transpose(frames, (0, 1, 3, 2, 4))
        frames = ops.reshape(frames, (batch, time, rows * patch, columns * patch, channels))
        return frames[:, :, :height, :width]

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "patch": self.patch,
            "predict": self.predict_kind,
        }


class RolloutCell(keras.Layer):
    """One forecast step as a recurrent cell: takes the observed frame or else its own last prediction.

    Args:
        cells: The stacked cells, from the input upwards.
        pixels: Pixels of a patch, over its channels.
        predict: As for `Forecaster`.

    Input shape:
        `(batch, height, width, pixels + 1)` float32: the frame's patches, and 1 where the frame is observed, else 0.

    Output shape:
        `(batch, height, width, pixels)` float32, which is also the first state.
    """

    def __init__(self, cells: Sequence[keras.Layer], pixels: int, predict: Predict):
        super().__init__(dtype="float32", autocast=False)
        self.cells = list(cells)
        self.pixels = pixels
        self.predict_kind = predict
        self.projection = keras.layers.Conv2D(pixels, 1, data_format="channels_last", dtype="float32")

    @property
    def state_size(self) -> list[int]:
        """Channels of each state."""
        return [self.pixels, *(size for cell in self.cells for size in cell.state_size)]

    def build(self, input_shape):
        shape = (*input_shape[:-1], self.pixels)
        for cell in self.cells:
            cell.build(shape)
            shape = cell.compute_output_shape(shape)
        self.projection.build(shape)
        self.built = True

    def get_initial_state(self, batch_size, spatial_size) -> list:
        """Returns a black frame, and the initial states of the cells."""
        states = [ops.zeros((batch_size, *spatial_size, self.pixels), "float32")]
        for cell in self.cells:
            states += cell.get_initial_state(batch_size, spatial_size)
        return states

    def call(self, inputs, states):
        previous, *states = states
        frame = ops.where(inputs[..., -1:] > 0.5, inputs[..., :-1], previous)
        output, new_states = frame, []
        for cell in self.cells:
            count = len(cell.state_size)
            output, cell_states = cell(output, states[:count])
            states = states[count:]
            new_states += cell_states
        prediction = self.projection(output)
        if self.predict_kind == "change":
            prediction = frame + prediction
        return prediction, [prediction, *new_states]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.pixels)
