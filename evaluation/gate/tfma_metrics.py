"""Adapts the metrics of `framecast.evaluation.metrics` to TensorFlow Model Analysis.

All metrics of a model derive from two combiners, which merge the clips' outputs of the `evaluate` signature: over all
clips, and by recording.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.utils.util import StandardExtracts

from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics import bootstrap, registry
from framecast.evaluation.metrics.sums import Sums

# Names of `ClipSums` and `RecordingSums` in results.
SUMS = "sums"
RECORDINGS = "recordings"

# Output of the `transform_features` signature.
_RECORDING = "recording"


class ClipMetric(metric_types.Metric):
    """A metric of a task, over all lead times or at one.

    Each lead time is a metric, because TFMA attaches thresholds to metric names.

    Args:
        metric: One of `registry.names_of(task, events)`.
        lead_time: 1 to horizon; all of them unless given.
        task: Kind of the task.
        events: Values of the `evaluate.events` section; None if events are not counted.
        name: Name in results; `registry.key(metric, lead_time)` unless given.
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
        registry.check_names([metric], task, empty.events)
        name = name or registry.key(metric, lead_time)
        derive = functools.partial(_compute, metric=metric, lead_time=lead_time)
        super().__init__(functools.partial(_computations, empty, _OVER_ALL, derive), name=name)


class ClipSums(metric_types.Metric):
    """The sums as JSON (`Sums.to_json`), from which every metric can be computed later.

    Args:
        task: Kind of the task.
        events: As for `ClipMetric`.
        name: Name in results.
    """

    def __init__(self, task: str = "forecast", events: dict[str, Any] | None = None, name: str = SUMS):
        super().__init__(functools.partial(_computations, _empty(task, events), _OVER_ALL, Sums.to_json), name=name)


class RecordingSums(metric_types.Metric):
    """The sums by recording as bytes (`bootstrap.encode`), from which confidence intervals are computed later.

    Args:
        task: Kind of the task.
        events: As for `ClipMetric`.
        name: Name in results.
    """

    def __init__(self, task: str = "forecast", events: dict[str, Any] | None = None, name: str = RECORDINGS):
        computations = functools.partial(_computations, _empty(task, events), _BY_RECORDING, bootstrap.encode)
        super().__init__(computations, name=name)


def _empty(task: str, events: dict[str, Any] | None) -> Sums:
    return Sums(task=task, events=EventsSpec.model_validate(events) if events else None)


def _compute(sums: Sums, metric: str, lead_time: int | None) -> float:
    return sums.compute(metric, lead_time)


class _Merging(NamedTuple):
    """A way to merge the sums of clips.

    Args:
        name: Name of the merged value.
        start: Returns the initial value, from the empty sums of the task.
        of_clip: Returns the value of one clip, from its sums and its recording.
        merge: Merges two values.
    """

    name: str
    start: Callable[[Sums], Any]
    of_clip: Callable[[Sums, bytes], Any]
    merge: Callable[[Any, Any], Any]


def _empty_sums(empty: Sums) -> Sums:
    return empty


def _no_recordings(empty: Sums) -> bootstrap.ByGroup:  # noqa: ARG001 - the signature of `start`
    return {}


def _clip_alone(sums: Sums, recording: bytes) -> Sums:  # noqa: ARG001 - the signature of `of_clip`
    return sums


def _clip_of_recording(sums: Sums, recording: bytes) -> bootstrap.ByGroup:
    return {bootstrap.group_of(recording): sums}


# TFMA hides metrics whose name starts with an underscore.
_OVER_ALL = _Merging("_framecast_sums", _empty_sums, _clip_alone, Sums.merge)
_BY_RECORDING = _Merging("_framecast_recordings", _no_recordings, _clip_of_recording, bootstrap.merge)


def _computations(
    empty: Sums,
    merging: _Merging,
    derive: Callable[[Any], Any],
    name: str,
    model_names: list[str] | None = None,
) -> metric_types.MetricComputations:
    computations: metric_types.MetricComputations = []
    for model_name in model_names or [""]:
        merged_key = metric_types.MetricKey(name=merging.name, model_name=model_name)
        key = metric_types.MetricKey(name=name, model_name=model_name)
        computations += [
            metric_types.MetricComputation(
                keys=[merged_key],
                preprocessors=[_OneClip(model_name, empty, merging)],
                combiner=_MergingCombineFn(merged_key, empty, merging),
            ),
            metric_types.DerivedMetricComputation(
                keys=[key], result=functools.partial(_derive, merged_key, key, derive)
            ),
        ]
    return computations


def _derive(
    merged_key: metric_types.MetricKey,
    key: metric_types.MetricKey,
    derive: Callable[[Any], Any],
    results: dict[metric_types.MetricKey, Any],
) -> dict[metric_types.MetricKey, Any]:
    return {key: derive(results[merged_key])}


class _OneClip(metric_types.Preprocessor):
    """Turns one clip's extracts into the value to merge, outside of the combiner, because TFMA hides its errors."""

    def __init__(self, model_name: str, empty: Sums, merging: _Merging):
        super().__init__(name=f"{merging.name}/{model_name}")
        self._model_name = model_name
        self._empty = empty
        self._merging = merging

    def process(self, extracts: dict[str, Any]) -> Iterator[Any]:
        """Yields the value of the clip.

        Raises:
            ValueError: When an output is missing or has the wrong shape; the message names the model and the output.
        """
        of_clip = StandardExtracts(extracts)
        recording = np.ravel(of_clip.get_transformed_features(self._model_name)[_RECORDING])[0]
        try:
            sums = self._empty.update(of_clip.get_predictions(self._model_name))
        except ValueError as error:
            raise ValueError(f"{self._model_name or 'candidate'} model: {error}") from error
        yield self._merging.of_clip(sums, recording)


class _MergingCombineFn(beam.CombineFn):
    """Merges the values of a model's clips."""

    def __init__(self, key: metric_types.MetricKey, empty: Sums, merging: _Merging):
        super().__init__()
        self._key = key
        self._empty = empty
        self._merging = merging

    def create_accumulator(self) -> Any:
        return self._merging.start(self._empty)

    def add_input(self, accumulator: Any, element: Any) -> Any:
        return self._merging.merge(accumulator, element)

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        return functools.reduce(self._merging.merge, accumulators, self.create_accumulator())

    def extract_output(self, accumulator: Any) -> dict[metric_types.MetricKey, Any]:
        return {self._key: accumulator}
