"""Metrics of estimated labels, from sums over clips: classes (`classify`) and numbers (`regress`)."""

from collections.abc import Mapping

import numpy as np

from framecast.evaluation.metrics.ratio import ratio

# Of each clip: how many labels were counted, and what was found of them. `confusion` is `(classes, classes)`, true
# class by row, estimated class by column; everything else a scalar.
CLASSIFY_OUTPUTS = ("labels", "cross_entropy", "confusion")
REGRESS_OUTPUTS = ("labels", "squared_error", "absolute_error", "value", "squared_value")

# `accuracy_majority` is that of always answering the most frequent class of the eval split: what a model must beat.
# `cross_entropy` is a mean in nats. `macro_f1` is the mean over the classes that occur.
CLASSIFY_NAMES = ("accuracy", "cross_entropy", "macro_f1", "accuracy_majority")

# `r2 = 1 - mse / variance of the labels`: the share of the variance that is explained.
REGRESS_NAMES = ("mse", "mae", "r2")


def compute_classify(sums: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Returns one of `CLASSIFY_NAMES`; nan where no label was counted.

    Args:
        sums: Each of `CLASSIFY_OUTPUTS`, with any axes in front, which what is returned has.
        name: The metric.
    """
    count, confusion = sums["labels"], sums["confusion"]
    if name == "cross_entropy":
        return ratio(sums["cross_entropy"], count)
    if name == "accuracy":
        return ratio(np.trace(confusion, axis1=-2, axis2=-1), count)
    if name == "accuracy_majority":
        return ratio(confusion.sum(axis=-1).max(axis=-1), count)
    true_or_estimated = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    f1 = ratio(2 * np.diagonal(confusion, axis1=-2, axis2=-1), true_or_estimated)
    return ratio(np.nansum(f1, axis=-1), (true_or_estimated > 0).sum(axis=-1))


def compute_regress(sums: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Returns one of `REGRESS_NAMES`; nan where no label was counted, or all are the same (`r2`).

    Args:
        sums: Each of `REGRESS_OUTPUTS`, with any axes in front, which what is returned has.
        name: The metric.
    """
    count = sums["labels"]
    if name == "mae":
        return ratio(sums["absolute_error"], count)
    mse = ratio(sums["squared_error"], count)
    if name == "mse":
        return mse
    variance = ratio(sums["squared_value"], count) - ratio(sums["value"], count) ** 2
    return 1.0 - ratio(mse, np.maximum(variance, 0.0))
