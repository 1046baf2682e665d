"""Sums the errors of next frames, of classes and of numbers. Imports Keras only."""

from typing import Literal

from keras import ops

NextFrameLoss = Literal["mse", "mae_mse", "weighted"]

# `weighted`: a pixel of intensity y weighs 1 + _GAIN * max(y - _FROM, 0)**2, so that rare high values count as much as
# common low ones. Chosen on the training days of the radar clips.
_GAIN = 300.0
_FROM = 0.3


def next_frame_total(truth, predictions, counted, kind: NextFrameLoss = "mse"):
    """Sums the errors of next frames.

    Pixels that are not counted are replaced in truth and predictions first, so that no value there, not even NaN,
    reaches the sum or a gradient.

    Args:
        truth: `(batch, time, height, width, channel)` float32, pixels in [0, 1].
        predictions: float32 of that shape.
        counted: bool of that shape.
        kind: `mse`: the squared error. `mae_mse`: plus the absolute error. `weighted`: the squared error, weighted by
            the true intensity, after the balanced loss of Shi et al. 2017 (arXiv:1706.03458).

    Returns:
        float32 scalar.
    """
    truth = ops.where(counted, truth, 0.0)
    error = ops.where(counted, predictions, 0.0) - truth
    squares = ops.square(error)
    if kind == "weighted":
        squares *= 1.0 + _GAIN * ops.square(ops.maximum(truth - _FROM, 0.0))
    total = ops.sum(squares)
    if kind == "mae_mse":
        total += ops.sum(ops.abs(error))
    return total


def class_total(labels, estimates, counted):
    """Sums the cross-entropy of classes in nats.

    Args:
        labels: `(...)` int64 classes; any value where not counted.
        estimates: `(..., classes)` float32 logits; any value, even NaN, where not counted.
        counted: `(...)` bool.

    Returns:
        float32 scalar.
    """
    estimates = ops.where(counted[..., None], estimates, 0.0)
    labels = ops.cast(ops.where(counted, labels, ops.zeros_like(labels)), "int32")
    errors = -ops.take_along_axis(ops.log_softmax(estimates), labels[..., None], axis=-1)[..., 0]
    return ops.sum(errors * ops.cast(counted, "float32"))


def number_total(labels, estimates, counted, spread):
    """Sums the squared error of numbers, each divided by its spread; of a label, the mean over its numbers.

    Args:
        labels: `(..., numbers)` float32; any value, even NaN, where not counted.
        estimates: float32 of the same shape; any value, even NaN, where not counted.
        counted: `(...)` bool.
        spread: `(numbers,)` float32, the standard deviation of each number.

    Returns:
        float32 scalar.

    Raises:
        ValueError: If the shapes of labels and estimates differ, because they would be broadcast.
    """
    if len(labels.shape) != len(estimates.shape) or labels.shape[-1] != estimates.shape[-1]:
        raise ValueError(f"expected one estimate for each label, {labels.shape}, received {estimates.shape}")
    errors = ops.where(counted[..., None], estimates - labels, 0.0) / spread
    return ops.sum(ops.mean(ops.square(errors), axis=-1))
