"""What a model answered about one clip, together with what the clip says of its times and pixels."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from framecast.clips.codec import clip_name, context_value, frame_values
from framecast.schemas import features
from framecast.schemas.clip_spec import PixelValue

FORECAST = "forecast"
_MICROSECONDS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The outputs of a model for a clip.

    Args:
        example: The whole clip, checked.
        context: The frames that were sent `(time, height, width, channel)`, the first ones of the clip.
        truth: The frames after them, as many as were forecast and typed as `context`; None when they are not known.
        outputs: Arrays by name, as `framecast.serving.client.client.Client.answer` returns them.
        version: Version of the model that answered.
        series: Names of the outputs that have an entry a frame.
        missing: The pixel that stands for no value; None when there is none.
        value: What a pixel stands for; None when nobody says.
        frame_rate: Frames a second, for a clip that does not say it.
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
        """The recording that the clip was cut from."""
        return context_value(self.example, features.MEDIA_ID, "bytes_list").decode(errors="replace")

    @property
    def is_forecast(self) -> bool:
        """Whether the model forecasts frames."""
        return FORECAST in self.outputs

    @functools.cached_property
    def interval(self) -> float:
        """Microseconds from frame to frame: the mean of the clip's, else what its frame rate makes.

        Raises:
            ValueError: When the clip has one frame and nobody says its rate.
        """
        times = frame_values(self.example, features.TIMESTAMP, "int64_list")
        if len(times) > 1:
            return (times[-1] - times[0]) / (len(times) - 1)
        rate = context_value(self.example, features.FRAME_RATE, "float_list") or self.frame_rate
        if not rate:
            raise ValueError(
                f"clip {self.name}: expected {features.FRAME_RATE} or two frames, for the times of a forecast, "
                "received neither"
            )
        return _MICROSECONDS / rate

    @property
    def times(self) -> list[int]:
        """Microseconds of each frame that was sent."""
        return frame_values(self.example, features.TIMESTAMP, "int64_list")[: len(self.context)]

    @property
    def forecast_times(self) -> list[int]:
        """Microseconds of each frame that was forecast: the clip's go on at its interval."""
        leads = range(1, len(self.outputs[FORECAST]) + 1)
        return [self.times[-1] + round(lead * self.interval) for lead in leads]

    @property
    def unseen(self) -> np.ndarray:
        """Pixels missing in every frame that was sent, `(height, width, channel)` bool: a forecast of them is none."""
        if self.missing is None:
            return np.zeros(self.context.shape[1:], bool)
        return (self.context == self.context.dtype.type(self.missing)).all(axis=0)

    def forecast_pixels(self) -> np.ndarray:
        """Returns the forecast as the clip's own pixels, `(horizon, height, width, channel)` of its dtype.

        Unseen pixels get the one that stands for no value, which no other has.
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
        if dtype != np.float32:  # In float32 it lies outside of [0, 1].
            pixels = np.where(pixels == missing, missing + 1 if missing == 0 else missing - 1, pixels)
        return np.where(self.unseen, missing, pixels).astype(dtype)

    def forecast_values(self) -> np.ndarray:
        """Returns what the forecast stands for, float32 shaped as it, NaN where unseen.

        In `value.unit`, or in [0, 1] when nobody says what a pixel stands for.
        """
        values = self._physical(self.outputs[FORECAST].astype(np.float64) * self._largest)
        return np.where(self.unseen, np.nan, values).astype(np.float32)

    def true_values(self) -> np.ndarray | None:
        """Returns what really was, as `forecast_values`, NaN where missing; None when it is not known."""
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
