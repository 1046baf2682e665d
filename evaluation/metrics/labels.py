"""Computes metrics of predicted labels from sums over clips: classes (`classify`) and numbers (`regress`)."""

from collections.abc import Mapping

import numpy as np

from framecast.evaluation.metrics.ratio import ratio

# For each clip: the number of labels, and sums over them. `confusion` is `(classes, classes)`, true class by row,
# predicted class by column. Those of `BY_NUMBER` are `(numbers,)`, because a label may have several; the others are
# scalars. `number` is counted from any fixed number near the labels.
CLASSIFY_OUTPUTS = ("labels", "cross_entropy", "confusion")
REGRESS_OUTPUTS = ("labels", "squared_error", "absolute_error", "number", "squared_number")
BY_NUMBER = REGRESS_OUTPUTS[1:]

# `accuracy_majority` is the baseline: the accuracy of always predicting the most frequent class of the eval split.
# `cross_entropy` is a mean in nats. `macro_f1` is the mean over the classes that occur.
CLASSIFY_NAMES = ("accuracy", "cross_entropy", "macro_f1", "accuracy_majority")

# `r2 = 1 - mse / variance of the labels`: the share of the variance that is explained. Of several numbers, each metric
# is the mean.
REGRESS_NAMES = ("mse", "mae", "r2")


def compute_classify(sums: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Returns one of `CLASSIFY_NAMES`; nan where no label was counted.

    Args:
        sums: For each of `CLASSIFY_OUTPUTS`, its sum over clips. Axes in front are kept.
        name: The metric.
    """
    count, confusion = sums["labels"], sums["confusion"]
    if name == "cross_entropy":
        return ratio(sums["cross_entropy"], count)
    if name == "accuracy":
        return ratio(np.trace(confusion, axis1=-2, axis2=-1), count)
    if name == "accuracy_majority":
        return ratio(confusion.sum(axis=-1).max(axis=-1), count)
    occurrences = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    f1 = ratio(2 * np.diagonal(confusion, axis1=-2, axis2=-1), occurrences)
    return ratio(np.nansum(f1, axis=-1), (occurrences > 0).sum(axis=-1))


def compute_regress(sums: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Returns one of `REGRESS_NAMES`; nan where no label was counted, or for `r2` where all labels are equal.

    Args:
        sums: For each of `REGRESS_OUTPUTS`, its sum over clips. Axes in front are kept.
        name: The metric.
    """
    count = np.broadcast_to(np.asarray(sums["labels"])[..., None], np.shape(sums["number"]))
    if name == "mae":
        return ratio(sums["absolute_error"], count).mean(axis=-1)
    mse = ratio(sums["squared_error"], count)
    if name == "mse":
        return mse.mean(axis=-1)
    variance = ratio(sums["squared_number"], count) - ratio(sums["number"], count) ** 2
    return (1.0 - ratio(mse, np.maximum(variance, 0.0))).mean(axis=-1)
