"""Forecasts by simple references, which a model must beat, in TensorFlow ops for any height and width.

Persistence is the last observed frame, climatology the mean training frame, black is 0. Blurred persistence is the last
frame after a Gaussian filter whose width fits the training clips best at each lead time.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from framecast.evaluation.metrics.forecast import REFERENCES

# The Gaussian is cut off at this many sigmas, as in scipy.ndimage.gaussian_filter.
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
        frames: `(batch, time, height, width, channel)` float32 in [0, 1]; ignored where not known and past the context.
        known: bool of that shape.
        context: `(batch,)` int32, the number of frames that a forecast may use, at least 1.
        horizon: Frames to forecast.
        climatology: The result of `fit_climatology`. Where its size differs from the clip's, its mean over pixels is
            used.
        blur_sigmas: The result of `fit_blur`: sigma in pixels at each lead time, 0 for no blur.

    Returns:
        For each of `REFERENCES`, `(batch, horizon, height, width, channel)` float32. At a pixel missing from the last
        frame, persistence is 0 and blurred persistence is computed from the known pixels around it.

    Raises:
        ValueError: When the number of sigmas is not the horizon.
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
    """Applies a Gaussian filter to the known pixels (normalised convolution, Knutsson and Westin 1993).

    Args:
        frames: `(batch, height, width, channel)` float32.
        known: bool of that shape. Missing pixels and pixels outside of the frame have no weight.
        sigma: Standard deviation in pixels; 0 returns the frames with 0 at missing pixels.

    Returns:
        `(batch, height, width, channel)` float32; 0 where no known pixel is within 4 sigma along rows and columns.
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
    """Returns for each lead time the sigma with the lowest squared error of blurred persistence.

    Args:
        batches: Dicts of `frames` float32 and `known` bool, `(batch, time, height, width, channel)`, and `length` int32
            `(batch,)`. The last `horizon` frames of a clip are the truth; clips shorter than `context_min + horizon`
            are left out.
        horizon: Frames to forecast.
        context_min: Shortest context.
        sigmas: Candidates in pixels; the first of equally good ones is chosen.

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
    """Returns the mean of all training frames over their known pixels, summed in float64.

    Args:
        batches: As for `fit_blur`; frames past `length` are ignored.

    Returns:
        float32 `(height, width, channel)` when all frames have the same size, with the channel's mean where a pixel was
        never known; else `(channel,)`.

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
    """Returns the climatology of an untrained model: `(channel,)` float32 zeros."""
    return np.zeros(channels, np.float32)


def _last_frame(frames: tf.Tensor, known: tf.Tensor, context: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    last, last_known = (tf.gather(values, context - 1, batch_dims=1) for values in (frames, known))
    return tf.where(last_known, last, tf.zeros_like(last)), last_known


def _climatology_of_size(climatology: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Returns a climatology that broadcasts to frames of `size` (height, width)."""
    climatology = tf.convert_to_tensor(climatology, tf.float32)
    if climatology.shape.rank == 1:
        return climatology
    same = tf.reduce_all(tf.shape(climatology)[:2] == size)
    mean = tf.reduce_mean(climatology, axis=[0, 1], keepdims=True)
    return tf.cond(same, lambda: climatology, lambda: mean)
