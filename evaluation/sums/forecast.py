"""The sums behind every metric, as TensorFlow ops for the `evaluate` signature."""

import math
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from framecast.evaluation.metrics import events as event_metrics
from framecast.evaluation.metrics import spectrum as spectrum_metrics
from framecast.evaluation.metrics.forecast import FORECASTS, OUTPUTS, REFERENCES, SSIM_OUTPUTS
from framecast.evaluation.sums.events import frame_events
from framecast.evaluation.sums.spectrum import frame_spectra
from framecast.evaluation.sums.ssim import frame_ssim

# A frame that is met exactly has no finite PSNR; one such frame must not decide the mean over all of them.
_LARGEST_PSNR = 100.0


def forecast_sums(
    truth: tf.Tensor,
    known: tf.Tensor,
    counted: tf.Tensor,
    forecasts: Mapping[str, tf.Tensor],
    thresholds: Sequence[float] = (),
    scales: Sequence[int] = (),
) -> dict[str, tf.Tensor]:
    """Sums errors over the pixels of each frame and its power by wavelength, and counts its events.

    Reduced in float64 and returned in float32: the order of summation, which the padding of a batch or of a frame
    changes, then stays below float32's rounding. Frames with more than 2**24 values count their pixels to 7 digits.

    Args:
        truth: `(batch, horizon, height, width, channel)` float32 in [0, 1]; any value, NaN too, where not known.
        known: bool of that shape. Unknown pixels are left out of every sum, whatever the forecasts say there.
        counted: `(batch,)` bool, False for clips that are left out: all their sums are 0.
        forecasts: By name, of the shape of `truth`: `model` and each of `REFERENCES`. The errors are taken of the
            values as given; PSNR, SSIM and power after clipping to [0, 1].
        thresholds: Pixels in (0, 1] from which on there is an event; none unless given.
        scales: Sides of the windows of FSS in pixels.

    Returns:
        For each of `OUTPUTS`, float32 `(batch, horizon)`: `pixels`, the known values; `frames`, 1 where there is a
        known value; `squared_error` and `absolute_error` of the model; `psnr`, the model's in dB, at most 100;
        `ssim`, `ssim_openstl` and `ssim_frames` of the model, as from `frame_ssim`; `squared_error_<reference>`. What
        `frame_spectra` returns of each frame and, with thresholds, `frame_events`, float32 `(batch, horizon, ...)`.

    Raises:
        ValueError: When a forecast is missing or unknown.
    """
    expected = ("model", *REFERENCES)
    if set(forecasts) != set(expected):
        raise ValueError(f"forecasts: expected {', '.join(expected)}, received {', '.join(sorted(forecasts))}")
    counted = counted[:, None, None, None, None]
    used = tf.logical_and(known, counted)

    def error(forecast):
        return tf.cast(tf.where(used, forecast - truth, tf.zeros_like(truth)), tf.float64)

    def total(values):
        return tf.reduce_sum(values, axis=[2, 3, 4])

    model = error(forecasts["model"])
    pixels = total(tf.cast(used, tf.float64))
    clipped = tf.clip_by_value(forecasts["model"], 0.0, 1.0)
    sums = {
        "pixels": pixels,
        "frames": tf.cast(pixels > 0, tf.float64),
        "squared_error": total(tf.square(model)),
        "absolute_error": total(tf.abs(model)),
        "psnr": _psnr(total(tf.square(error(clipped))), pixels),
        **_by_frame(frame_ssim, dict.fromkeys(SSIM_OUTPUTS, ()), truth, used, clipped),
        **{f"squared_error_{name}": total(tf.square(error(forecasts[name]))) for name in REFERENCES},
    }
    sums = {name: sums[name] for name in OUTPUTS}
    every = [forecasts[name] for name in expected]

    def spectra(truth, used, *forecasts):
        return frame_spectra(truth, used, dict(zip(FORECASTS, forecasts, strict=True)))

    sums |= _by_frame(spectra, spectrum_metrics.outputs(), truth, used, *every)
    if thresholds:

        def events(truth, used, *forecasts):
            return frame_events(truth, used, dict(zip(FORECASTS, forecasts, strict=True)), thresholds, scales)

        sums |= _by_frame(events, event_metrics.outputs(len(thresholds), len(scales)), truth, used, *every)
    return {name: tf.cast(value, tf.float32) for name, value in sums.items()}


def _by_frame(
    function: Callable[..., dict[str, tf.Tensor]], spec: Mapping[str, Sequence[int]], *values: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Applies a function of frames to one frame after the other: memory does not grow with the horizon.

    Args:
        function: Of `(height, width, channel)` tensors; returns float64.
        spec: The shapes of what it returns.
        values: `(batch, horizon, height, width, channel)`, for each argument.

    Returns:
        `(batch, horizon, ...)`.
    """
    shape = tf.shape(values[0])
    frames = [tf.reshape(value, tf.concat([[-1], shape[2:]], axis=0)) for value in values]
    results = tf.map_fn(
        lambda place: function(*(frame[place] for frame in frames)),
        tf.range(shape[0] * shape[1]),
        fn_output_signature={name: tf.TensorSpec(axes, tf.float64) for name, axes in spec.items()},
        parallel_iterations=1,
    )
    return {name: tf.reshape(results[name], [shape[0], shape[1], *axes]) for name, axes in spec.items()}


def _psnr(squared_error: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    mse = tf.math.divide_no_nan(squared_error, pixels)
    smallest = 10.0 ** (-_LARGEST_PSNR / 10.0)
    # An mse of NaN must stay one: it compares as not smaller.
    psnr = -10.0 / math.log(10.0) * tf.math.log(tf.where(mse < smallest, tf.constant(smallest, mse.dtype), mse))
    return tf.where(pixels > 0, psnr, tf.zeros_like(psnr))
