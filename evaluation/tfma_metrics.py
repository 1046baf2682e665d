"""The metrics of `framecast.evaluation.metrics` for TensorFlow Model Analysis.

All of them derive from one combiner a model, which merges what the `evaluate` signature returns for each clip.
"""

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.utils.util import StandardExtracts

from framecast.evaluation import metrics
from framecast.evaluation.metrics import Sums

# TFMA leaves metrics whose name starts with one underscore out of its results.
_SUMS = "_framecast_sums"


class ClipMetric(metric_types.Metric):
    """A metric of a task; of a forecast over all lead times, or at one: TFMA attaches thresholds to a metric's name.

    Args:
        metric: One of `metrics.NAMES_BY_TASK[task]`.
        lead_time: 1 to horizon; over all of them unless given.
        task: Kind of the task.
        name: Name in results: `metrics.key(metric, lead_time)` unless given.
    """

    def __init__(self, metric: str, lead_time: int | None = None, task: str = "forecast", name: str | None = None):
        metrics.check_names([metric], task)
        name = name or metrics.key(metric, lead_time)
        super().__init__(_computations, metric=metric, lead_time=lead_time, task=task, name=name)


def _computations(
    metric: str, lead_time: int | None, task: str, name: str, model_names: list[str] | None = None
) -> metric_types.MetricComputations:
    computations: metric_types.MetricComputations = []
    for model_name in model_names or [""]:
        sums_key = metric_types.MetricKey(name=_SUMS, model_name=model_name)
        key = metric_types.MetricKey(name=name, model_name=model_name)
        derive = functools.partial(_derive, sums_key, key, metric, lead_time)
        computations += [
            metric_types.MetricComputation(
                keys=[sums_key], preprocessors=[_ClipSums(model_name, task)], combiner=_SumsCombineFn(sums_key, task)
            ),
            metric_types.DerivedMetricComputation(keys=[key], result=derive),
        ]
    return computations


def _derive(
    sums_key: metric_types.MetricKey,
    key: metric_types.MetricKey,
    metric: str,
    lead_time: int | None,
    results: dict[metric_types.MetricKey, Any],
) -> dict[metric_types.MetricKey, float]:
    return {key: results[sums_key].compute(metric, lead_time)}


class _ClipSums(metric_types.Preprocessor):
    """One clip's extracts to its `metrics.Sums`, here rather than in the combiner: TFMA hides a combiner's errors."""

    def __init__(self, model_name: str, task: str):
        super().__init__(name=f"{_SUMS}/{model_name}")
        self._model_name = model_name
        self._task = task

    def process(self, extracts: dict[str, Any]) -> Iterator[Sums]:
        """Yields the clip's sums.

        Raises:
            ValueError: Naming the model and the output that it lacks.
        """
        try:
            yield Sums(task=self._task).update(StandardExtracts(extracts).get_predictions(self._model_name))
        except ValueError as error:
            raise ValueError(f"{self._model_name or 'candidate'} model: {error}") from error


class _SumsCombineFn(beam.CombineFn):
    """Merges `metrics.Sums` of one model."""

    def __init__(self, key: metric_types.MetricKey, task: str):
        super().__init__()
        self._key = key
        self._task = task

    def create_accumulator(self) -> Sums:
        return Sums(task=self._task)

    def add_input(self, accumulator: Sums, element: Sums) -> Sums:
        return accumulator.merge(element)

    def merge_accumulators(self, accumulators: Iterable[Sums]) -> Sums:
        return functools.reduce(Sums.merge, accumulators, self.create_accumulator())

    def extract_output(self, accumulator: Sums) -> dict[metric_types.MetricKey, Sums]:
        return {self._key: accumulator}
