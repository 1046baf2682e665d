"""Metrics of forecast events, from counts over clips by lead time and threshold; see `evaluation.sums.events`.

The model and every reference forecast have the same metrics: `csi_2`, `csi_2_persistence`, `fss_2_5px`,
`fss_2_5px_persistence`, each at the threshold 2, FSS in windows of 5x5 pixels.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics.forecast import FORECASTS
from framecast.evaluation.metrics.ratio import ratio

# Of a threshold, by lead time: pixels where an event was forecast and came, came only, was forecast only, neither.
COUNTS = ("hits", "misses", "false_alarms", "correct_negatives")

# Of a threshold and a scale, by lead time: the sums of `(Pf - Po)**2` and of `Pf**2 + Po**2` over windows whose share
# of events is Pf in the forecast and Po in the truth.
FRACTIONS = ("fss_error", "fss_worst")

SCORES = ("csi", "pod", "far", "bias", "hss", "gss")
FAMILIES = (*SCORES, "fss")


class EventMetric(NamedTuple):
    """What a metric's name stands for.

    Args:
        score: One of `FAMILIES`.
        forecast: One of `FORECASTS`.
        threshold: Place in `EventsSpec.thresholds`.
        scale: Place in `EventsSpec.scales`, of `fss`.
    """

    score: str
    forecast: str
    threshold: int
    scale: int = 0


def outputs(thresholds: int, scales: int) -> dict[str, tuple[int, ...]]:
    """Returns the outputs of the `evaluate` signature, and their axes after batch and horizon.

    Args:
        thresholds: How many there are.
        scales: The same.
    """
    return {
        **{f"{name}{forecast}": (thresholds,) for forecast in FORECASTS for name in COUNTS},
        **{f"{name}{forecast}": (thresholds, scales) for forecast in FORECASTS for name in FRACTIONS},
    }


@functools.cache
def names(events: EventsSpec) -> dict[str, EventMetric]:
    """Returns the metrics by name."""
    found = {}
    for forecast in FORECASTS:
        for place, threshold in enumerate(events.thresholds):
            for score in SCORES:
                found[f"{score}_{threshold:g}{forecast}"] = EventMetric(score, forecast, place)
            for number, scale in enumerate(events.scales):
                found[f"fss_{threshold:g}_{scale}px{forecast}"] = EventMetric("fss", forecast, place, number)
    return found


def compute(sums: Mapping[str, np.ndarray], events: EventsSpec, name: str) -> np.ndarray:
    """Returns one of `names`; nan where it is undefined, such as POD when nothing came.

    Args:
        sums: For each of `outputs`, `(..., lead time, threshold)` or `(..., lead time, threshold, scale)`: those that
            are pooled. What is returned has the axes in front.
        events: What was counted.
        name: The metric.
    """
    metric = names(events)[name]
    if metric.score == "fss":
        error, worst = (
            sums[f"{part}{metric.forecast}"][..., metric.threshold, metric.scale].sum(-1) for part in FRACTIONS
        )
        return fss(error, worst)
    counts = (sums[f"{part}{metric.forecast}"][..., metric.threshold].sum(-1) for part in COUNTS)
    return contingency_score(metric.score, *counts)


def contingency_score(
    name: str,
    hits: npt.ArrayLike,
    misses: npt.ArrayLike,
    false_alarms: npt.ArrayLike,
    correct_negatives: npt.ArrayLike,
) -> np.ndarray:
    """Returns a score of a contingency table (Jolliffe and Stephenson 2012, Forecast Verification, chapter 3).

    CSI, the critical success index, POD, the probability of detection, and FAR, the false alarm ratio, are shares; BIAS
    is the frequency bias, 1 when as many events are forecast as come; HSS, the Heidke skill score, and GSS, the Gilbert
    skill score (equitable threat score), are 0 for a forecast by chance and 1 for a perfect one.

    Args:
        name: One of `SCORES`.
        hits: Events that were forecast; a number, or an array of the shape of the others.
        misses: Events that were not.
        false_alarms: Forecast events that did not come.
        correct_negatives: Neither forecast nor came.

    Returns:
        The score, of the counts' shape; nan where its denominator is 0.
    """
    hits, misses, false_alarms, correct_negatives = (
        np.asarray(count, np.float64) for count in (hits, misses, false_alarms, correct_negatives)
    )
    came, forecast, count = hits + misses, hits + false_alarms, hits + misses + false_alarms + correct_negatives
    if name == "csi":
        return ratio(hits, hits + misses + false_alarms)
    if name == "pod":
        return ratio(hits, came)
    if name == "far":
        return ratio(false_alarms, forecast)
    if name == "bias":
        return ratio(forecast, came)
    if name == "hss":
        return ratio(
            2 * (hits * correct_negatives - false_alarms * misses),
            came * (misses + correct_negatives) + forecast * (false_alarms + correct_negatives),
        )
    by_chance = ratio(came * forecast, count)
    return ratio(hits - by_chance, hits + misses + false_alarms - by_chance)


def fss(error: npt.ArrayLike, worst: npt.ArrayLike) -> np.ndarray:
    """Returns the fractions skill score `1 - sum((Pf - Po)**2) / sum(Pf**2 + Po**2)` (Roberts and Lean 2008).

    1 for a perfect forecast, 0 where no window has events in both; nan when there is no event in either.
    """
    return 1 - ratio(error, worst)
