"""Draws a model's forecasts during training, for TensorBoard.

    draw = ForecastImages(model, pipeline.evaluation(val_files), task.horizon, clip)
    draw()["forecast/0"]  # (height, width, 3) uint8

An image shows one clip, time from left to right, in three rows: observed frames, the model's forecast, and its error,
blue where the forecast is too low and orange where it is too high. The lower rows are empty for context frames.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from framecast.clips.palette import error_colours, frame_colours
from framecast.schemas.clip_spec import ClipSpec

_SHOWN = 3  # Clips.
_CANDIDATES = 32  # Clips that they are chosen from.
_FRAMES = 16  # The last frames of a clip.
_SIDE = 64  # Fewest pixels of a drawn frame's height and width; frames of twice that or more are subsampled.
_GAP = 2
_BACKGROUND = 24
_ABSENT = -1.0  # Marks missing pixels; below every pixel value.


class ForecastImages:
    """Draws the same few clips at every call: of the first clips of a split, those with the most change.

    Args:
        model: A model with the call contract of `framecast.models.networks.frame_forecaster.FrameForecaster`; each call
            draws with its current weights.
        batches: Batches of the val split, see `framecast.models.training.input_pipeline.InputPipeline`.
        horizon: Forecast frames at the end of each clip; with 0, each frame is forecast from all before it.
        clip: The clip contract.
        channels: Channels that are forecast; all by default.
    """

    def __init__(
        self,
        model: keras.Model,
        batches: Iterable[dict[str, tf.Tensor]],
        horizon: int,
        clip: ClipSpec,
        channels: Sequence[int] | None = None,
    ):
        # One graph for clips of every length and size, because an eager rollout takes three times as long.
        self._predict = tf.function(
            lambda frames, context, steps: model(frames, context, steps=steps),
            input_signature=[
                tf.TensorSpec([None, None, None, None, clip.channels], tf.float32),
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([], tf.int32),
            ],
        )
        self._horizon = horizon
        self._channels = list(range(clip.channels) if channels is None else channels)
        self._clip = clip
        self._clips = heapq.nlargest(_SHOWN, _first_clips(batches), key=self._change)

    def __call__(self) -> dict[str, np.ndarray]:
        """Returns images `(height, width, 3)` uint8 by tag; `forecast/0` is the clip with the most change."""
        return {f"forecast/{place}": self._draw(observed) for place, observed in enumerate(self._clips)}

    def _context(self, observed: np.ndarray) -> int:
        return len(observed) - self._horizon if self._horizon else 1

    def _change(self, observed: np.ndarray) -> float:
        """Returns the mean squared error of persistence, the last frame of the context."""
        observed = observed[..., self._channels]
        last, truth = observed[self._context(observed) - 1], observed[self._context(observed) :]
        known = (last != _ABSENT) & (truth != _ABSENT)
        return float(np.mean(np.square(truth - last), where=known)) if known.any() else 0.0

    def _draw(self, observed: np.ndarray) -> np.ndarray:
        first = self._context(observed)
        context = first if self._horizon else len(observed)
        shown = np.where(observed == _ABSENT, 0, observed)[None]
        predictions = self._predict(shown, [context], len(observed) - 1)[0].numpy()
        observed = observed[..., self._channels]
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
    left = _CANDIDATES
    for batch in batches:
        length = batch["length"].numpy()[:left]
        for place, time in enumerate(length):
            frames, known = (batch[name][place, :time].numpy() for name in ("frames", "known"))
            yield np.where(known, frames, np.float32(_ABSENT))
        left -= len(length)
        if not left:
            return


def _sized(panel: np.ndarray) -> np.ndarray:
    """Enlarges a small panel and subsamples a large one."""
    side = min(panel.shape[:2])
    factor, stride = -(-_SIDE // side), max(1, side // _SIDE)
    return panel[::stride, ::stride].repeat(factor, axis=0).repeat(factor, axis=1).astype(np.uint8)


def _framed(panel: np.ndarray) -> np.ndarray:
    return np.pad(panel, [(_GAP, _GAP), (_GAP, _GAP), (0, 0)], constant_values=_BACKGROUND)
