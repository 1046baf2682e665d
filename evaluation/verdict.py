"""What the Evaluator found: figures by slice, and every threshold that was missed."""

import dataclasses
from typing import Any

import tensorflow_model_analysis as tfma

from framecast.evaluation.names import metric_key, split_key
from framecast.evaluation.thresholds import CANDIDATE

_OVERALL = "all clips"


@dataclasses.dataclass(frozen=True)
class Miss:
    """A threshold that a candidate did not reach.

    Args:
        metric: Name of the metric.
        lead_time: Lead time, None over all of them.
        slice: Which clips.
        value: What the candidate reached; for bounds against the serving model, the difference to it.
        bound: What was asked for.
    """

    metric: str
    lead_time: int | None
    slice: str
    value: float
    bound: str

    def describe(self) -> str:
        """Returns one sentence."""
        return f"{metric_key(self.metric, self.lead_time)} over {self.slice}: expected {self.bound}, received {self.value:.6g}"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Outcome of an evaluation.

    Args:
        blessed: Whether every threshold was reached.
        misses: Those that were not.
        figures: Metric key to value, over all clips.
        slices: Slice to the same.
    """

    blessed: bool
    misses: list[Miss]
    figures: dict[str, float]
    slices: dict[str, dict[str, float]]

    def summary(self) -> str:
        """Returns a few words for the screen."""
        word = "blessed" if self.blessed else "not blessed"
        return f"{word}, MSE {self.figures['mse']:.5f}, skill {self.figures['skill']:.3f}"


def read_verdict(evaluation: str) -> Verdict:
    """Reads what TFX's Evaluator wrote to an evaluation artifact.

    Args:
        evaluation: Folder of the artifact.
    """
    validation = tfma.load_validation_result(evaluation)
    misses = [
        _miss(failure, _slice_name(part.slice_key.single_slice_keys))
        for part in validation.metric_validations_per_slice
        for failure in part.failures
    ]
    for missing in validation.missing_slices:
        misses.append(Miss("every metric", None, str(missing), float("nan"), "the slice to have clips"))
    slices = {
        _slice_name(metrics.slice_key.single_slice_keys): {
            item.key.name: item.value.double_value.value
            for item in metrics.metric_keys_and_values
            if item.key.model_name in ("", CANDIDATE) and not item.key.is_diff
        }
        for metrics in tfma.load_metrics(evaluation)
    }
    return Verdict(validation.validation_ok, misses, slices.pop(_OVERALL), slices)


def _miss(failure: Any, where: str) -> Miss:
    metric, lead_time = split_key(failure.metric_key.name)
    threshold = failure.metric_threshold
    if threshold.HasField("change_threshold"):
        bound = f"at most {threshold.change_threshold.absolute.value:g} above the serving model"
    else:
        bounds = threshold.value_threshold
        parts = [f"at least {bounds.lower_bound.value:g}"] if bounds.HasField("lower_bound") else []
        parts += [f"at most {bounds.upper_bound.value:g}"] if bounds.HasField("upper_bound") else []
        bound = " and ".join(parts)
    return Miss(metric, lead_time, where, failure.metric_value.double_value.value, bound)


def _slice_name(keys: Any) -> str:
    parts = []
    for key in keys:
        kind = key.WhichOneof("kind")
        value = getattr(key, kind)
        parts.append(f"{key.column} {value.decode() if isinstance(value, bytes) else value}")
    return ", ".join(parts) or _OVERALL
