"""Defines the forecast model, a stack of ConvLSTM cells that predicts next frames.

    model = FrameForecaster(channels=1, filters=(48, 48), kernel_size=5, patch=4)
    model(frames, context_length, steps=9)  # (batch, 9, height, width, 1): frames 1 .. 9

A stream is forecast from its new frames and the states after the earlier ones:

    forecast, states = model.forecast_next(frames, model.initial_states(frames), horizon=5)
    forecast, states = model.forecast_next(new_frames, states, horizon=5)
"""

import typing
from collections.abc import Sequence

import keras
from keras import ops

from framecast.models.convlstm import RNN
from framecast.models.convlstm_cells import ConvLSTMCell, Normalization
from framecast.models.motion import PAIRS, estimate_motion
from framecast.models.networks.patches import patchify, unpatchify
from framecast.models.networks.rollout_cell import Predict, RolloutCell


@keras.saving.register_keras_serializable(package="framecast")
class FrameForecaster(keras.Model):
    """Predicts frame t + 1 from frames 0 .. t, and after the context from its own predictions.

    Frames are cut into patches whose pixels become channels, so that the recurrence runs at
    `height / patch x width / patch`. The rollout is one recurrent cell in one loop over time, so that the number of
    steps, height and width are free at call time.

    Args:
        channels: Channels of a frame.
        filters: Channels of each ConvLSTM cell, from input to output.
        kernel_size: Side of the cells' kernels in patches.
        patch: Side of a patch in pixels. Frames are padded with zeros to a multiple of it, and predictions cropped.
        predict: `frame`: the cells' output is the next frame. `change`: it is added to the previous frame. `advected`:
            it is added to the last observed frame, warped along its motion (see `framecast.models.motion`) and blurred
            as the cells choose per patch. The motion is constant during the forecast, and also warps the cells' states
            and earlier additions.
        peephole, normalization, dropout, recurrent_dropout: See `ConvLSTMCell`.
        remat: See `framecast.models.convlstm.RNN`.
        forecast_channels: Channels that are forecast, ascending; all by default. The others are input only: after the
            context the model sees their last frame.

    Call arguments:
        frames: Float32 pixels in [0, 1]; frames after a clip's context, NaN included, change no output or gradient.
        context_length: int32 `(batch,)`, observed frames of each clip, at least 1.
        steps: Number of next frames to predict, int or int32 scalar; may exceed the number of frames.
        observed: bool `(batch, time)`, for training: which of the first `context_length` frames the model sees; it
            continues from its own prediction in place of the others. All by default.
        training: Whether the call is a training step, in which dropout acts.

    Input shape:
        `(batch, time, height, width, channel)`.

    Output shape:
        `(batch, steps, height, width, forecast channel)` float32 for any dtype policy, unclipped; `[:, t]` predicts
        frame t + 1.

    Raises:
        ValueError: If `predict` is unknown, `frames` has another rank or other channels, or `observed` is given for
            `advected`, because its motion would reveal the hidden frames.
    """

    def __init__(
        self,
        channels: int,
        filters: Sequence[int],
        kernel_size: int,
        patch: int,
        predict: Predict = "frame",
        peephole: bool = False,
        normalization: Normalization | None = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        remat: bool = False,
        forecast_channels: Sequence[int] | None = None,
        **kwargs,
    ):
        # Pixels stay float32 outside the cells, because bfloat16 has 8 bits of precision.
        super().__init__(autocast=False, **kwargs)
        if predict not in typing.get_args(Predict):
            raise ValueError(f"predict: expected one of {typing.get_args(Predict)}, received {predict!r}")
        self.channels = channels
        self.filters = tuple(filters)
        self.kernel_size = kernel_size
        self.patch = patch
        self.predict_kind = predict
        self.forecast_channels = tuple(range(channels) if forecast_channels is None else forecast_channels)
        self.cell_options = {
            "peephole": peephole,
            "normalization": normalization,
            "dropout": dropout,
            "recurrent_dropout": recurrent_dropout,
        }
        options = {**self.cell_options, "dtype": self.dtype_policy}
        cell = RolloutCell(
            [ConvLSTMCell(size, kernel_size, **options) for size in self.filters],
            patch,
            channels,
            predict,
            self.forecast_channels,
        )
        self.rollout = RNN(cell, remat=remat, return_sequences=True, return_state=True, trainable=self.trainable)
        self.rollout.build((None, None, None, None, cell.pixels + (3 if predict == "advected" else 1)))
        self.built = True

    def call(self, frames, context_length, steps, observed=None, training=False):
        if observed is not None and self.predict_kind == "advected":
            raise ValueError(
                "observed: expected None for predict='advected', received a mask; set train.sampling: none"
            )
        frames = self._floats(frames)
        _, time, height, width, _ = ops.shape(frames)
        context_length = ops.cast(context_length, "int32")
        in_context = ops.arange(time, dtype="int32")[None] < context_length[:, None]
        observed = in_context if observed is None else ops.logical_and(in_context, observed)
        inputs = self._inputs(frames, observed, context_length, steps)
        predictions, *_ = self.rollout(inputs, training=training)
        return self._cropped(predictions, height, width)

    def initial_states(self, frames) -> dict[str, typing.Any]:
        """Returns the initial states of a stream of frames.

        Args:
            frames: `(batch, time, height, width, channel)`; only their shape is used.

        Returns:
            `cell_0_h` and `cell_0_c`, `(batch, rows of patches, columns of patches, filters)`, and the same for each
            cell; for `advected` also `past_frames`, `(batch, 0, height, width, channel)`, the last frames seen.
        """
        batch, _, height, width, channels = ops.shape(frames)
        cell = self.rollout.cell
        rows, columns = (height + self.patch - 1) // self.patch, (width + self.patch - 1) // self.patch
        cell_states = cell.get_initial_state(batch, (rows, columns))[cell.rollout_states :]
        states = dict(zip(self._cell_states, cell_states, strict=True))
        if self.predict_kind == "advected":
            states["past_frames"] = ops.zeros((batch, 0, height, width, channels), "float32")
        return states

    def forecast_next(self, frames, states, horizon: int):
        """Forecasts the next frames of a stream from its new frames and the states after the earlier ones.

        Args:
            frames: `(batch, time, height, width, channel)` float32 pixels in [0, 1], at least one new frame.
            states: From `initial_states` or the previous call.
            horizon: Number of next frames to predict.

        Returns:
            `(forecast, states)`: the forecast `(batch, horizon, height, width, channel)` float32, unclipped, equal to
            that of a call with all frames of the stream, and the states after `frames`.

        Raises:
            ValueError: If `frames` has another rank or other channels.
        """
        frames = self._floats(frames)
        batch, time, height, width, _ = ops.shape(frames)
        cell = self.rollout.cell
        past = states.get("past_frames")
        observed, length = ops.ones((batch, time), "bool"), ops.full((batch,), time, "int32")
        inputs = self._inputs(frames, observed, length, time + horizon - 1, past)
        # The other states of the rollout start from zeros, because an observed frame resets them.
        zeros = cell.get_initial_state(batch, ops.shape(inputs)[2:4])[: cell.rollout_states]
        initial = [*zeros, *(states[name] for name in self._cell_states)]
        predictions, *after = self.rollout(inputs[:, :time], initial_state=initial)
        predictions = predictions[:, -1:]
        if horizon > 1:
            following, *_ = self.rollout(inputs[:, time:], initial_state=after)
            predictions = ops.concatenate([predictions, following], axis=1)
        new_states = dict(zip(self._cell_states, after[cell.rollout_states :], strict=True))
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
        """Returns the inputs of the rollout cell in `steps` steps; `past` are earlier frames of the stream."""
        observed = observed[:, :, None, None, None]
        frames = ops.where(observed, frames, 0.0)
        patches = patchify(frames, self.patch)
        inputs = [patches, ops.broadcast_to(ops.cast(observed, "float32"), (*ops.shape(patches)[:-1], 1))]
        inputs = ops.pad(ops.concatenate(inputs, axis=-1), [[0, 0], [0, steps], [0, 0], [0, 0], [0, 0]])[:, :steps]
        if self.predict_kind == "advected":
            inputs = ops.concatenate([inputs, self._motion(frames, context_length, steps, past)], axis=-1)
        return inputs

    def _motion(self, frames, context_length, steps, past=None):
        """Returns the mean motion of each patch in pixels, for each step that of the last observed frame."""
        # Frames after the context are black, so their motion is never taken.
        last = ops.minimum(ops.arange(steps)[None], context_length[:, None] - 1)
        if past is not None:
            frames = ops.concatenate([past, frames], axis=1)
            last = last + ops.shape(past)[1]
        motion = ops.stop_gradient(estimate_motion(self._forecast(frames)))
        batch, time, height, width, _ = ops.shape(motion)
        patch = self.patch
        motion = ops.reshape(motion, (batch * time, height, width, 2))
        motion = ops.pad(motion, [[0, 0], [0, -height % patch], [0, -width % patch], [0, 0]])
        motion = ops.average_pool(motion, patch, patch, "valid", data_format="channels_last")
        return ops.take(motion, ops.arange(batch)[:, None] * time + last, axis=0)

    def _cropped(self, patches, height, width):
        return self._forecast(unpatchify(patches, self.patch, self.channels)[:, :, :height, :width])

    def _forecast(self, frames):
        """Returns the channels that are forecast."""
        if len(self.forecast_channels) == self.channels:
            return frames
        return ops.take(frames, self.forecast_channels, axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "patch": self.patch,
            "predict": self.predict_kind,
            **self.cell_options,
            "remat": self.rollout.remat,
            "forecast_channels": self.forecast_channels,
        }
