"""Counts events of frames, in TensorFlow ops for the `evaluate` signature."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from framecast.evaluation.metrics.events import COUNTS, FRACTIONS
from framecast.evaluation.sums.windows import window_sums

# In pixels of [0, 1], less than a step of uint16, so that a pixel equal to the threshold is an event whichever way its
# division was rounded.
_ROUNDING = 1e-6


def frame_events(
    truth: tf.Tensor,
    known: tf.Tensor,
    forecasts: Mapping[str, tf.Tensor],
    thresholds: Sequence[float],
    scales: Sequence[int],
) -> dict[str, tf.Tensor]:
    """Counts the events of one frame, in the truth and in each forecast.

    Unknown pixels and pixels outside of the frame are no events. An unknown pixel and the window around it are not
    counted. A forecast of NaN is no event.

    Args:
        truth: `(height, width, channel)` float32 in [0, 1]; any value, NaN too, where not known.
        known: bool of that shape.
        forecasts: float32 of that shape, each of `forecast_metrics.FORECASTS`.
        thresholds: In (0, 1]: pixels at or above are events.
        scales: Odd sides in pixels of the windows in which FSS compares the shares of events.

    Returns:
        float64, named as `hits_persistence`: for each forecast, each of `COUNTS` `(threshold,)` and each of `FRACTIONS`
        `(threshold, scale)`.
    """
    bounds = tf.constant(thresholds, tf.float32) - _ROUNDING
    fields = tf.stack([truth, *forecasts.values()])
    # (field, height, width, channel, threshold), the truth first.
    events = tf.cast(tf.logical_and(fields[..., None] >= bounds, known[None, ..., None]), tf.float32)
    pixels = tf.reduce_sum(tf.cast(known, tf.float64))
    totals, hits = _total(events), _total(events[:1] * events[1:])
    misses, false_alarms = totals[:1] - hits, totals[1:] - hits
    counts = (hits, misses, false_alarms, pixels - hits - misses - false_alarms)
    sums = dict(zip(COUNTS, counts, strict=True))
    by_scale = [_fractions(events, known, scale) for scale in scales]
    sums |= {name: tf.stack([parts[name] for parts in by_scale], axis=-1) for name in FRACTIONS}
    return {f"{name}{forecast}": value[i] for name, value in sums.items() for i, forecast in enumerate(forecasts)}


def _fractions(events: tf.Tensor, known: tf.Tensor, scale: int) -> dict[str, tf.Tensor]:
    """Returns `FRACTIONS`, `(forecast, threshold)`, of events `(field, height, width, channel, threshold)`."""
    shape = tf.shape(events)
    fields = tf.reshape(events, [shape[0], shape[1], shape[2], -1])
    in_window = tf.reshape(window_sums(fields, scale), shape)
    in_window = tf.where(known[None, ..., None], in_window, tf.zeros_like(in_window))
    error = _total(tf.square(in_window[1:] - in_window[:1])) / scale**4
    squares = _total(tf.square(in_window)) / scale**4
    return {"fss_error": error, "fss_worst": squares[1:] + squares[:1]}


def _total(values: tf.Tensor) -> tf.Tensor:
    """Sums `(field, height, width, channel, threshold)` over pixels, in float64."""
    return tf.reduce_sum(tf.cast(values, tf.float64), axis=[1, 2, 3])
