"""Computes metrics of forecast events from counts by lead time and threshold, see `framecast.evaluation.sums.events`.

The model and every reference forecast have the same metrics. At the threshold 2, with windows of 5x5 pixels for FSS:
`csi_2`, `csi_2_persistence`, `fss_2_5px`, `fss_2_5px_persistence`.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics.forecast import FORECASTS
from framecast.evaluation.metrics.ratio import ratio

# Pixels by threshold and lead time: event forecast and observed, observed only, forecast only, neither.
COUNTS = ("hits", "misses", "false_alarms", "correct_negatives")

# By threshold, scale and lead time: the sums of `(Pf - Po)**2` and of `Pf**2 + Po**2` over windows, where Pf and Po are
# the shares of event pixels in the forecast and in the truth.
FRACTIONS = ("fss_error", "fss_worst")

SCORES = ("csi", "pod", "far", "bias", "hss", "gss")
FAMILIES = (*SCORES, "fss")


class EventMetric(NamedTuple):
    """The parts of a metric's name.

    Args:
        score: One of `FAMILIES`.
        forecast: One of `FORECASTS`.
        threshold: Index in `EventsSpec.thresholds`.
        scale: Index in `EventsSpec.scales`, for `fss`.
    """

    score: str
    forecast: str
    threshold: int
    scale: int = 0


def outputs(thresholds: int, scales: int) -> dict[str, tuple[int, ...]]:
    """Returns the outputs of the `evaluate` signature and their axes after batch and horizon.

    Args:
        thresholds: Number of thresholds.
        scales: Number of scales.
    """
    return {
        **{f"{name}{forecast}": (thresholds,) for forecast in FORECASTS for name in COUNTS},
        **{f"{name}{forecast}": (thresholds, scales) for forecast in FORECASTS for name in FRACTIONS},
    }


@functools.cache
def names(events: EventsSpec) -> dict[str, EventMetric]:
    """Returns the metrics of events and the parts of their names."""
    found = {}
    for forecast in FORECASTS:
        for place, threshold in enumerate(events.thresholds):
            for score in SCORES:
                found[f"{score}_{threshold:g}{forecast}"] = EventMetric(score, forecast, place)
            for number, scale in enumerate(events.scales):
                found[f"fss_{threshold:g}_{scale}px{forecast}"] = EventMetric("fss", forecast, place, number)
    return found


def compute(sums: Mapping[str, np.ndarray], events: EventsSpec, name: str) -> np.ndarray:
    """Returns one of `names`; nan where it is undefined, such as POD without observed events.

    Args:
        sums: For each of `outputs`, `(..., lead time, threshold)` or `(..., lead time, threshold, scale)`. Lead times
            are pooled, axes in front are kept.
        events: The events that were counted.
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

    CSI (critical success index), POD (probability of detection) and FAR (false alarm ratio) are shares. BIAS is the
    frequency bias, 1 when as many events are forecast as observed. HSS (Heidke skill score) and GSS (Gilbert skill
    score, or equitable threat score) are 0 for a random forecast and 1 for a perfect one.

    Args:
        name: One of `SCORES`.
        hits: Events forecast and observed; a number, or an array of the shape of the others.
        misses: Events observed, not forecast.
        false_alarms: Events forecast, not observed.
        correct_negatives: Events neither forecast nor observed.

    Returns:
        The score, in the shape of the counts; nan where its denominator is 0.
    """
    hits, misses, false_alarms, correct_negatives = (
        np.asarray(count, np.float64) for count in (hits, misses, false_alarms, correct_negatives)
    )
    observed, forecast, count = hits + misses, hits + false_alarms, hits + misses + false_alarms + correct_negatives
    if name == "csi":
        return ratio(hits, hits + misses + false_alarms)
    if name == "pod":
        return ratio(hits, observed)
    if name == "far":
        return ratio(false_alarms, forecast)
    if name == "bias":
        return ratio(forecast, observed)
    if name == "hss":
        return ratio(
            2 * (hits * correct_negatives - false_alarms * misses),
            observed * (misses + correct_negatives) + forecast * (false_alarms + correct_negatives),
        )
    by_chance = ratio(observed * forecast, count)
    return ratio(hits - by_chance, hits + misses + false_alarms - by_chance)


def fss(error: npt.ArrayLike, worst: npt.ArrayLike) -> np.ndarray:
    """Returns the fractions skill score `1 - sum((Pf - Po)**2) / sum(Pf**2 + Po**2)` (Roberts and Lean 2008).

    1 for a perfect forecast, 0 when no window has events in both, nan when neither has any event.
    """
    return 1 - ratio(error, worst)
