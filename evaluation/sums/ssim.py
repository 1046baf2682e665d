"""Computes structural similarity of frames, in TensorFlow ops (Wang et al. 2004, IEEE Trans. on Image Processing 13).

The variant is the default of scikit-image's `structural_similarity`: uniform windows of 7x7 inside the frame, sample
covariances, K1 = 0.01, K2 = 0.03.
"""

import tensorflow as tf

from framecast.evaluation.sums.windows import window_sums

_SIDE = 7
_K1, _K2 = 0.01, 0.03

# `ssim_openstl` is comparable with OpenSTL, whose scikit-image (up to 0.19) assumed that floats range from -1 to 1.
_DATA_RANGES = {"ssim": 1.0, "ssim_openstl": 2.0}


def frame_ssim(truth: tf.Tensor, known: tf.Tensor, forecast: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns the SSIM of one frame and its forecast, over the windows in which every pixel is known.

    Computed in float64, because a window's variance is the small difference of two means.

    Args:
        truth: `(height, width, channel)` float32 in [0, 1]; any value, NaN too, where not known.
        known: bool of that shape.
        forecast: float32 of that shape, in [0, 1].

    Returns:
        Scalars float64: `ssim` and `ssim_openstl`, the mean over the complete windows of all channels, 0 without any;
        `ssim_frames`, 1 with any, else 0.
    """
    x, y = (tf.cast(tf.where(known, frame, tf.zeros_like(frame)), tf.float64) for frame in (truth, forecast))
    fields = [x, y, x * x, y * y, x * y, tf.cast(known, tf.float64)]
    sums = window_sums(tf.concat(fields, axis=2)[None], _SIDE)[0]
    pixels = _SIDE**2
    *moments, in_window = tf.split(sums, len(fields), axis=2)
    mean_x, mean_y, xx, yy, xy = (moment / pixels for moment in moments)
    sample = pixels / (pixels - 1)
    variances = sample * (xx - mean_x**2 + yy - mean_y**2)
    covariance = sample * (xy - mean_x * mean_y)
    # Windows that reach over the border are incomplete too, because `known` is 0 outside of the frame.
    complete = in_window == pixels
    windows = tf.reduce_sum(tf.cast(complete, tf.float64))
    result = {"ssim_frames": tf.cast(windows > 0, tf.float64)}
    for name, data_range in _DATA_RANGES.items():
        c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
        similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
        similarity /= (mean_x**2 + mean_y**2 + c1) * (variances + c2)
        total = tf.reduce_sum(tf.where(complete, similarity, tf.zeros_like(similarity)))
        result[name] = tf.math.divide_no_nan(total, windows)
    return result
