"""Forecasts a stream frame by frame: the signature `step`, which takes and returns the state of the stream.

The server keeps no state between calls, so any replica can answer. A stream starts with zeros for every state, shaped
by the signature's metadata alone: the first axis is the batch, every other free axis is 0.

    states = {"frames_seen": np.zeros(1, np.int32), "cell_0_h": np.zeros((1, 0, 0, 96), np.float32), ...}
    answer = step(frames=frames[:, :8], **states)  # forecast, ready, and the new states by the same names

Server-side batching can join only streams with states of the same shape, so not a new stream with a running one; with
`pad_variable_length_inputs` it pads states, which gives wrong forecasts. Serve streams without batching, or join them
in the client by concatenating states along the batch.
"""

from typing import Any

import keras
import tensorflow as tf

from framecast.models.export.tracing import trace
from framecast.models.spec import ForecastTask
from framecast.models.tensors import normalise
from framecast.schemas.clip_spec import ClipSpec

SEEN = "frames_seen"
_SIDE = 16  # Pixels; frame size that state shapes are derived from if the clip contract has none.


def can_stream(model: keras.Model) -> bool:
    """Checks whether a model has the methods that `Step` needs."""
    return hasattr(model, "initial_states") and hasattr(model, "forecast_next")


class Step:
    """Runs one call of the signature.

    Args:
        model: Keras model with `initial_states` and `forecast_next`, as
            `framecast.models.networks.frame_forecaster.FrameForecaster` has. Every state has the batch as its first
            axis and channels as its last; in a state of five axes the second is time, of any length.
        clip: The clip contract.
        task: Horizon and shortest context.
    """

    def __init__(self, model: keras.Model, clip: ClipSpec, task: ForecastTask):
        self._model = model
        self._clip = clip
        self._task = task

    def signature(self) -> Any:
        """Returns the concrete function to export."""
        frames = tf.TensorSpec([None, None, None, None, self._clip.channels], self._clip.dtype, "frames")
        return trace(self.__call__, frames, **self.states_spec())

    def states_spec(self) -> dict[str, tf.TensorSpec]:
        """Returns the spec of each state; only the number of channels is fixed."""
        clip = self._clip
        frames = tf.zeros([1, 1, clip.height or _SIDE, clip.width or _SIDE, clip.channels])
        spec = {SEEN: tf.TensorSpec([None], tf.int32, SEEN)}
        for name, state in self._model.initial_states(frames).items():
            spec[name] = tf.TensorSpec([*[None] * (len(state.shape) - 1), state.shape[-1]], state.dtype, name)
        return spec

    def start(self, batch: int) -> dict[str, tf.Tensor]:
        """Returns the initial states of `batch` streams."""
        return {
            name: tf.zeros([batch, *(size or 0 for size in spec.shape[1:])], spec.dtype)
            for name, spec in self.states_spec().items()
        }

    def __call__(self, frames: tf.Tensor, **states: tf.Tensor) -> dict[str, tf.Tensor]:
        """Forecasts each stream from its next frames.

        Args:
            frames: `(batch, time, height, width, channel)` in the clips' dtype, at least one new frame.
            states: As in `states_spec`. If `frames_seen` is 0 the streams start, and the values of the other
                states are ignored.

        Returns:
            `forecast`: `(batch, horizon, height, width, channel)` float32 in [0, 1]. `ready`: `(batch,)` bool, whether
            the stream has the shortest legal context, which `serve` requires. And the new states.

        Raises:
            tf.errors.InvalidArgumentError: If there is no new frame, new streams are mixed with running ones, or the
                batch, height or width of a state differ from the frames'.
        """
        spec = self.states_spec()
        seen = states.pop(SEEN)
        running = tf.reduce_any(seen > 0)
        initial = self._model.initial_states(frames)
        checks = [
            tf.debugging.assert_positive(tf.shape(frames)[1], "frames: expected at least 1 new frame, received none"),
            tf.debugging.assert_equal(
                tf.shape(seen)[0], tf.shape(frames)[0], f"{SEEN}: expected one value a clip of frames, received other"
            ),
            tf.debugging.assert_equal(
                seen > 0, running, f"{SEEN}: expected 0 for every clip or more for every clip, received both"
            ),
            *(self._check(name, state, initial[name], running) for name, state in states.items()),
        ]
        # The checks run first, else a later index out of range hides their messages.
        with tf.control_dependencies(checks):
            frames = tf.identity(frames)
        batch, time = tf.shape(frames)[0], tf.shape(frames)[1]
        pixels, _ = normalise(frames, tf.fill([batch], time), self._clip)
        states = tf.cond(running, lambda: states, lambda: initial)
        forecast, states = self._model.forecast_next(pixels, states, self._task.horizon)
        seen = seen + time
        return {
            # GetModelMetadata shows the static shape, so clients can read the horizon.
            "forecast": tf.ensure_shape(
                tf.clip_by_value(forecast, 0.0, 1.0),
                [None, self._task.horizon, None, None, len(self._task.forecast_channels(self._clip.channels))],
            ),
            "ready": seen >= self._task.context.min,
            SEEN: seen,
            **{name: tf.ensure_shape(state, spec[name].shape) for name, state in states.items()},
        }

    @staticmethod
    def _check(name: str, state: tf.Tensor, initial: tf.Tensor, running: tf.Tensor) -> tf.Operation:
        received, expected = tf.shape(state), tf.shape(initial)
        if state.shape.rank == 5:
            expected = tf.concat([expected[:1], tf.maximum(received[1:2], 1), expected[2:]], 0)
        expected = tf.where(running, expected, tf.concat([expected[:1], received[1:]], 0))
        return tf.debugging.Assert(
            tf.reduce_all(received == expected),
            [f"{name}: expected the state of a stream of such frames, shape", expected, "received", received],
            summarize=5,
        )
