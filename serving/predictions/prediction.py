"""Holds a model's outputs for one clip, with the times and the physical values of the clip."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from framecast.clips.codec import clip_name, context_value, frame_values
from framecast.clips.declared import frame_interval
from framecast.schemas import features
from framecast.schemas.clip_spec import PixelValue

FORECAST = "forecast"
_MICROSECONDS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A model's outputs for a clip.

    Args:
        example: The whole clip, validated.
        context: Input frames `(time, height, width, channel)`, the first frames of the clip. Beside a forecast, only
            the channels that are forecast.
        truth: True frames after the context, `horizon` frames with the dtype of `context`; None if unknown.
        outputs: Arrays by output, as `framecast.serving.client.client.Client.answer` returns them.
        version: Version of the model.
        series: Names of the per-frame outputs.
        missing: Pixel value reserved for "no data"; None if there is none.
        value: Physical value of a pixel; None if unknown.
        frame_rate: Frames per second, used if the clip does not have a frame rate.
    """

    example: tf.train.SequenceExample
    context: np.ndarray
    truth: np.ndarray | None
    outputs: dict[str, np.ndarray]
    version: int
    series: frozenset[str] = frozenset()
    missing: float | None = None
    value: PixelValue | None = None
    frame_rate: float | None = None

    @property
    def name(self) -> str:
        """The clip's `example/id`."""
        return clip_name(self.example) or ""

    @property
    def media_id(self) -> str:
        """The recording that contains the clip."""
        return context_value(self.example, features.MEDIA_ID, "bytes_list").decode(errors="replace")

    @property
    def is_forecast(self) -> bool:
        """Whether the model forecasts frames."""
        return FORECAST in self.outputs

    @functools.cached_property
    def interval(self) -> float:
        """Microseconds between frames: those of the clip, or derived from `frame_rate`.

        Raises:
            ValueError: If the clip has one frame and no frame rate.
        """
        interval = frame_interval(self.example) or (1 / self.frame_rate if self.frame_rate else None)
        if interval is None:
            raise ValueError(
                f"clip {self.name}: expected {features.FRAME_RATE} or two frames to compute forecast times, "
                "received neither"
            )
        return interval * _MICROSECONDS

    @property
    def times(self) -> list[int]:
        """Timestamps of the input frames in microseconds."""
        return frame_values(self.example, features.TIMESTAMP, "int64_list")[: len(self.context)]

    @property
    def forecast_times(self) -> list[int]:
        """Timestamps of the forecast frames in microseconds, at the interval of the clip."""
        leads = range(1, len(self.outputs[FORECAST]) + 1)
        return [self.times[-1] + round(lead * self.interval) for lead in leads]

    @property
    def unseen(self) -> np.ndarray:
        """Pixels without data in all input frames, `(height, width, channel)` bool; their forecast is meaningless."""
        if self.missing is None:
            return np.zeros(self.context.shape[1:], bool)
        return (self.context == self.context.dtype.type(self.missing)).all(axis=0)

    def forecast_pixels(self) -> np.ndarray:
        """Returns the forecast in the clip's dtype, `(horizon, height, width, channel)`.

        Unseen pixels, and only those, get the `missing` value.
        """
        forecast = self.outputs[FORECAST]
        dtype = self.context.dtype
        if dtype == np.float32:
            pixels = forecast.astype(np.float32)
        else:
            pixels = np.rint(np.clip(forecast.astype(np.float64), 0, 1) * self._largest).astype(dtype)
        if self.missing is None:
            return pixels
        missing = dtype.type(self.missing)
        if dtype != np.float32:  # In float32, `missing` is outside [0, 1].
            pixels = np.where(pixels == missing, missing + 1 if missing == 0 else missing - 1, pixels)
        return np.where(self.unseen, missing, pixels).astype(dtype)

    def forecast_values(self) -> np.ndarray:
        """Returns the forecast in physical units (`value.unit`, or [0, 1] without `value`), float32, NaN if unseen."""
        values = self._physical(self.outputs[FORECAST].astype(np.float64) * self._largest)
        return np.where(self.unseen, np.nan, values).astype(np.float32)

    def true_values(self) -> np.ndarray | None:
        """Returns the truth in the units of `forecast_values`, NaN for missing pixels; None if unknown."""
        if self.truth is None:
            return None
        known = np.ones(self.truth.shape, bool) if self.missing is None else self.truth != self.missing
        return np.where(known, self._physical(self.truth.astype(np.float64)), np.nan).astype(np.float32)

    @property
    def _largest(self) -> float:
        return 1.0 if self.context.dtype == np.float32 else float(np.iinfo(self.context.dtype).max)

    def _physical(self, pixels: np.ndarray) -> np.ndarray:
        if self.value is None:
            return pixels / self._largest
        return pixels * self.value.scale + self.value.offset
