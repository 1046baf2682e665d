"""Losses of the tasks. Imports Keras only."""

from typing import Literal

from keras import ops

NextFrameLoss = Literal["mse", "mae_mse", "weighted"]

# `weighted`: the weight of a pixel of intensity y is 1 + _GAIN * max(y - _FROM, 0)**2, so that what is rare and strong
# counts as much as what is common and weak; chosen on the radar clips' training days.
_GAIN = 300.0
_FROM = 0.3


def next_frame_loss(frames, predictions, length, known, kind: NextFrameLoss = "mse"):
    """Mean error over every next frame that a clip has.

    Padding and missing pixels are replaced on both sides before they meet, so that nothing that stands there, NaN
    included, reaches the loss or a gradient.

    Args:
        frames: `(batch, time, height, width, channel)` float32, the truth, pixels in [0, 1].
        predictions: `(batch, time - 1 or more, height, width, channel)` float32; `[:, t]` predicts frame t + 1.
        length: `(batch,)` int32, true frames of each clip.
        known: `(batch, time, height, width, channel)` bool, False where a pixel is missing.
        kind: `mse`: the squared error. `mae_mse`: plus the absolute error. `weighted`: the squared error, weighted by
            the true intensity, after the balanced loss of Shi et al. 2017 (arXiv:1706.03458).

    Returns:
        float32 scalar: the sum of errors over the number of pixels counted; 0 when there are none.
    """
    time = ops.shape(frames)[1]
    within = ops.arange(1, time, dtype="int32")[None] < ops.cast(length, "int32")[:, None]
    counted = ops.logical_and(known[:, 1:], within[:, :, None, None, None])
    truth = ops.where(counted, frames[:, 1:], 0.0)
    error = ops.where(counted, predictions[:, : time - 1], 0.0) - truth
    pixels = ops.maximum(ops.sum(ops.cast(counted, "float32")), 1.0)
    squares = ops.square(error)
    if kind == "weighted":
        squares *= 1.0 + _GAIN * ops.square(ops.maximum(truth - _FROM, 0.0))
    total = ops.sum(squares)
    if kind == "mae_mse":
        total += ops.sum(ops.abs(error))
    return total / pixels


def label_loss(labels, estimates, counted):
    """Mean cross-entropy in nats of classes, or mean squared error of numbers, over what is counted.

    Args:
        labels: `(...)` int64 classes or float32 numbers; any value, NaN too, where not counted.
        estimates: `(..., classes)` float32 logits, or `(..., 1)` numbers; any value where not counted.
        counted: `(...)` bool.

    Returns:
        float32 scalar; 0 when nothing is counted.
    """
    estimates = ops.where(counted[..., None], estimates, 0.0)
    labels = ops.where(counted, labels, ops.zeros_like(labels))
    if ops.shape(estimates)[-1] == 1:
        errors = ops.square(estimates[..., 0] - labels)
    else:
        errors = -ops.take_along_axis(ops.log_softmax(estimates), ops.cast(labels, "int32")[..., None], axis=-1)[..., 0]
    counted = ops.cast(counted, "float32")
    return ops.sum(errors * counted) / ops.maximum(ops.sum(counted), 1.0)
