"""Reference forecasts that a graph can compute: the bar that a model must clear.

Persistence repeats the last observed frame; climatology is the mean training frame; black is 0 everywhere; blurred
persistence smooths the last frame, more at longer lead times, which alone beats plain extrapolation on radar MSE.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

_RADIUS = 3.0  # Where the Gaussian is cut off, in sigmas.


def reference_forecasts(
    frames: tf.Tensor,
    known: tf.Tensor,
    context_length: tf.Tensor,
    horizon: int,
    *,
    climatology: tf.Tensor,
    blur_sigmas: Sequence[float],
) -> dict[str, tf.Tensor]:
    """Forecasts the frames after each clip's context without a model.

    Args:
        frames: `(batch, time, height, width, channel)` float32 in [0, 1], 0 where not known.
        known: The same shape, bool.
        context_length: `(batch,)` int32, observed frames.
        horizon: Frames to forecast.
        climatology: `(height, width, channel)` or `(channel,)` float32; a mean frame of another size than the clip's is
            replaced by its mean over pixels.
        blur_sigmas: Sigma in pixels of the blurred persistence at each lead time.

    Returns:
        By the names in `framecast.evaluation.names.REFERENCES`, each `(batch, horizon, height, width, channel)`.
    """
    last = tf.gather(frames, context_length - 1, batch_dims=1)
    last_known = tf.gather(known, context_length - 1, batch_dims=1)
    shape = tf.concat([tf.shape(last)[:1], [horizon], tf.shape(last)[1:]], 0)
    return {
        "persistence": tf.broadcast_to(last[:, None], shape),
        "climatology": tf.broadcast_to(_fit_size(climatology, tf.shape(last)), shape),
        "black": tf.zeros(shape),
        "persistence_blurred": tf.stack([blur(last, last_known, sigma) for sigma in blur_sigmas], axis=1),
    }


def blur(frames: tf.Tensor, known: tf.Tensor, sigma: float) -> tf.Tensor:
    """Smooths with a Gaussian over the known pixels only; what lies outside the frame counts as not known.

    Args:
        frames: `(batch, height, width, channel)` float32, 0 where not known.
        known: The same shape, bool.
        sigma: Standard deviation in pixels; 0 leaves the frames as they are.
    """
    if sigma == 0:
        return frames
    offsets = np.arange(-int(_RADIUS * sigma + 0.5), int(_RADIUS * sigma + 0.5) + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = tf.constant(weights / weights.sum(), tf.float32)
    smooth = _separable(frames, kernel)
    weight = _separable(tf.cast(known, tf.float32), kernel)
    return tf.math.divide_no_nan(smooth, weight)


def fit_blur(
    batches: Iterable[Mapping[str, tf.Tensor]], horizon: int, context_min: int, sigmas: Sequence[float]
) -> list[float]:
    """Returns for each lead time the sigma whose blurred persistence has the least squared error.

    Args:
        batches: `frames`, `known` and `length` as the input pipeline yields them; clips shorter than
            `context_min + horizon` are left out.
        horizon: Lead times.
        context_min: Shortest context.
        sigmas: Candidates, in pixels.
    """
    errors = np.zeros((len(sigmas), horizon))
    for batch in batches:
        long_enough = batch["length"] >= context_min + horizon
        if tf.reduce_any(long_enough):
            errors += _blur_errors(
                tf.boolean_mask(batch["frames"], long_enough),
                tf.boolean_mask(batch["known"], long_enough),
                tf.boolean_mask(batch["length"], long_enough) - horizon,
                horizon,
                tuple(sigmas),
            ).numpy()
    return [sigmas[best] for best in np.argmin(errors, axis=0)]


def fit_climatology(batches: Iterable[Mapping[str, tf.Tensor]]) -> np.ndarray:
    """Returns the mean training frame `(height, width, channel)`, or `(channel,)` where the frames' sizes differ.

    Args:
        batches: As `fit_blur`; every known pixel counts, those never known get the channel's mean.
    """
    total: np.ndarray | None = None
    count: np.ndarray | None = None
    for batch in batches:
        # In float64, where sums of float32 are exact enough to be the same in any order.
        frames = np.sum(batch["frames"].numpy(), axis=(0, 1), dtype=np.float64)
        known = np.sum(batch["known"].numpy(), axis=(0, 1), dtype=np.float64)
        if total is None or count is None:
            total, count = frames, known
            continue
        if total.shape != frames.shape:
            total, count = (_over_pixels(array) for array in (total, count))
            frames, known = (_over_pixels(array) for array in (frames, known))
        total, count = total + frames, count + known
    if total is None or count is None:
        raise ValueError("climatology: expected at least one training clip, received none")
    mean = _over_pixels(total) / np.maximum(_over_pixels(count), 1)
    return np.where(count > 0, total / np.maximum(count, 1), mean).astype(np.float32)


def _over_pixels(array: np.ndarray) -> np.ndarray:
    return array.sum(axis=tuple(range(array.ndim - 1)))


@tf.function(reduce_retracing=True)
def _blur_errors(frames, known, context_length, horizon, sigmas):
    future = context_length[:, None] + tf.range(horizon)[None]
    truth, counted = tf.gather(frames, future, batch_dims=1), tf.gather(known, future, batch_dims=1)
    last = tf.gather(frames, context_length - 1, batch_dims=1)
    last_known = tf.gather(known, context_length - 1, batch_dims=1)
    errors = []
    for sigma in sigmas:
        error = tf.square(blur(last, last_known, sigma)[:, None] - truth)
        errors.append(tf.reduce_sum(tf.where(counted, error, tf.zeros_like(error)), axis=[0, 2, 3, 4]))
    return tf.stack(errors)


def _separable(frames: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    channels = frames.shape[-1]
    size = kernel.shape[0]
    rows = tf.tile(tf.reshape(kernel, [size, 1, 1, 1]), [1, 1, channels, 1])
    columns = tf.tile(tf.reshape(kernel, [1, size, 1, 1]), [1, 1, channels, 1])
    for weights in (rows, columns):
        frames = tf.nn.depthwise_conv2d(frames, weights, [1, 1, 1, 1], "SAME")
    return frames


def _fit_size(climatology: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Returns `(1, 1, height, width, channel)`: the mean frame where its size fits, else its mean."""
    if climatology.shape.rank == 1:
        return climatology[None, None, None, None]
    size = tf.constant(climatology.shape[:2])
    mean = tf.broadcast_to(tf.reduce_mean(climatology, axis=[0, 1]), shape[1:])
    fits = tf.reduce_all(tf.equal(shape[1:3], size))
    return tf.cond(fits, lambda: climatology, lambda: mean)[None, None]
