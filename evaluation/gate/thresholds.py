"""Builds the EvalConfig of TFX's Evaluator from the `evaluate` section."""

import collections
import json
import sys
from collections.abc import Iterable
from typing import Any

from google.protobuf import wrappers_pb2
from tensorflow_model_analysis.proto import config_pb2

from framecast.evaluation.gate import tfma_metrics
from framecast.evaluation.metrics.registry import TASKS
from framecast.evaluation.spec import EACH, Bounded, Bounds, EvaluateSpec
from framecast.schemas import features

CANDIDATE = "candidate"
BASELINE = "baseline"

# A bound that only nan and infinity miss.
LARGEST = sys.float_info.max


def build_eval_config(
    spec: EvaluateSpec, *, horizon: int = 0, task: str = "forecast", slices: Iterable[str] = features.SLICES
) -> config_pb2.EvalConfig:
    """Builds the config: sums, sums by recording, the main metrics over all lead times and at each, and bounds.

    TFMA computes a metric by wavelength or of events only if it has a bound, because there are hundreds of them.
    `framecast.evaluation.gate.verdict` computes all of them from the sums.

    The task's error (`TaskMetrics.error`) must always be finite, because a TFX Evaluator without any threshold neither
    blesses nor rejects a candidate.

    Args:
        spec: The configuration's `evaluate` section.
        horizon: Number of lead times of a forecast; 0 for other tasks.
        task: Kind of the task.
        slices: Outputs of the `transform_features` signature by which metrics are sliced, one at a time. Must include
            the slices that `spec` bounds.
    """
    models = [
        config_pb2.ModelSpec(
            name=name,
            is_baseline=name == BASELINE,
            signature_name="evaluate",
            preprocessing_function_names=["transform_features"],
        )
        for name in (CANDIDATE, BASELINE)
    ]
    slicing = [config_pb2.SlicingSpec(), *(config_pb2.SlicingSpec(feature_keys=[feature]) for feature in slices)]
    bounded: dict[tuple[str, int | None], list[Bounded]] = collections.defaultdict(list)
    for bound in spec.bounded():
        for lead_time in range(1, horizon + 1) if bound.bounds.per_lead_time else [None]:
            bounded[bound.metric, lead_time].append(bound)
    always = [(name, lead_time) for lead_time in (None, *range(1, horizon + 1)) for name in TASKS[task].names]
    counted = {"task": task, "events": spec.events.model_dump(mode="json") if spec.events else None}
    configs = [
        _config(tfma_metrics.ClipSums, counted),
        _config(tfma_metrics.RecordingSums, counted),
        *(
            _metric_config(name, lead_time, bounded.get((name, lead_time), []), counted)
            for name, lead_time in dict.fromkeys([*always, *bounded])
        ),
    ]
    return config_pb2.EvalConfig(
        model_specs=models, slicing_specs=slicing, metrics_specs=[config_pb2.MetricsSpec(metrics=configs)]
    )


def _config(metric: type, arguments: dict[str, Any]) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(
        module=tfma_metrics.__name__, class_name=metric.__name__, config=json.dumps(arguments)
    )


def _metric_config(
    name: str, lead_time: int | None, bounded: Iterable[Bounded], counted: dict[str, Any]
) -> config_pb2.MetricConfig:
    """Returns the config of a metric with its bounds, and a bound that makes the task's error finite."""
    config = _config(tfma_metrics.ClipMetric, {"metric": name, "lead_time": lead_time, **counted})
    overall = config_pb2.MetricThreshold()
    for _, bounds, feature, value in bounded:
        if feature is None:
            overall.MergeFrom(_threshold(bounds))
        else:
            config.per_slice_thresholds.add(slicing_specs=[_slicing(feature, value)], threshold=_threshold(bounds))
    error = TASKS[counted["task"]].error
    if name == error and lead_time is None and not overall.value_threshold.HasField("upper_bound"):
        overall.value_threshold.upper_bound.value = LARGEST
    if overall.ByteSize():
        # An empty spec is the overall slice; `MetricConfig.threshold` would apply to every slice.
        config.per_slice_thresholds.add(slicing_specs=[config_pb2.SlicingSpec()], threshold=overall)
    return config


def _slicing(feature: str, value: str) -> config_pb2.SlicingSpec:
    if value == EACH:
        return config_pb2.SlicingSpec(feature_keys=[feature])
    return config_pb2.SlicingSpec(feature_values={feature: value})


def _threshold(bounds: Bounds) -> config_pb2.MetricThreshold:
    threshold = config_pb2.MetricThreshold()
    if bounds.min is not None:
        threshold.value_threshold.lower_bound.CopyFrom(wrappers_pb2.DoubleValue(value=bounds.min))
    if bounds.max is not None:
        threshold.value_threshold.upper_bound.CopyFrom(wrappers_pb2.DoubleValue(value=bounds.max))
    if bounds.max_increase_vs_serving is not None:
        # A difference equal to `absolute` passes.
        threshold.change_threshold.direction = config_pb2.MetricDirection.LOWER_IS_BETTER
        threshold.change_threshold.absolute.CopyFrom(wrappers_pb2.DoubleValue(value=bounds.max_increase_vs_serving))
    return threshold
