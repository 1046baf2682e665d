"""Ends the run on data anomalies and on drift, because ExampleValidator only reports them."""

import dataclasses
import json
import os

from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.experimental import simple_artifacts

from framecast.components.validation_gate import span_statistics
from framecast.components.validation_gate.drift import SpanDrift, compare
from framecast.components.validation_gate.drift_spec import DriftSpec

DRIFT = "drift.json"  # In the output artifact: a list of `SpanDrift`.


class DataAnomaliesError(ValueError):
    """The data violate the schema; the message names split, feature and anomaly."""


class DataDriftError(ValueError):
    """A span drifted from an earlier one; the message names spans, features, divergences and thresholds.

    Args:
        message: The message.
        comparisons: All comparisons, also those below the thresholds.
    """

    def __init__(self, message: str, comparisons: list[SpanDrift]):
        super().__init__(message)
        self.comparisons = comparisons


@component
def ValidationGate(
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    gate: OutputArtifact[simple_artifacts.File],
    statistics: InputArtifact[standard_artifacts.ExampleStatistics] = None,
    spans: Parameter[str] = "[]",
    kept: Parameter[str] = "",
    drift: Parameter[str] = "{}",
    before: Parameter[str] = "",  # noqa: ARG001 - part of the cache key
    code: Parameter[str] = "",  # noqa: ARG001 - part of the cache key
) -> None:
    """Raises if ExampleValidator found anomalies in a split, or if a span drifted from the span before it.

    Compares the newest span, and every other span that no run has accepted yet, with the newest accepted span before
    it. Later spans are never compared with a rejected span, because a change does not become normal by waiting a day.

    Args:
        anomalies: ExampleValidator's output.
        gate: The comparisons; written only if the data passed, because downstream components wait for it.
        statistics: StatisticsGen's output with a slice per span (`span_statistics.stats_options`); required with
            `spans`.
        spans: JSON list of the spans in the data, lowest first; if empty, drift is not checked.
        kept: Folder that keeps the statistics of accepted spans between runs; spans in one folder are comparable.
        drift: JSON of a `DriftSpec`.
        before: Digest of the statistics kept of earlier spans when the run starts.
        code: Digest of the component's code.

    Raises:
        DataAnomaliesError: If the data violate the schema.
        DataDriftError: If a span drifted and `drift.action` is `fail`.
    """
    if found := _anomalies(anomalies):
        raise DataAnomaliesError("\n".join(["the data violate the schema:", *found]))
    spec = DriftSpec.model_validate_json(drift)
    comparisons = []
    if numbers := json.loads(spans):
        comparisons = _compare_spans(numbers, span_statistics.read_slices(statistics), kept, spec)
    drifted = [comparison for comparison in comparisons if comparison.drifted]
    if drifted and spec.action == "fail":
        raise DataDriftError(_explain(drifted), comparisons)
    fileio.makedirs(gate.uri)
    with fileio.open(os.path.join(gate.uri, DRIFT), "w") as file:
        file.write(json.dumps([dataclasses.asdict(comparison) for comparison in comparisons], indent=1) + "\n")


def _anomalies(anomalies: standard_artifacts.ExampleAnomalies) -> list[str]:
    found = []
    for split in artifact_utils.decode_split_names(anomalies.split_names):
        path = os.path.join(artifact_utils.get_split_uri([anomalies], split), "SchemaDiff.pb")
        proto = anomalies_pb2.Anomalies()
        with fileio.open(path, "rb") as file:
            proto.ParseFromString(file.read())
        if proto.HasField("dataset_anomaly_info"):
            found.append(f"split {split}: {proto.dataset_anomaly_info.description}")
        for feature in sorted(proto.anomaly_info):
            found.append(f"split {split}, feature {feature}: {proto.anomaly_info[feature].description}")
    return found


def _compare_spans(
    spans: list[int], statistics: dict[int, statistics_pb2.DatasetFeatureStatistics], kept: str, spec: DriftSpec
) -> list[SpanDrift]:
    comparisons = []
    for span in spans:
        accepted = span_statistics.kept_spans(kept)
        if span in accepted and span != spans[-1]:
            continue
        comparison = _compare_span(span, statistics.get(span), kept, spec)
        comparisons.append(comparison)
        if span in statistics and (spec.action == "warn" or not comparison.drifted):
            span_statistics.keep(kept, span, statistics[span])
    return comparisons


def _compare_span(
    span: int, statistics: statistics_pb2.DatasetFeatureStatistics | None, kept: str, spec: DriftSpec
) -> SpanDrift:
    if statistics is None:
        return SpanDrift(span, why_not="no clips in the train split, nothing to compare")
    earlier = [number for number in span_statistics.kept_spans(kept) if number < span]
    if not earlier:
        why_not = "first span, nothing to compare with"
        if span_statistics.others_kept(kept):
            why_not += "; the statistics kept are for another clip contract or data.train"
        return SpanDrift(span, statistics.num_examples, why_not=why_not)
    before = span_statistics.read_kept(kept, earlier[-1])
    return SpanDrift(
        span,
        statistics.num_examples,
        earlier[-1],
        before.num_examples,
        divergences=compare(statistics, before, spec.thresholds),
        thresholds=spec.thresholds,
    )


def _explain(drifted: list[SpanDrift]) -> str:
    lines = ["the data drifted (--set data.drift.action=warn accepts them):"]
    for comparison in drifted:
        clips = f"{comparison.clips} clips, {comparison.clips_before} before"
        for name in comparison.drifted:
            expected = f"expected a divergence of at most {comparison.thresholds[name]:g} from span {comparison.before}"
            received = f"received {comparison.divergences[name]:.2g} ({clips})"
            lines.append(f"span {comparison.span}, feature {name}: {expected}, {received}")
    return "\n".join(lines)
