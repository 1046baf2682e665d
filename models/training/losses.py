"""Losses of next frames, of classes and of numbers. Imports Keras only."""

from typing import Literal

from keras import ops

NextFrameLoss = Literal["mse", "mae_mse", "weighted"]

# `weighted`: a pixel of intensity y weighs 1 + _GAIN * max(y - _FROM, 0)**2, so that rare high values count as much as
# common low ones. Chosen on the training days of the radar clips.
_GAIN = 300.0
_FROM = 0.3


def next_frame_loss(frames, predictions, length, known, kind: NextFrameLoss = "mse"):
    """Computes the mean error over every next frame of every clip.

    Padding and missing pixels are replaced in truth and predictions first, so that no value there, not even NaN,
    reaches the loss or a gradient.

    Args:
        frames: `(batch, time, height, width, channel)` float32, the truth, pixels in [0, 1].
        predictions: `(batch, time - 1 or more, height, width, channel)` float32; `[:, t]` predicts frame t + 1.
        length: `(batch,)` int32, frames of each clip without padding.
        known: `(batch, time, height, width, channel)` bool, False where a pixel is missing.
        kind: `mse`: the squared error. `mae_mse`: plus the absolute error. `weighted`: the squared error, weighted by
            the true intensity, after the balanced loss of Shi et al. 2017 (arXiv:1706.03458).

    Returns:
        float32 scalar: the sum of errors over the number of counted pixels; 0 if no pixel is counted.
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


def class_loss(labels, estimates, counted):
    """Computes the mean cross-entropy of classes in nats.

    Args:
        labels: `(...)` int64 classes; any value where not counted.
        estimates: `(..., classes)` float32 logits; any value, even NaN, where not counted.
        counted: `(...)` bool.

    Returns:
        float32 scalar; 0 if no label is counted.
    """
    estimates = ops.where(counted[..., None], estimates, 0.0)
    labels = ops.cast(ops.where(counted, labels, ops.zeros_like(labels)), "int32")
    errors = -ops.take_along_axis(ops.log_softmax(estimates), labels[..., None], axis=-1)[..., 0]
    return _mean_where(errors, counted)


def number_loss(labels, estimates, counted, spread):
    """Computes the mean squared error of numbers, each divided by its spread.

    Args:
        labels: `(..., numbers)` float32; any value, even NaN, where not counted.
        estimates: float32 of the same shape; any value, even NaN, where not counted.
        counted: `(...)` bool.
        spread: `(numbers,)` float32, the standard deviation of each number.

    Returns:
        float32 scalar; 0 if no label is counted.

    Raises:
        ValueError: If the shapes of labels and estimates differ, because they would be broadcast.
    """
    if len(labels.shape) != len(estimates.shape) or labels.shape[-1] != estimates.shape[-1]:
        raise ValueError(f"expected one estimate for each label, {labels.shape}, received {estimates.shape}")
    errors = ops.where(counted[..., None], estimates - labels, 0.0) / spread
    return _mean_where(ops.mean(ops.square(errors), axis=-1), counted)


def _mean_where(errors, counted):
    counted = ops.cast(counted, "float32")
    return ops.sum(errors * counted) / ops.maximum(ops.sum(counted), 1.0)
