"""Metrics of estimated labels, from sums over clips: classes (`classify`) and numbers (`regress`)."""

from collections.abc import Mapping

import numpy as np

# Of each clip: how many labels were counted, and what was found of them. `confusion` is `(classes, classes)`, true
# class by row, estimated class by column; everything else a scalar.
CLASSIFY_OUTPUTS = ("labels", "cross_entropy", "confusion")
REGRESS_OUTPUTS = ("labels", "squared_error", "absolute_error", "value", "squared_value")

# `accuracy_majority` is that of always answering the most frequent class of the eval split: what a model must beat.
# `cross_entropy` is a mean in nats. `macro_f1` is the mean over the classes that occur.
CLASSIFY_NAMES = ("accuracy", "cross_entropy", "macro_f1", "accuracy_majority")

# `r2 = 1 - mse / variance of the labels`: the share of the variance that is explained.
REGRESS_NAMES = ("mse", "mae", "r2")


def compute_classify(sums: Mapping[str, np.ndarray], name: str) -> float:
    """Returns one of `CLASSIFY_NAMES`; nan where no label was counted."""
    count = float(sums["labels"])
    if not count:
        return float("nan")
    confusion = sums["confusion"]
    if name == "cross_entropy":
        return float(sums["cross_entropy"]) / count
    if name == "accuracy":
        return float(np.trace(confusion)) / count
    if name == "accuracy_majority":
        return float(confusion.sum(axis=1).max()) / count
    hits, true, estimated = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    occurs = true + estimated > 0
    return float(np.mean(2 * hits[occurs] / (true + estimated)[occurs]))


def compute_regress(sums: Mapping[str, np.ndarray], name: str) -> float:
    """Returns one of `REGRESS_NAMES`; nan where no label was counted, or all are the same (`r2`)."""
    count = float(sums["labels"])
    if not count:
        return float("nan")
    if name == "mae":
        return float(sums["absolute_error"]) / count
    mse = float(sums["squared_error"]) / count
    if name == "mse":
        return mse
    variance = float(sums["squared_value"]) / count - (float(sums["value"]) / count) ** 2
    return 1.0 - mse / variance if variance > 0 else float("nan")
