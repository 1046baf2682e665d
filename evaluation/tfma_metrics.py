"""The metrics as TensorFlow Model Analysis wants them: one shared sum, and one derived metric a figure.

TFMA attaches thresholds to a metric's name, so that every figure that may carry one, each lead time among them, is a
metric of its own. All of them derive from one combiner over the `evaluate` signature's output.
"""

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types

from framecast.evaluation import metrics
from framecast.evaluation.names import OUTPUTS, metric_key

_SUMS = "_forecast_sums"  # A leading underscore keeps it out of TFMA's results.


class ForecastMetric(metric_types.Metric):
    """One figure of `framecast.evaluation.metrics`.

    Args:
        metric: Name of the metric.
        lead_time: Lead time, 1 the first forecast frame; over all of them unless given.
        horizon: Lead times of the model.
        name: Set by TFMA when it reads a configuration back; always `metric_key(metric, lead_time)`.
    """

    def __init__(self, metric: str, horizon: int, lead_time: int | None = None, name: str | None = None):
        super().__init__(
            _computations,
            metric=metric,
            horizon=horizon,
            lead_time=lead_time,
            name=name or metric_key(metric, lead_time),
        )


metric_types.register_metric(ForecastMetric)


def _computations(
    metric: str,
    horizon: int,
    lead_time: int | None = None,
    name: str = "",
    model_names: list[str] | None = None,
    **_: Any,
) -> list[Any]:
    computations: list[Any] = []
    for model_name in model_names or [""]:
        sums_key = metric_types.MetricKey(_SUMS, model_name=model_name)
        key = metric_types.MetricKey(name, model_name=model_name)
        computations.append(
            metric_types.MetricComputation(keys=[sums_key], preprocessors=None, combiner=_Sum(sums_key, horizon))
        )

        def result(values: dict[Any, Any], sums_key: Any = sums_key, key: Any = key) -> dict[Any, float]:
            sums = dict(zip(OUTPUTS, values[sums_key], strict=True))
            return {key: metrics.compute(metric, sums, lead_time)}

        computations.append(metric_types.DerivedMetricComputation(keys=[key], result=result))
    return computations


class _Sum(beam.CombineFn):
    """Adds up the `evaluate` signature's output; the result is one array `(output, horizon)`."""

    def __init__(self, key: Any, horizon: int):
        self._key = key
        self._horizon = horizon

    def create_accumulator(self) -> dict[str, np.ndarray]:
        return metrics.zeros(self._horizon)

    def add_input(self, accumulator: dict[str, np.ndarray], element: Any) -> dict[str, np.ndarray]:
        outputs = element.get_predictions(self._key.model_name)
        return metrics.add(accumulator, {name: np.reshape(value, [-1]) for name, value in outputs.items()})

    def merge_accumulators(self, accumulators: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        total = metrics.zeros(self._horizon)
        for accumulator in accumulators:
            total = metrics.add(total, accumulator)
        return total

    def extract_output(self, accumulator: dict[str, np.ndarray]) -> dict[Any, np.ndarray]:
        return {self._key: np.stack([accumulator[name] for name in OUTPUTS])}
