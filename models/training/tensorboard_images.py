"""Pictures of what a forecaster does in training, for TensorBoard.

    draw = ForecastImages(model, pipeline.evaluation(val_files), task.horizon, clip)
    draw()["forecast/0"]  # (height, width, 3) uint8

A picture is one clip, time from left to right: above what was observed, below it the model's forecast, and the error of
that, blue where the forecast is too low and orange where it is too high. Where both are empty there is context.
"""

import heapq
from collections.abc import Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf

from framecast.clips.palette import error_colours, frame_colours
from framecast.schemas.clip_spec import ClipSpec

_SHOWN = 3  # Clips.
_FROM = 32  # Clips that they are chosen from.
_FRAMES = 16  # Of a clip, counted from its end.
_SIDE = 64  # Smallest height and width of a drawn frame in pixels; up to twice that, larger frames are thinned out.
_GAP = 2
_BACKGROUND = 24
_ABSENT = -1.0  # In place of a missing pixel: below every value.


class ForecastImages:
    """Draws the same few clips at every call: of the first of a split, those in which most changes.

    Where hardly anything moves there is nothing to see.

    Args:
        model: A model with the call contract of `frame_forecaster.FrameForecaster`, as it is when called.
        batches: Of the val split, as `framecast.models.training.input_pipeline` makes them.
        horizon: Frames at the end of each clip that are forecast; 0: each is forecast from all those before it.
        clip: The clip contract.
    """

    def __init__(self, model: keras.Model, batches: Iterable[dict[str, tf.Tensor]], horizon: int, clip: ClipSpec):
        # One graph for clips of every length and size: without one a roll-out takes three times as long.
        self._predict = tf.function(
            lambda frames, context, steps: model(frames, context, steps=steps),
            input_signature=[
                tf.TensorSpec([None, None, None, None, clip.channels], tf.float32),
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([], tf.int32),
            ],
        )
        self._horizon = horizon
        self._clip = clip
        self._clips = heapq.nlargest(_SHOWN, _first_clips(batches), key=self._change)

    def __call__(self) -> dict[str, np.ndarray]:
        """Returns `(height, width, 3)` uint8 by tag, `forecast/0` the clip in which most changes."""
        return {f"forecast/{place}": self._draw(observed) for place, observed in enumerate(self._clips)}

    def _context(self, observed: np.ndarray) -> int:
        return len(observed) - self._horizon if self._horizon else 1

    def _change(self, observed: np.ndarray) -> float:
        """Returns the squared error of the context's last frame held still, a pixel."""
        last, truth = observed[self._context(observed) - 1], observed[self._context(observed) :]
        known = (last != _ABSENT) & (truth != _ABSENT)
        return float(np.mean(np.square(truth - last), where=known)) if known.any() else 0.0

    def _draw(self, observed: np.ndarray) -> np.ndarray:
        first = self._context(observed)
        context = first if self._horizon else len(observed)
        shown = np.where(observed == _ABSENT, 0, observed)[None]
        predictions = self._predict(shown, [context], len(observed) - 1)[0].numpy()
        columns = [
            self._column(observed[time], predictions[time - 1] if time >= first else None)
            for time in range(max(0, len(observed) - _FRAMES), len(observed))
        ]
        return _framed(np.concatenate(columns, axis=1))

    def _column(self, truth: np.ndarray, forecast: np.ndarray | None) -> np.ndarray:
        dtype, value = np.dtype(self._clip.dtype), self._clip.value
        panels = [frame_colours(truth, dtype, value, _ABSENT), *[np.full((*truth.shape[:2], 3), _BACKGROUND)] * 2]
        if forecast is not None:
            panels[1:] = [frame_colours(forecast, dtype, value), error_colours(forecast - truth, truth, _ABSENT)]
        return np.concatenate([_framed(_sized(panel)) for panel in panels])


def _first_clips(batches: Iterable[dict[str, tf.Tensor]]) -> Iterator[np.ndarray]:
    """Yields `(time, height, width, channel)` float32 without padding, `_ABSENT` where a pixel is missing."""
    left = _FROM
    for batch in batches:
        length = batch["length"].numpy()[:left]
        for place, time in enumerate(length):
            frames, known = (batch[name][place, :time].numpy() for name in ("frames", "known"))
            yield np.where(known, frames, np.float32(_ABSENT))
        left -= len(length)
        if not left:
            return


def _sized(panel: np.ndarray) -> np.ndarray:
    """Enlarges a small panel, and thins a large one out."""
    side = min(panel.shape[:2])
    factor, stride = -(-_SIDE // side), max(1, side // _SIDE)
    return panel[::stride, ::stride].repeat(factor, axis=0).repeat(factor, axis=1).astype(np.uint8)


def _framed(panel: np.ndarray) -> np.ndarray:
    return np.pad(panel, [(_GAP, _GAP), (_GAP, _GAP), (0, 0)], constant_values=_BACKGROUND)
