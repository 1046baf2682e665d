"""Defines the recurrent cell of a forecast, which feeds its predictions back."""

from collections.abc import Sequence
from typing import Literal

import keras
from keras import ops

from framecast.models.motion import gaussian_blurs, make_warp, warp
from framecast.models.networks.patches import patchify, unpatchify

Predict = Literal["frame", "change", "advected"]

BLURS = (0.0, 1.0, 2.0, 4.0)  # Sigmas in pixels that `advected` mixes.
_AGE_SCALE = 10.0  # Steps; scales ages to about 1.
_LOGIT_SCALE = 10.0  # Lets the blur change within hundreds of small steps of the optimizer.


class RolloutCell(keras.Layer):
    """Runs one forecast step, from the observed frame if there is one, else from its last prediction.

    Args:
        cells: The stacked cells, from input to output.
        patch: Side of a patch in pixels.
        channels: Channels of a frame.
        predict: See `FrameForecaster`.
        forecast_channels: Channels that are predicted; the others stay as last observed.

    Input shape:
        `(batch, rows, columns, pixels + 1)` float32: the frame's patches, and 1 if the frame is observed, else 0. For
        `advected` two more channels: the motion in pixels, down and to the right.

    Output shape:
        `(batch, rows, columns, pixels)` float32, which is also the first state.
    """

    def __init__(
        self,
        cells: Sequence[keras.Layer],
        patch: int,
        channels: int,
        predict: Predict,
        forecast_channels: Sequence[int] | None = None,
    ):
        super().__init__(dtype="float32", autocast=False)
        self.cells = list(cells)
        self.patch = patch
        self.channels = channels
        self.pixels = pixels = patch * patch * channels
        self.predict_kind = predict
        forecast = range(channels) if forecast_channels is None else forecast_channels
        chosen = [channel in forecast for channel in range(channels)]
        self._is_forecast = None if all(chosen) else chosen * patch**2
        self._rollout_sizes = [pixels, pixels, pixels, 2, 1] if predict == "advected" else [pixels]
        size = pixels + (len(BLURS) if predict == "advected" else 0)
        self.projection = keras.layers.Conv2D(size, 1, data_format="channels_last", dtype="float32")

    @property
    def rollout_states(self) -> int:
        """Number of states before those of the cells; an observed frame resets them."""
        return len(self._rollout_sizes)

    @property
    def state_size(self) -> list[int]:
        """Channels of each state."""
        return self._rollout_sizes + [size for cell in self.cells for size in cell.state_size]

    def build(self, input_shape):
        shape = (*input_shape[:-1], self.pixels + (1 if self.predict_kind == "advected" else 0))
        for cell in self.cells:
            cell.build(shape)
            shape = cell.compute_output_shape(shape)
        self.projection.build(shape)
        self.built = True

    def get_initial_state(self, batch_size, spatial_size) -> list:
        """Returns zeros (a black frame without motion and corrections) and the initial states of the cells."""
        states = [ops.zeros((batch_size, *spatial_size, size), "float32") for size in self._rollout_sizes]
        for cell in self.cells:
            states += cell.get_initial_state(batch_size, spatial_size)
        return states

    def get_dropout_masks(self, batch_size, spatial_size) -> list | None:
        """Returns the dropout masks of each cell for all steps of a rollout; None without dropout."""
        masks = [cell.get_dropout_masks(batch_size, spatial_size) for cell in self.cells]
        return masks if any(masks) else None

    def call(self, inputs, states, dropout_masks=None):
        observed = inputs[..., self.pixels : self.pixels + 1] > 0.5
        frame = inputs[..., : self.pixels]
        if self.predict_kind == "advected":
            return self._advected(observed, frame, inputs[..., self.pixels + 1 :], states, dropout_masks)
        previous, *states = states
        frame = ops.where(observed, frame, previous)
        change, states = self._run_cells(frame, states, dropout_masks)
        prediction = self._hold(change if self.predict_kind == "frame" else frame + change, frame)
        return prediction, [prediction, *states]

    def _advected(self, observed, frame, motion, states, dropout_masks):
        _, origin, added, path, age, *states = states
        move = make_warp(motion / self.patch)
        states = [move(state) for state in states]
        # One interpolation over the whole path from the last observed frame, because one per step would add up blur.
        origin = ops.where(observed, frame, origin)
        path = motion + ops.where(observed, 0.0, move(path))
        added = move(ops.where(observed, 0.0, added))
        age = ops.where(observed, 0.0, age + 1.0)
        warped = self._warp_pixels(origin, path)
        sharp = self._hold(patchify(warped[:, None], self.patch)[:, 0], origin)
        # The cells see the lead time, because the certainty of a forecast falls with it.
        seen = ops.concatenate([sharp + added, age / _AGE_SCALE], axis=-1)
        output, states = self._run_cells(seen, states, dropout_masks)
        added = added + output[..., : self.pixels]
        added = self._hold(added, ops.zeros_like(added))
        prediction = self._hold(self._blur(warped, output[..., self.pixels :]) + added, origin)
        return prediction, [prediction, origin, added, path, age, *states]

    def _hold(self, patches, observed):
        """Replaces the channels that are not forecast by those of `observed`."""
        return patches if self._is_forecast is None else ops.where(self._is_forecast, patches, observed)

    def _blur(self, frames, logits):
        """Mixes blurred copies of `frames` by the softmax of each patch's `logits`, one per sigma of `BLURS`."""
        mixed, weights = 0.0, ops.softmax(_LOGIT_SCALE * logits, axis=-1)
        for number, blurred in enumerate(gaussian_blurs(frames, BLURS)):
            mixed += weights[..., number : number + 1] * patchify(blurred[:, None], self.patch)[:, 0]
        return mixed

    def _run_cells(self, frame, states, dropout_masks):
        output, new_states = frame, []
        for cell, masks in zip(self.cells, dropout_masks or [None] * len(self.cells), strict=True):
            count = len(cell.state_size)
            output, cell_states = cell(output, states[:count], dropout_masks=masks)
            states = states[count:]
            new_states += cell_states
        return self.projection(output), new_states

    def _warp_pixels(self, patches, motion):
        frames = unpatchify(patches[:, None], self.patch, self.channels)[:, 0]
        motion = ops.repeat(ops.repeat(motion, self.patch, axis=1), self.patch, axis=2)
        return warp(frames, motion)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.pixels)
