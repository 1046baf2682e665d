"""The metrics of `framecast.evaluation.metrics` for TensorFlow Model Analysis.

All of them derive from one combiner a model, which merges what the `evaluate` signature returns for each clip.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.utils.util import StandardExtracts

from framecast.evaluation import metrics
from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics import Sums

# Name of `ClipSums` in results.
SUMS = "sums"

# TFMA leaves metrics whose name starts with one underscore out of its results.
_SUMS = "_framecast_sums"


class ClipMetric(metric_types.Metric):
    """A metric of a task; of a forecast over all lead times, or at one: TFMA attaches thresholds to a metric's name.

    Args:
        metric: One of `metrics.names_of(task, events)`.
        lead_time: 1 to horizon; over all of them unless given.
        task: Kind of the task.
        events: Values of the `evaluate.events` section; None when no events are counted.
        name: Name in results: `metrics.key(metric, lead_time)` unless given.
    """

    def __init__(
        self,
        metric: str,
        lead_time: int | None = None,
        task: str = "forecast",
        events: dict[str, Any] | None = None,
        name: str | None = None,
    ):
        empty = _empty(task, events)
        metrics.check_names([metric], task, empty.events)
        name = name or metrics.key(metric, lead_time)
        derive = functools.partial(_compute, metric=metric, lead_time=lead_time)
        super().__init__(functools.partial(_computations, empty, derive), name=name)


class ClipSums(metric_types.Metric):
    """The sums themselves, as `metrics.Sums.to_json` writes them: every metric can be computed from them later.

    Args:
        task: Kind of the task.
        events: As for `ClipMetric`.
        name: Name in results.
    """

    def __init__(self, task: str = "forecast", events: dict[str, Any] | None = None, name: str = SUMS):
        super().__init__(functools.partial(_computations, _empty(task, events), Sums.to_json), name=name)


def _empty(task: str, events: dict[str, Any] | None) -> Sums:
    return Sums(task=task, events=EventsSpec.model_validate(events) if events else None)


def _compute(sums: Sums, metric: str, lead_time: int | None) -> float:
    return sums.compute(metric, lead_time)


def _computations(
    empty: Sums, derive: Callable[[Sums], Any], name: str, model_names: list[str] | None = None
) -> metric_types.MetricComputations:
    computations: metric_types.MetricComputations = []
    for model_name in model_names or [""]:
        sums_key = metric_types.MetricKey(name=_SUMS, model_name=model_name)
        key = metric_types.MetricKey(name=name, model_name=model_name)
        computations += [
            metric_types.MetricComputation(
                keys=[sums_key],
                preprocessors=[_OneClip(model_name, empty)],
                combiner=_SumsCombineFn(sums_key, empty),
            ),
            metric_types.DerivedMetricComputation(keys=[key], result=functools.partial(_derive, sums_key, key, derive)),
        ]
    return computations


def _derive(
    sums_key: metric_types.MetricKey,
    key: metric_types.MetricKey,
    derive: Callable[[Sums], Any],
    results: dict[metric_types.MetricKey, Any],
) -> dict[metric_types.MetricKey, Any]:
    return {key: derive(results[sums_key])}


class _OneClip(metric_types.Preprocessor):
    """One clip's extracts to its `metrics.Sums`, here rather than in the combiner: TFMA hides a combiner's errors."""

    def __init__(self, model_name: str, empty: Sums):
        super().__init__(name=f"{_SUMS}/{model_name}")
        self._model_name = model_name
        self._empty = empty

    def process(self, extracts: dict[str, Any]) -> Iterator[Sums]:
        """Yields the clip's sums.

        Raises:
            ValueError: Naming the model and the output that it lacks.
        """
        try:
            yield self._empty.update(StandardExtracts(extracts).get_predictions(self._model_name))
        except ValueError as error:
            raise ValueError(f"{self._model_name or 'candidate'} model: {error}") from error


class _SumsCombineFn(beam.CombineFn):
    """Merges `metrics.Sums` of one model."""

    def __init__(self, key: metric_types.MetricKey, empty: Sums):
        super().__init__()
        self._key = key
        self._empty = empty

    def create_accumulator(self) -> Sums:
        return self._empty

    def add_input(self, accumulator: Sums, element: Sums) -> Sums:
        return accumulator.merge(element)

    def merge_accumulators(self, accumulators: Iterable[Sums]) -> Sums:
        return functools.reduce(Sums.merge, accumulators, self.create_accumulator())

    def extract_output(self, accumulator: Sums) -> dict[metric_types.MetricKey, Sums]:
        return {self._key: accumulator}
