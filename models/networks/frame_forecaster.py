"""The forecast model: a stack of ConvLSTM cells that predicts the next frame, fed with its own predictions.

model = Forecaster(channels=1, filters=(48, 48), kernel_size=5, patch=4)
model(frames, context_length, steps=9)  # (batch, 9, height, width, 1): frames 1 .. 9

A stream, whose frames come a few at a time, is forecast without its earlier frames being run again:

forecast, states = model.forecast_next(frames, model.initial_states(frames), horizon=5)
forecast, states = model.forecast_next(following, states, horizon=5)
"""

import typing
from collections.abc import Sequence
from typing import Literal

import keras
from keras import ops

from framecast.models.convlstm import RNN, ConvLSTMCell
from framecast.models.motion import PAIRS, estimate_motion, gaussian_pyramid, warp

Predict = Literal["frame", "change", "advected"]

BLURS = (0.0, 1.0, 2.0, 4.0)  # Sigmas in pixels that `advected` mixes.
_LONG = 10.0  # Steps: brings ages near 1.
_DECISIVE = 10.0  # Lets a choice of blur change within hundreds of small steps of the optimizer.


def patchify(frames, patch: int):
    """Cuts frames into patches, whose pixels become channels; a rest at the lower and right edge is padded with zeros.

    Args:
        frames: `(batch, time, height, width, channel)`.
        patch: Side of a patch in pixels.

    Returns:
        `(batch, time, ceil(height / patch), ceil(width / patch), patch * patch * channel)`.
    """
    batch, time, height, width, channels = ops.shape(frames)
    frames = ops.pad(frames, [[0, 0], [0, 0], [0, -height % patch], [0, -width % patch], [0, 0]])
    rows, columns = (height + patch - 1) // patch, (width + patch - 1) // patch
    # Time joins the batch: a transpose of rank 5 is cheaper than one of rank 7.
    frames = ops.reshape(frames, (batch * time, rows, patch, columns, patch * channels))
    frames = ops.transpose(frames, (0, 1, 3, 2, 4))
    return ops.reshape(frames, (batch, time, rows, columns, patch * patch * channels))


def unpatchify(patches, patch: int, channels: int):
    """Undoes `patchify`, but for the padding: `(batch, time, rows * patch, columns * patch, channel)`."""
    batch, time, rows, columns, _ = ops.shape(patches)
    frames = ops.reshape(patches, (batch * time, rows, columns, patch, patch * channels))
    frames = ops.transpose(frames, (0, 1, 3, 2, 4))
    return ops.reshape(frames, (batch, time, rows * patch, columns * patch, channels))


@keras.saving.register_keras_serializable(package="framecast")
class FrameForecaster(keras.Model):
    """Predicts frame t + 1 from frames 0 .. t, and goes on from its own predictions where the context ends.

    Frames are cut into patches, whose pixels become channels, so that the recurrence runs at
    `height / patch x width / patch`. The whole roll-out is one recurrent cell under one loop over time: any number of
    steps, height and width at call time.

    Args:
        channels: Channels of a frame.
        filters: Channels of each ConvLSTM cell, from the input upwards.
        kernel_size: Side of the cells' kernels in patches.
        patch: Side of a patch in pixels. Frames are padded with zeros to a multiple of it, and predictions cropped.
        predict: `frame`: the cells' output is the next frame. `change`: it is added to the frame before. `advected`: it
            is added to the last observed frame where its motion (see `framecast.models.motion`) has carried it, blurred
            as much as the cells say at each place; that motion goes on through the forecast, and carries the cells'
            states and earlier additions too.

    Call arguments:
        frames: Float32 pixels in [0, 1]; what stands at and past a clip's context, NaN included, never touches an
            output or a gradient.
        context_length: int32 `(batch,)`, how many frames of each clip are observed, at least 1.
        steps: How many next frames to predict: int or int32 scalar. `steps` may exceed the frames given.
        observed: bool `(batch, time)`, for training: of the first `context_length` frames only these are shown, and the
            model goes on from its own prediction in place of the others. All of them unless given.

    Input shape:
        `(batch, time, height, width, channel)`.

    Output shape:
        `(batch, steps, height, width, channel)` float32, unclipped, whatever the dtype policy; `[:, t]` predicts frame
        t + 1.

    Raises:
        ValueError: When `predict` is unknown, `frames` has another rank or other channels, or `observed` is given for
            `advected`, which sees the motion of the frames that it is not shown.
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
        if predict not in typing.get_args(Predict):
            raise ValueError(f"predict: expected one of {typing.get_args(Predict)}, received {predict!r}")
        self.channels = channels
        self.filters = tuple(filters)
        self.kernel_size = kernel_size
        self.patch = patch
        self.predict_kind = predict
        cells = [ConvLSTMCell(size, kernel_size, dtype=self.dtype_policy) for size in self.filters]
        cell = RolloutCell(cells, patch, channels, predict)
        self.rollout = RNN(cell, return_sequences=True, return_state=True)
        self.rollout.build((None, None, None, None, cell.pixels + (3 if predict == "advected" else 1)))
        self.built = True

    def call(self, frames, context_length, steps, observed=None):
        if observed is not None and self.predict_kind == "advected":
            raise ValueError("observed: expected None for predict='advected', received some (train.sampling)")
        frames = self._floats(frames)
        _, time, height, width, _ = ops.shape(frames)
        context_length = ops.cast(context_length, "int32")
        within = ops.arange(time, dtype="int32")[None] < context_length[:, None]
        observed = within if observed is None else ops.logical_and(within, observed)
        inputs = self._inputs(frames, observed, context_length, steps)
        predictions, *_ = self.rollout(inputs)
        return self._cropped(predictions, height, width)

    def initial_states(self, frames) -> dict[str, typing.Any]:
        """Returns the states that a stream of such frames starts from.

        Args:
            frames: `(batch, time, height, width, channel)`; only their shape counts.

        Returns:
            By name: `cell_0_h` and `cell_0_c`, `(batch, rows of patches, columns of patches, filters)`, and so on for
            each cell; for `advected` `past_frames` too, `(batch, time, height, width, channel)`, the last frames, of
            which there are none yet.
        """
        batch, _, height, width, channels = ops.shape(frames)
        cell = self.rollout.cell
        rows, columns = (height + self.patch - 1) // self.patch, (width + self.patch - 1) // self.patch
        lasting = cell.get_initial_state(batch, (rows, columns))[cell.own_states :]
        states = dict(zip(self._cell_states, lasting, strict=True))
        if self.predict_kind == "advected":
            states["past_frames"] = ops.zeros((batch, 0, height, width, channels), "float32")
        return states

    def forecast_next(self, frames, states, horizon: int):
        """Forecasts from the frames of a stream that follow those which `states` hold.

        Args:
            frames: `(batch, time, height, width, channel)` float32 pixels in [0, 1], at least one new frame.
            states: From `initial_states`, or the last call.
            horizon: How many next frames to predict.

        Returns:
            `(forecast, states)`: the forecast `(batch, horizon, height, width, channel)` float32, unclipped, as a call
            with all the frames of the stream predicts it; and the states after `frames`.

        Raises:
            ValueError: When `frames` has another rank or other channels.
        """
        frames = self._floats(frames)
        batch, time, height, width, _ = ops.shape(frames)
        cell = self.rollout.cell
        past = states.get("past_frames")
        observed, length = ops.ones((batch, time), "bool"), ops.full((batch,), time, "int32")
        inputs = self._inputs(frames, observed, length, time + horizon - 1, past)
        # An observed frame resets what the roll-out holds besides the cells' states.
        own = cell.get_initial_state(batch, ops.shape(inputs)[2:4])[: cell.own_states]
        initial = [*own, *(states[name] for name in self._cell_states)]
        predictions, *after = self.rollout(inputs[:, :time], initial_state=initial)
        predictions = predictions[:, -1:]
        if horizon > 1:
            following, *_ = self.rollout(inputs[:, time:], initial_state=after)
            predictions = ops.concatenate([predictions, following], axis=1)
        new_states = dict(zip(self._cell_states, after[cell.own_states :], strict=True))
        if past is not None:
            new_states["past_frames"] = ops.concatenate([past, frames], axis=1)[:, -PAIRS:]
        return self._cropped(predictions, height, width), new_states

    @property
    def _cell_states(self) -> list[str]:
        return [f"cell_{number}_{name}" for number in range(len(self.filters)) for name in "hc"]

    def _floats(self, frames):
        if len(frames.shape) != 5 or frames.shape[-1] != self.channels:
            raise ValueError(
                f"frames: expected shape (batch, time, height, width, {self.channels}), received {frames.shape}"
            )
        return ops.cast(frames, "float32")

    def _inputs(self, frames, observed, context_length, steps, past=None):
        """Returns what the cell sees in each of `steps` steps; `past` are the frames before."""
        observed = observed[:, :, None, None, None]
        frames = ops.where(observed, frames, 0.0)
        patches = patchify(frames, self.patch)
        inputs = [patches, ops.broadcast_to(ops.cast(observed, "float32"), (*ops.shape(patches)[:-1], 1))]
        inputs = ops.pad(ops.concatenate(inputs, axis=-1), [[0, 0], [0, steps], [0, 0], [0, 0], [0, 0]])[:, :steps]
        if self.predict_kind == "advected":
            inputs = ops.concatenate([inputs, self._motion(frames, context_length, steps, past)], axis=-1)
        return inputs

    def _motion(self, frames, context_length, steps, past=None):
        """Returns each step's motion in pixels, a mean over each patch: that of the last frame observed by then."""
        # Frames past the context are black: what seems to move there never counts.
        last = ops.minimum(ops.arange(steps)[None], context_length[:, None] - 1)
        if past is not None:
            frames = ops.concatenate([past, frames], axis=1)
            last = last + ops.shape(past)[1]
        motion = ops.stop_gradient(estimate_motion(frames))
        batch, time, height, width, _ = ops.shape(motion)
        patch = self.patch
        motion = ops.reshape(motion, (batch * time, height, width, 2))
        motion = ops.pad(motion, [[0, 0], [0, -height % patch], [0, -width % patch], [0, 0]])
        motion = ops.average_pool(motion, patch, patch, "valid", data_format="channels_last")
        return ops.take(motion, ops.arange(batch)[:, None] * time + last, axis=0)

    def _cropped(self, patches, height, width):
        return unpatchify(patches, self.patch, self.channels)[:, :, :height, :width]

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
        patch: Side of a patch in pixels.
        channels: Channels of a frame.
        predict: As for `FrameForecaster`.

    Input shape:
        `(batch, height, width, pixels + 1)` float32: the frame's patches, and 1 where the frame is observed, else 0.
        For `advected` two more channels: the motion in pixels, down and to the right.

    Output shape:
        `(batch, height, width, pixels)` float32, which is also the first state.
    """

    def __init__(self, cells: Sequence[keras.Layer], patch: int, channels: int, predict: Predict):
        super().__init__(dtype="float32", autocast=False)
        self.cells = list(cells)
        self.patch = patch
        self.channels = channels
        self.pixels = pixels = patch * patch * channels
        self.predict_kind = predict
        self._own_sizes = [pixels, pixels, pixels, 2, 1] if predict == "advected" else [pixels]
        size = pixels + (len(BLURS) if predict == "advected" else 0)
        self.projection = keras.layers.Conv2D(size, 1, data_format="channels_last", dtype="float32")

    @property
    def own_states(self) -> int:
        """How many states come before the cells' own: an observed frame resets each of them."""
        return len(self._own_sizes)

    @property
    def state_size(self) -> list[int]:
        """Channels of each state."""
        return self._own_sizes + [size for cell in self.cells for size in cell.state_size]

    def build(self, input_shape):
        shape = (*input_shape[:-1], self.pixels + (1 if self.predict_kind == "advected" else 0))
        for cell in self.cells:
            cell.build(shape)
            shape = cell.compute_output_shape(shape)
        self.projection.build(shape)
        self.built = True

    def get_initial_state(self, batch_size, spatial_size) -> list:
        """Returns zeros (a black frame, no motion of it, nothing added to it), and the cells' own states."""
        states = [ops.zeros((batch_size, *spatial_size, size), "float32") for size in self._own_sizes]
        for cell in self.cells:
            states += cell.get_initial_state(batch_size, spatial_size)
        return states

    def call(self, inputs, states):
        observed = inputs[..., self.pixels : self.pixels + 1] > 0.5
        shown = inputs[..., : self.pixels]
        if self.predict_kind == "advected":
            return self._advected(observed, shown, inputs[..., self.pixels + 1 :], states)
        previous, *states = states
        frame = ops.where(observed, shown, previous)
        change, states = self._run_cells(frame, states)
        prediction = change if self.predict_kind == "frame" else frame + change
        return prediction, [prediction, *states]

    def _advected(self, observed, shown, motion, states):
        _, origin, added, path, age, *states = states
        states = [warp(state, motion / self.patch) for state in states]
        # One interpolation from the last observed frame over the whole path: one a step would blur a little every time.
        origin = ops.where(observed, shown, origin)
        path = motion + ops.where(observed, 0.0, warp(path, motion / self.patch))
        added = warp(ops.where(observed, 0.0, added), motion / self.patch)
        age = ops.where(observed, 0.0, age + 1.0)
        carried = self._warp_pixels(origin, path)
        sharp = patchify(carried[:, None], self.patch)[:, 0]
        # How sure a forecast can be falls with its lead time, which frames alone do not tell.
        output, states = self._run_cells(ops.concatenate([sharp + added, age / _LONG], axis=-1), states)
        added = added + output[..., : self.pixels]
        prediction = self._blur(carried, output[..., self.pixels :]) + added
        return prediction, [prediction, origin, added, path, age, *states]

    def _blur(self, frames, choice):
        """Mixes each patch of `frames` from blurred copies, the stronger the larger its logit in `choice`."""
        mixed, weights = 0.0, ops.softmax(_DECISIVE * choice, axis=-1)
        for number, copy in enumerate(gaussian_pyramid(frames, BLURS)):
            mixed += weights[..., number : number + 1] * patchify(copy[:, None], self.patch)[:, 0]
        return mixed

    def _run_cells(self, frame, states):
        output, new_states = frame, []
        for cell in self.cells:
            count = len(cell.state_size)
            output, cell_states = cell(output, states[:count])
            states = states[count:]
            new_states += cell_states
        return self.projection(output), new_states

    def _warp_pixels(self, patches, motion):
        frames = unpatchify(patches[:, None], self.patch, self.channels)[:, 0]
        motion = ops.repeat(ops.repeat(motion, self.patch, axis=1), self.patch, axis=2)
        return warp(frames, motion)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.pixels)
