"""Reference forecasts: the bar that a model must clear, as TensorFlow ops for any height and width.

Persistence is the last observed frame; climatology the mean training frame; black is 0; the blurred persistence is a
Gaussian of the last frame with the width that fits the training clips best at each lead time.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from framecast.evaluation.metrics.forecast import REFERENCES

# The Gaussian ends at this many sigmas, as scipy.ndimage.gaussian_filter's does.
_TRUNCATE = 4.0


def reference_forecasts(
    frames: tf.Tensor,
    known: tf.Tensor,
    context: tf.Tensor,
    horizon: int,
    *,
    climatology: tf.Tensor,
    blur_sigmas: Sequence[float],
) -> dict[str, tf.Tensor]:
    """Forecasts every clip with every reference.

    Args:
        frames: `(batch, time, height, width, channel)` float32 in [0, 1]; never read where not known, nor past the
            context.
        known: bool of that shape.
        context: `(batch,)` int32, the frames that a forecast may look at, at least 1.
        horizon: Frames to forecast.
        climatology: What `fit_climatology` returned. A mean frame of another size than the clip's stands for its mean
            over pixels.
        blur_sigmas: What `fit_blur` returned: sigma in pixels at each lead time, 0 for no blur.

    Returns:
        By name in `REFERENCES`, `(batch, horizon, height, width, channel)` float32. Where the last frame is missing a
        pixel, persistence is 0 and the blurred persistence goes by the known pixels around it.

    Raises:
        ValueError: When there is not one sigma a lead time.
    """
    if len(blur_sigmas) != horizon:
        raise ValueError(f"blur_sigmas: expected one for each of {horizon} lead times, received {len(blur_sigmas)}")
    last, last_known = _last_frame(frames, known, context)
    shape = tf.shape(last)
    blurred = {sigma: blur(last, last_known, sigma) for sigma in dict.fromkeys(blur_sigmas)}

    def repeated(frame):
        return tf.repeat(frame[:, None], horizon, axis=1)

    return dict(
        zip(
            REFERENCES,
            (
                repeated(last),
                repeated(tf.broadcast_to(_climatology_of_size(climatology, shape[1:3]), shape)),
                repeated(tf.zeros_like(last)),
                tf.stack([blurred[sigma] for sigma in blur_sigmas], axis=1),
            ),
            strict=True,
        )
    )


def blur(frames: tf.Tensor, known: tf.Tensor, sigma: float) -> tf.Tensor:
    """Blurs with a Gaussian over known pixels only (normalised convolution; Knutsson and Westin 1993).

    Args:
        frames: `(batch, height, width, channel)` float32.
        known: bool of that shape. Missing pixels, and what lies outside of the frame, weigh nothing.
        sigma: Standard deviation in pixels; 0 returns the frames with 0 at missing pixels.

    Returns:
        `(batch, height, width, channel)` float32; 0 where no known pixel is within 4 sigma by rows and columns.
    """
    frames = tf.where(known, frames, tf.zeros_like(frames))
    if not sigma:
        return frames
    radius = int(_TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights = tf.constant(weights / weights.sum(), tf.float32)
    kernel = tf.repeat(weights[:, None, None, None], tf.shape(frames)[3], axis=2)
    # One pass for values and weights, one kernel for rows and columns.
    stacked = tf.concat([frames, tf.cast(known, tf.float32)], axis=0)
    for _ in range(2):
        stacked = tf.nn.depthwise_conv2d(stacked, kernel, strides=[1, 1, 1, 1], padding="SAME")
        stacked = tf.transpose(stacked, [0, 2, 1, 3])
    values, weight = tf.split(stacked, 2, axis=0)
    return tf.math.divide_no_nan(values, weight)


def fit_blur(
    batches: Iterable[Mapping[str, Any]], horizon: int, context_min: int, sigmas: Sequence[float]
) -> list[float]:
    """Picks for each lead time the sigma with the lowest squared error of the blurred persistence.

    Args:
        batches: Dicts of `frames` float32 and `known` bool, `(batch, time, height, width, channel)`, and `length` int32
            `(batch,)`. The last `horizon` frames of a clip are the truth; clips shorter than `context_min + horizon`
            are left out.
        horizon: Frames to forecast.
        context_min: Shortest context.
        sigmas: Candidates in pixels; of equally good ones the first is taken.

    Returns:
        A sigma for each lead time.

    Raises:
        ValueError: When no clip is long enough.
    """
    frames_spec = tf.TensorSpec([None] * 5, tf.float32)

    known_spec, length_spec = tf.TensorSpec([None] * 5, tf.bool), tf.TensorSpec([None], tf.int32)

    @tf.function(input_signature=[frames_spec, known_spec, length_spec], autograph=False)
    def errors(frames, known, length):
        context = length - horizon
        future = context[:, None] + tf.range(horizon)[None]
        truth, truth_known = (tf.gather(values, future, batch_dims=1) for values in (frames, known))
        last, last_known = _last_frame(frames, known, context)

        def error(sigma):
            difference = tf.where(truth_known, blur(last, last_known, sigma)[:, None] - truth, tf.zeros_like(truth))
            return tf.reduce_sum(tf.cast(tf.square(difference), tf.float64), axis=[0, 2, 3, 4])

        return tf.stack([error(sigma) for sigma in sigmas])

    total = np.zeros([len(sigmas), horizon])
    clips = 0
    for batch in batches:
        length = np.asarray(batch["length"])
        long_enough = np.flatnonzero(length >= context_min + horizon)
        if not long_enough.size:
            continue
        clips += long_enough.size
        frames, known = (tf.gather(batch[name], long_enough) for name in ("frames", "known"))
        total += errors(frames, known, length[long_enough].astype(np.int32)).numpy()
    if not clips:
        raise ValueError(
            f"fit_blur: expected a clip of at least context_min + horizon = {context_min + horizon} frames, found none"
        )
    return [float(sigmas[best]) for best in np.argmin(total, axis=0)]


def fit_climatology(batches: Iterable[Mapping[str, Any]]) -> np.ndarray:
    """Takes the mean of all training frames over their known pixels, summed in float64.

    Args:
        batches: As for `fit_blur`; frames past `length` are left out.

    Returns:
        float32 `(height, width, channel)` when all frames share a size, with the channel's mean where a pixel was never
        known; else `(channel,)`.

    Raises:
        ValueError: When there is no batch.
    """
    size = None
    one_size = True
    total = count = channel_total = channel_count = np.zeros(0)
    for batch in batches:
        frames, known, length = (np.asarray(batch[name]) for name in ("frames", "known", "length"))
        known = known & (np.arange(frames.shape[1])[None] < length[:, None])[:, :, None, None, None]
        frame_total = np.where(known, frames, 0).sum(axis=(0, 1), dtype=np.float64)
        frame_count = known.sum(axis=(0, 1))
        if size is None:
            size = frame_total.shape
            total, count = np.zeros(size), np.zeros(size)
            channel_total, channel_count = np.zeros(size[2]), np.zeros(size[2])
        channel_total += frame_total.sum(axis=(0, 1))
        channel_count += frame_count.sum(axis=(0, 1))
        one_size = one_size and frame_total.shape == size
        if one_size:
            total += frame_total
            count += frame_count
    if size is None:
        raise ValueError("fit_climatology: expected at least one batch of training frames, received none")
    mean = channel_total / np.maximum(channel_count, 1)
    if one_size:
        mean = np.where(count > 0, total / np.maximum(count, 1), mean)
    return mean.astype(np.float32)


def black_climatology(channels: int) -> np.ndarray:
    """Returns the climatology of a model that has seen no frame: `(channel,)` float32 zeros."""
    return np.zeros(channels, np.float32)


def _last_frame(frames: tf.Tensor, known: tf.Tensor, context: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    last, last_known = (tf.gather(values, context - 1, batch_dims=1) for values in (frames, known))
    return tf.where(last_known, last, tf.zeros_like(last)), last_known


def _climatology_of_size(climatology: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Returns what broadcasts to frames of `size` (height, width)."""
    climatology = tf.convert_to_tensor(climatology, tf.float32)
    if climatology.shape.rank == 1:
        return climatology
    same = tf.reduce_all(tf.shape(climatology)[:2] == size)
    mean = tf.reduce_mean(climatology, axis=[0, 1], keepdims=True)
    return tf.cond(same, lambda: climatology, lambda: mean)
