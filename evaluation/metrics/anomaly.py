"""Metrics of anomaly scores, from histograms over clips. A score of 1 is the model's calibrated threshold."""

from collections.abc import Mapping

import numpy as np

from framecast.evaluation.metrics.ratio import ratio

# Scores are counted in bins of equal ratio, one of whose edges is the threshold: rates at it are exact, and the area
# under ROC is to the width of a bin.
_OCTAVES = 8  # Below and above the threshold; what lies beyond is counted at the ends.
_BINS_AN_OCTAVE = 32
BINS = 2 * _OCTAVES * _BINS_AN_OCTAVE
_THRESHOLD = BINS // 2

LEVELS = ("frame", "clip")

# Of each clip: squared error and pixels of its scored frames (scalars), and `(BINS,)` counts of its normal and its
# anomalous frames, and of itself; a frame without a label is in no histogram.
HISTOGRAMS = tuple(f"{level}_{label}" for level in LEVELS for label in ("normal", "anomalous"))
OUTPUTS = ("pixels", "squared_error", *HISTOGRAMS)

# `roc_auc` is the probability that an anomalous frame (clip) scores above a normal one, ties counted half; rates are
# at the threshold. `mse` is the model's error of the next frame.
NAMES = (
    "mse",
    *(f"{level}_{name}" for level in LEVELS for name in ("roc_auc", "false_alarm_rate", "detection_rate")),
)


def bin_of(log2_score):
    """Returns the bin of a score from its base-2 logarithm, not yet cut to 0 .. BINS - 1; any array with arithmetic."""
    return log2_score * _BINS_AN_OCTAVE + _THRESHOLD


def compute(sums: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Returns one of `NAMES`; nan where there is nothing to compute it from, such as no anomalous frame.

    Args:
        sums: Each of `OUTPUTS`, with any axes in front, which what is returned has.
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

    Empty where there is nothing normal, or nothing anomalous.
    """
    normal, anomalous = np.asarray(sums[f"{level}_normal"]), np.asarray(sums[f"{level}_anomalous"])
    if not normal.sum() or not anomalous.sum():
        return []
    rates = [np.concatenate([[0.0], np.cumsum(counts[::-1]) / counts.sum()]) for counts in (normal, anomalous)]
    # Most bins hold no score: what repeats says nothing.
    return list(dict.fromkeys(zip(*(rate.tolist() for rate in rates))))
