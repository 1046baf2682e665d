"""Reads the Evaluator's output folder: verdict, metrics, missed thresholds and confidence intervals.

    verdict = read_verdict(evaluation_uri)
    verdict.blessed, verdict.figures["mse/lead_3"], [miss.describe() for miss in verdict.misses]
    intervals = read_intervals(evaluation_uri)
    intervals.figures["mse/lead_3"], intervals.differences["mse"]

TFMA decides whether the candidate is blessed.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow_model_analysis as tfma

from framecast.evaluation.gate import tfma_metrics, thresholds
from framecast.evaluation.metrics import bootstrap, registry
from framecast.evaluation.metrics import spectrum as spectrum_metrics
from framecast.evaluation.metrics.registry import TASKS
from framecast.evaluation.metrics.sums import Sums

OVERALL = "overall"
EVAL_SPLIT = "eval split"

Figures = dict[str, float | None]
Ends = tuple[float, float] | None  # The ends of an interval; None where it is undefined.
Spectra = dict[str, list[list[float | None]]]


@dataclasses.dataclass(frozen=True)
class Miss:
    """A threshold that the candidate missed.

    Args:
        metric: One of the task's metrics; `eval split` if there is no clip to measure.
        lead_time: 1 to horizon, None for all of them.
        slice: `overall`, or `feature: value`.
        value: The measured value, or its increase for a bound against the serving model; None if not finite.
        bound: The expected value.
    """

    metric: str
    lead_time: int | None
    slice: str
    value: float | None
    bound: str

    def describe(self) -> str:
        """Formats the miss in one phrase."""
        lead = "" if self.lead_time is None else f" at lead time {self.lead_time}"
        no_clip = self.metric == EVAL_SPLIT
        where = "" if self.slice == OVERALL else f" ({self.slice})"
        received = f"{self.value:.6g}" if self.value is not None else "none" if no_clip else "no finite number"
        return f"{self.metric}{lead}{where}: expected {self.bound}, received {received}"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The result of evaluating a candidate.

    Args:
        blessed: Whether every threshold was met.
        misses: The missed thresholds.
        figures: The candidate's metrics over the eval split by `registry.key` (`mse`, `mse/lead_3`); None where a
            metric is not finite.
        slices: The same for every slice, named `feature: value`.
        serving: The serving model's metrics over the eval split; empty if the candidate was compared with none.
        spectra: For a forecast, the mean power over the eval split by lead time and band of
            `spectrum_metrics.WAVELENGTHS`, in squares of the pixel range, None where no frame has the band. Keys:
            `truth`, `candidate`, `serving` if there was a serving model, and each reference forecast.
    """

    blessed: bool
    misses: list[Miss]
    figures: Figures
    slices: dict[str, Figures]
    serving: Figures
    spectra: Spectra

    def summary(self, task: str = "forecast") -> str:
        """Formats the outcome and the headline metrics of a task of that kind in one line."""
        count = len(self.misses)
        outcome = "blessed" if self.blessed else f"{count} threshold{'' if count == 1 else 's'} missed"
        figures = [f"{name} {_text(self.figures.get(name))}" for name in TASKS[task].headline]
        if self.serving:
            error = TASKS[task].error
            figures.append(f"serving {error} {_text(self.serving.get(error))}")
        return ", ".join([outcome, *figures])


def read_verdict(evaluation: str) -> Verdict:
    """Reads the verdict of an evaluation.

    Args:
        evaluation: The folder that the Evaluator wrote its results to.

    Raises:
        ValueError: When the folder has no validation result.
    """
    try:
        validation = tfma.load_validation_result(evaluation)
    except AssertionError as error:  # TFMA found no file, or several.
        raise ValueError(f"{evaluation}: expected one validation result, found none or several") from error
    figures: dict[str, dict[str, Figures]] = {}
    pooled: dict[str, Sums] = {}
    for model, where, data in _results(evaluation, tfma_metrics.SUMS):
        sums = Sums.from_json(data)
        figures.setdefault(model, {})[where] = {key: _finite(number) for key, number in sums.figures().items()}
        if where == OVERALL:
            pooled[model] = sums
    candidate = figures.get(thresholds.CANDIDATE, {})
    misses = list(_misses(validation.metric_validations_per_slice))
    # TFMA lists only slices that have a bound.
    for missing in validation.missing_slices:
        parts = [*missing.feature_keys, *(f"{name}: {value}" for name, value in missing.feature_values.items())]
        misses.append(Miss(EVAL_SPLIT, None, ", ".join(parts) or OVERALL, None, "at least one clip"))
    return Verdict(
        blessed=validation.validation_ok,
        misses=misses,
        figures=candidate.get(OVERALL, {}),
        slices={name: candidate[name] for name in sorted(candidate) if name != OVERALL},
        serving=figures.get(thresholds.BASELINE, {}).get(OVERALL, {}),
        spectra=_spectra(pooled),
    )


@dataclasses.dataclass(frozen=True)
class Intervals:
    """95 % confidence intervals from a bootstrap over recordings; see `framecast.evaluation.metrics.bootstrap`.

    Args:
        recordings: Number of resampled groups: the recordings, or at most `bootstrap.GROUPS`.
        figures: Intervals of the candidate's metrics over the eval split, by `registry.key`.
        slices: Intervals of its metrics over all lead times, by slice.
        serving: Intervals of the serving model's metrics.
        differences: Intervals of the candidate's metrics minus the serving model's.
    """

    recordings: int
    figures: dict[str, Ends]
    slices: dict[str, dict[str, Ends]]
    serving: dict[str, Ends]
    differences: dict[str, Ends]


def read_intervals(evaluation: str) -> Intervals:
    """Computes the confidence intervals of an evaluation.

    Args:
        evaluation: The folder that the Evaluator wrote its results to.
    """
    groups: dict[str, dict[str, bootstrap.ByGroup]] = {}
    for model, where, data in _results(evaluation, tfma_metrics.RECORDINGS):
        groups.setdefault(where, {})[model] = bootstrap.decode(data)
    models = groups.pop(OVERALL, {})
    overall = bootstrap.Resamples(models)
    found: dict[str, dict[str, Ends]] = {"figures": {}, "serving": {}, "differences": {}}
    for name, lead_time in overall.metrics(thresholds.CANDIDATE):
        key = registry.key(name, lead_time)
        found["figures"][key] = overall.interval(thresholds.CANDIDATE, name, lead_time)
        if thresholds.BASELINE in models:
            found["serving"][key] = overall.interval(thresholds.BASELINE, name, lead_time)
            found["differences"][key] = overall.difference(thresholds.CANDIDATE, thresholds.BASELINE, name, lead_time)
    slices = {}
    for where in sorted(groups):
        resamples = bootstrap.Resamples({thresholds.CANDIDATE: groups[where].get(thresholds.CANDIDATE, {})})
        slices[where] = {
            name: resamples.interval(thresholds.CANDIDATE, name)
            for name, lead_time in resamples.metrics(thresholds.CANDIDATE)
            if lead_time is None
        }
    return Intervals(recordings=overall.recordings, slices=slices, **found)


def _results(evaluation: str, metric: str) -> Iterator[tuple[str, str, bytes]]:
    """Yields model, slice and value of a metric."""
    for result in tfma.load_metrics(evaluation):
        for value in result.metric_keys_and_values:
            if value.key.name == metric:
                model = value.key.model_name or thresholds.CANDIDATE
                yield model, _slice_name(result.slice_key), value.value.bytes_value


def _spectra(pooled: Mapping[str, Sums]) -> Spectra:
    """Returns `Verdict.spectra` of the candidate and the baseline, if any; empty for tasks without spectra."""
    found: dict[str, Any] = {}
    for model, name in ((thresholds.CANDIDATE, "candidate"), (thresholds.BASELINE, "serving")):
        sums = pooled.get(model, Sums())
        if sums.values and TASKS[sums.task].spectra:
            for field, power in spectrum_metrics.spectra(sums.values).items():
                found.setdefault(field.removeprefix("_") or name, power)
    return {name: [[_finite(value) for value in row] for row in power.tolist()] for name, power in found.items()}


def _misses(validations: Iterable[Any]) -> Iterator[Miss]:
    for validation in validations:
        for failure in validation.failures:
            metric, lead_time = registry.parse_key(failure.metric_key.name)
            measured = failure.HasField("metric_value")
            value = _finite(failure.metric_value.double_value.value) if measured else None
            for bound in _missed_bounds(failure.metric_threshold, value):
                yield Miss(metric, lead_time, _slice_name(validation.slice_key), value, bound)


def _missed_bounds(threshold: Any, value: float | None) -> Iterator[str]:
    if threshold.HasField("change_threshold"):
        yield f"an increase of at most {threshold.change_threshold.absolute.value:g} against the serving model"
        return
    bounds = threshold.value_threshold
    if bounds.HasField("lower_bound") and (value is None or value < bounds.lower_bound.value):
        yield f"at least {bounds.lower_bound.value:g}"
    if bounds.HasField("upper_bound") and (value is None or value > bounds.upper_bound.value):
        largest = bounds.upper_bound.value == thresholds.LARGEST
        yield "a finite number" if largest else f"at most {bounds.upper_bound.value:g}"


def _slice_name(key: Any) -> str:
    parts = []
    for part in key.single_slice_keys:
        value = getattr(part, part.WhichOneof("kind"))
        parts.append(f"{part.column}: {value.decode() if isinstance(value, bytes) else value}")
    return ", ".join(parts) or OVERALL


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _text(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.4g}"
