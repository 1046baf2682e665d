"""Sums errors, power and events of forecasts, in TensorFlow ops for the `evaluate` signature."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from framecast.evaluation.metrics import events as event_metrics
from framecast.evaluation.metrics import spectrum as spectrum_metrics
from framecast.evaluation.metrics.forecast import FORECASTS, REFERENCES, SSIM_OUTPUTS
from framecast.evaluation.sums.events import frame_events
from framecast.evaluation.sums.spectrum import frame_spectra
from framecast.evaluation.sums.ssim import frame_ssim

# PSNR of an exact forecast is infinite, and one infinite frame would decide the mean over all frames.
_LARGEST_PSNR = 100.0


def forecast_sums(
    truth: tf.Tensor,
    known: tf.Tensor,
    counted: tf.Tensor,
    forecasts: Mapping[str, tf.Tensor],
    thresholds: Sequence[float] = (),
    scales: Sequence[int] = (),
) -> dict[str, tf.Tensor]:
    """Returns each clip's sums: errors, SSIM, power by wavelength and counts of events of every frame.

    Reduced in float64 and returned in float32, so that the order of summation, which the padding of a batch or of a
    frame changes, stays below float32's rounding. Frames of more than 2**24 values count their pixels to 7 digits.

    Args:
        truth: `(batch, horizon, height, width, channel)` float32 in [0, 1]; any value, NaN too, where not known.
        known: bool of that shape. Unknown pixels are left out of every sum.
        counted: `(batch,)` bool. Where False, all sums of the clip are 0.
        forecasts: `model` and each of `REFERENCES`, of the shape of `truth`. PSNR, SSIM and power are computed after
            clipping to [0, 1], errors before.
        thresholds: Pixels in (0, 1] at or above which there is an event; events are not counted unless given.
        scales: Sides of the windows of FSS in pixels.

    Returns:
        float32. For each of `OUTPUTS` `(batch, horizon)`: `pixels`, the number of known values; `frames`, 1 with any
        known value, else 0; `squared_error` and `absolute_error` of the model; `psnr` of the model in dB, at most 100;
        `ssim`, `ssim_openstl` and `ssim_frames` of the model, see `frame_ssim`; `squared_error_<reference>`. Also the
        results of `frame_spectra` and, with thresholds, of `frame_events`, `(batch, horizon, ...)`.

    Raises:
        ValueError: When a forecast is missing or unknown.
    """
    expected = ("model", *REFERENCES)
    if set(forecasts) != set(expected):
        raise ValueError(f"forecasts: expected {', '.join(expected)}, received {', '.join(sorted(forecasts))}")
    used = tf.logical_and(known, counted[:, None, None, None, None])
    by_ending = {ending: forecasts[name] for ending, name in zip(FORECASTS, expected, strict=True)}
    clipped = tf.clip_by_value(forecasts["model"], 0.0, 1.0)
    sums = _errors(truth, used, forecasts, clipped)
    sums |= _by_frame(frame_ssim, dict.fromkeys(SSIM_OUTPUTS, ()), truth, used, clipped)
    sums |= _by_frame(frame_spectra, spectrum_metrics.outputs(), truth, used, by_ending)
    if thresholds:
        count = functools.partial(frame_events, thresholds=thresholds, scales=scales)
        sums |= _by_frame(count, event_metrics.outputs(len(thresholds), len(scales)), truth, used, by_ending)
    return {name: tf.cast(value, tf.float32) for name, value in sums.items()}


def _errors(
    truth: tf.Tensor, used: tf.Tensor, forecasts: Mapping[str, tf.Tensor], clipped: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns the outputs that are sums over pixels, float64 `(batch, horizon)`."""

    def error(forecast):
        return tf.cast(tf.where(used, forecast - truth, tf.zeros_like(truth)), tf.float64)

    def total(values):
        return tf.reduce_sum(values, axis=[2, 3, 4])

    model, pixels = error(forecasts["model"]), total(tf.cast(used, tf.float64))
    return {
        "pixels": pixels,
        "frames": tf.cast(pixels > 0, tf.float64),
        "squared_error": total(tf.square(model)),
        "absolute_error": total(tf.abs(model)),
        "psnr": _psnr(total(tf.square(error(clipped))), pixels),
        **{f"squared_error_{name}": total(tf.square(error(forecasts[name]))) for name in REFERENCES},
    }


def _by_frame(
    function: Callable[..., dict[str, tf.Tensor]], spec: Mapping[str, Sequence[int]], truth: tf.Tensor, *others: Any
) -> dict[str, tf.Tensor]:
    """Applies a function to one frame after the other, so that memory does not grow with the horizon.

    Args:
        function: Takes `(height, width, channel)` tensors in place of `truth` and `others`; returns float64.
        spec: The shapes of its results.
        truth: `(batch, horizon, height, width, channel)`.
        others: Tensors of that shape, or dicts of them.

    Returns:
        `(batch, horizon, ...)`.
    """
    shape = tf.shape(truth)
    frames = tf.nest.map_structure(
        lambda value: tf.reshape(value, tf.concat([[-1], shape[2:]], axis=0)), (truth, *others)
    )
    results = tf.map_fn(
        lambda place: function(*tf.nest.map_structure(lambda frame: frame[place], frames)),
        tf.range(shape[0] * shape[1]),
        fn_output_signature={name: tf.TensorSpec(axes, tf.float64) for name, axes in spec.items()},
        parallel_iterations=1,
    )
    return {name: tf.reshape(results[name], [shape[0], shape[1], *axes]) for name, axes in spec.items()}


def _psnr(squared_error: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Returns PSNR in dB, at most 100; 0 for frames without pixels."""
    mse = tf.math.divide_no_nan(squared_error, pixels)
    smallest = 10.0 ** (-_LARGEST_PSNR / 10.0)
    # NaN stays NaN, because it compares as not smaller.
    psnr = -10.0 / math.log(10.0) * tf.math.log(tf.where(mse < smallest, tf.constant(smallest, mse.dtype), mse))
    return tf.where(pixels > 0, psnr, tf.zeros_like(psnr))
