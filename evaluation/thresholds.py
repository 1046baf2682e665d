"""The configuration's thresholds as TFMA's EvalConfig: TFMA's own verdict decides the blessing."""

import json

from tensorflow_model_analysis.proto import config_pb2

from framecast.evaluation import tfma_metrics
from framecast.evaluation.names import METRICS, metric_key
from framecast.evaluation.spec import EvaluateSpec, Threshold

CANDIDATE = "candidate"
SERVING = "serving"
# Facts of the raw clip, as the `transform_features` signature returns them.
_SLICES = ("content", "length")
# A model that answers NaN is never blessed, whatever the configuration asks for.
_FINITE = 1e30


def build_eval_config(spec: EvaluateSpec, *, horizon: int) -> config_pb2.EvalConfig:
    """Returns the evaluation of a candidate against thresholds and, where one is serving, against the serving model.

    Every metric is computed over all lead times and at each of them, over all clips and for each slice. Thresholds hold
    over all clips.

    Args:
        spec: Thresholds by metric name.
        horizon: Lead times of the model.
    """
    config = config_pb2.EvalConfig()
    for name in (CANDIDATE, SERVING):
        config.model_specs.add(
            name=name,
            signature_name="evaluate",
            preprocessing_function_names=["transform_features"],
            is_baseline=name == SERVING,
        )
    config.slicing_specs.add()
    for feature in _SLICES:
        config.slicing_specs.add(feature_keys=[feature])
    metrics_spec = config.metrics_specs.add(model_names=[CANDIDATE, SERVING])
    for metric in METRICS:
        threshold = spec.thresholds.get(metric)
        for lead_time in (None, *range(1, horizon + 1)):
            entry = metrics_spec.metrics.add(
                class_name=tfma_metrics.ForecastMetric.__name__,
                module=tfma_metrics.__name__,
                config=json.dumps(
                    {
                        "name": metric_key(metric, lead_time),
                        "metric": metric,
                        "lead_time": lead_time,
                        "horizon": horizon,
                    }
                ),
            )
            if threshold is not None and threshold.per_lead_time == (lead_time is not None):
                _attach(entry, threshold)
            elif metric == "mse" and lead_time is None:
                _attach(entry, Threshold(max=_FINITE))
    return config


def _attach(entry: config_pb2.MetricConfig, threshold: Threshold) -> None:
    overall = entry.per_slice_thresholds.add(slicing_specs=[config_pb2.SlicingSpec()])
    if threshold.min is not None:
        overall.threshold.value_threshold.lower_bound.value = threshold.min
    if threshold.max is not None:
        overall.threshold.value_threshold.upper_bound.value = threshold.max
    if threshold.max_increase_vs_serving is not None:
        change = overall.threshold.change_threshold
        change.direction = config_pb2.MetricDirection.LOWER_IS_BETTER
        change.absolute.value = threshold.max_increase_vs_serving
