"""Computes metrics of anomaly scores from histograms over clips. The calibrated threshold is a score of 1."""

from collections.abc import Mapping

import numpy as np

from framecast.evaluation.metrics.ratio import ratio

# Scores are counted in bins of equal ratio. The threshold is the edge of a bin, so that rates at it are exact; the area
# under ROC is exact to the width of a bin.
_OCTAVES = 8  # Below and above the threshold; scores beyond are counted in the first and last bin.
_BINS_AN_OCTAVE = 32
BINS = 2 * _OCTAVES * _BINS_AN_OCTAVE
_THRESHOLD = BINS // 2

LEVELS = ("frame", "clip")

# For each clip: squared error and pixels of its scored frames (scalars), and histograms `(BINS,)` of its normal frames,
# its anomalous frames and the clip itself. A frame without a label is in no histogram.
HISTOGRAMS = tuple(f"{level}_{label}" for level in LEVELS for label in ("normal", "anomalous"))
OUTPUTS = ("pixels", "squared_error", *HISTOGRAMS)

# `roc_auc` is the probability that an anomalous frame (clip) scores above a normal one, ties counted half. Rates are at
# the threshold. `mse` is the squared error of the forecast of the next frame.
NAMES = (
    "mse",
    *(f"{level}_{name}" for level in LEVELS for name in ("roc_auc", "false_alarm_rate", "detection_rate")),
)


def bin_of(log2_score):
    """Returns the bin of a score from its base-2 logarithm, unrounded and not clipped to 0 .. BINS - 1.

    Args:
        log2_score: A number, NumPy array or tensor.
    """
    return log2_score * _BINS_AN_OCTAVE + _THRESHOLD


def compute(sums: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Returns one of `NAMES`; nan where it is undefined, such as without any anomalous frame.

    Args:
        sums: For each of `OUTPUTS`, its sum over clips. Axes in front are kept.
        name: The metric.
    """
    if name == "mse":
        return ratio(sums["squared_error"], sums["pixels"])
    level, _, metric = name.partition("_")
    normal, anomalous = sums[f"{level}_normal"], sums[f"{level}_anomalous"]
    if metric == "roc_auc":
        below = np.cumsum(normal, axis=-1) - normal / 2
        return ratio((anomalous * below).sum(-1), normal.sum(-1) * anomalous.sum(-1))
    counts = normal if metric == "false_alarm_rate" else anomalous
    return ratio(counts[..., _THRESHOLD:].sum(-1), counts.sum(-1))


def roc(sums: Mapping[str, np.ndarray], level: str) -> list[tuple[float, float]]:
    """Returns the ROC of a level as `(false alarm rate, detection rate)`, from the highest threshold to the lowest.

    Empty without normal or without anomalous frames (clips).
    """
    normal, anomalous = np.asarray(sums[f"{level}_normal"]), np.asarray(sums[f"{level}_anomalous"])
    if not normal.sum() or not anomalous.sum():
        return []
    rates = [np.concatenate([[0.0], np.cumsum(counts[::-1]) / counts.sum()]) for counts in (normal, anomalous)]
    # Empty bins repeat a point.
    return list(dict.fromkeys(zip(*(rate.tolist() for rate in rates))))
