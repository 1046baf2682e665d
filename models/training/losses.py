"""Sums the errors of next frames, of classes and of numbers, and counts them. Imports Keras and `loss_spec` only.

Pixels and labels that are not counted are replaced in truth and predictions first, so that no value there, not even
NaN, reaches a sum or a gradient.
"""

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from framecast.models.loss_spec import SSIM_SIDE

# `weighted`: a pixel of intensity y weighs 1 + _GAIN * max(y - _FROM, 0)**2, so that rare high values count as much as
# common low ones. Chosen on the training days of the radar clips.
_GAIN = 300.0
_FROM = 0.3

_FOCUS = 2.0  # Lin et al. 2017 (arXiv:1708.02002).

# As scikit-image's `structural_similarity`, see `framecast.evaluation.sums.ssim`.
_C1, _C2 = 0.01**2, 0.03**2


def next_frame_sums(name: str, truth, predictions, counted, function: Callable[..., Any] | None = None):
    """Sums the errors of next frames.

    Args:
        name: `mse`: the squared error. `mae`: the absolute error. `weighted`: the squared error, weighted by the true
            intensity, after the balanced loss of Shi et al. 2017 (arXiv:1706.03458). `ssim`: 1 - SSIM of every window
            in which all pixels count. Any other name is that of `function`.
        truth: `(batch, time, height, width, channel)` float32, pixels in [0, 1].
        predictions: float32 of that shape.
        counted: bool of that shape.
        function: Called as `function(truth, predictions)`, where both are 0 if not counted; returns an error for each
            value, or means over the last axes.

    Returns:
        The sum, a float32 scalar.

    Raises:
        ValueError: If `function` returns another shape.
    """
    truth, predictions = ops.where(counted, truth, 0.0), ops.where(counted, predictions, 0.0)
    if function is not None:
        return _own_sum(name, function(truth, predictions), counted)
    if name == "ssim":
        dissimilar, complete = _dissimilarity(truth, predictions), _complete_windows(counted)
        return ops.sum(ops.where(complete, dissimilar, 0.0))
    error = predictions - truth
    if name == "mae":
        return ops.sum(ops.abs(error))
    squares = ops.square(error)
    if name == "weighted":
        squares *= 1.0 + _GAIN * ops.square(ops.maximum(truth - _FROM, 0.0))
    return ops.sum(squares)


def next_frame_count(name: str, counted):
    """Returns the number of errors that `next_frame_sums` sums, a float32 scalar."""
    return ops.sum(ops.cast(_complete_windows(counted) if name == "ssim" else counted, "float32"))


def class_sums(
    name: str, labels, estimates, counted, weights: Sequence[float] | None = None, function: Callable | None = None
):
    """Sums the errors of classes.

    Args:
        name: `cross_entropy`: in nats. `focal`: the same times `(1 - p)**2`, where p is the probability of the true
            class, so that clips that are easy count less. Any other name is that of `function`.
        labels: `(...)` int64 classes; any value where not counted.
        estimates: `(..., classes)` float32 logits; any value, even NaN, where not counted.
        counted: `(...)` bool.
        weights: The weight of each class; all 1 by default.
        function: Called as `function(labels, estimates)`; returns an error for each label.

    Returns:
        The sum, a float32 scalar.

    Raises:
        ValueError: If `function` returns another shape.
    """
    estimates = ops.where(counted[..., None], estimates, 0.0)
    labels = ops.cast(ops.where(counted, labels, ops.zeros_like(labels)), "int32")
    if function is not None:
        errors = _of_labels(name, function(labels, estimates), counted)
    else:
        errors = -ops.take_along_axis(ops.log_softmax(estimates), labels[..., None], axis=-1)[..., 0]
        if name == "focal":
            errors *= (1.0 - ops.exp(-errors)) ** _FOCUS
    if weights is not None:
        errors *= ops.take(ops.convert_to_tensor(weights, "float32"), labels)
    return ops.sum(ops.where(counted, errors, 0.0))


def number_sums(name: str, labels, estimates, counted, mean, spread, function: Callable | None = None):
    """Sums the errors of standardised numbers; of a label, the mean over its numbers.

    Args:
        name: `mse`: the squared error. Any other name is that of `function`.
        labels: `(..., numbers)` float32; any value, even NaN, where not counted.
        estimates: float32 of the same shape; any value, even NaN, where not counted.
        counted: `(...)` bool.
        mean: `(numbers,)` float32, subtracted from each number.
        spread: `(numbers,)` float32, which each number is divided by.
        function: Called as `function(labels, estimates)` on standardised numbers; returns an error for each label.

    Returns:
        The sum, a float32 scalar.

    Raises:
        ValueError: If the shapes of labels and estimates differ, because they would be broadcast, or `function` returns
            another shape.
    """
    if len(labels.shape) != len(estimates.shape) or labels.shape[-1] != estimates.shape[-1]:
        raise ValueError(f"expected one estimate for each label, {labels.shape}, received {estimates.shape}")
    labels, estimates = (ops.where(counted[..., None], (own - mean) / spread, 0.0) for own in (labels, estimates))
    if function is not None:
        errors = _of_labels(name, function(labels, estimates), counted)
    else:
        errors = ops.mean(ops.square(estimates - labels), axis=-1)
    return ops.sum(ops.where(counted, errors, 0.0))


def _own_sum(name, errors, counted):
    """Sums the errors of a user's function, which may be means over the last axes."""
    rank = len(errors.shape)
    pairs = zip(errors.shape, counted.shape)
    fits = all(own == full or None in (own, full) for own, full in pairs)
    if not 0 < rank <= len(counted.shape) or not fits:
        raise ValueError(
            f"train.loss: {name}: expected an error for each value of {tuple(counted.shape)}, or means over its last "
            f"axes, received {tuple(errors.shape)}"
        )
    averaged = tuple(range(rank, len(counted.shape)))
    errors = ops.where(ops.any(counted, axis=averaged) if averaged else counted, errors, 0.0)
    sizes = ops.prod(ops.cast(ops.convert_to_tensor(ops.shape(counted)[rank:]), "float32")) if averaged else 1.0
    return ops.sum(ops.cast(errors, "float32")) * sizes


def _of_labels(name, errors, counted):
    if len(errors.shape) != len(counted.shape):
        raise ValueError(
            f"train.loss: {name}: expected an error for each label, {tuple(counted.shape)}, "
            f"received {tuple(errors.shape)}"
        )
    return ops.cast(errors, "float32")


def _complete_windows(counted):
    return _window_means(ops.cast(counted, "float32")) > 1.0 - 0.5 / SSIM_SIDE**2


def _dissimilarity(truth, predictions):
    """Returns 1 - SSIM of each window, `(batch * time, rows, columns, channel)`."""
    mean_x, mean_y = _window_means(truth), _window_means(predictions)
    sample = SSIM_SIDE**2 / (SSIM_SIDE**2 - 1)
    variances = sample * (
        _window_means(truth * truth) - mean_x**2 + _window_means(predictions * predictions) - mean_y**2
    )
    covariance = sample * (_window_means(truth * predictions) - mean_x * mean_y)
    similarity = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    return 1.0 - similarity / ((mean_x**2 + mean_y**2 + _C1) * (variances + _C2))


def _window_means(values):
    batch, time, *frame = ops.shape(values)
    return ops.average_pool(
        ops.reshape(values, (batch * time, *frame)), SSIM_SIDE, 1, "valid", data_format="channels_last"
    )
