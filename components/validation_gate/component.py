"""ValidationGate: stops the run on data anomalies and on drift, which ExampleValidator alone never does."""

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

DRIFT = "drift.json"  # In the output artifact: what was compared, a list of `SpanDrift`.


class DataAnomaliesError(ValueError):
    """The data break the schema; the message names split, feature and what is wrong."""


class DataDriftError(ValueError):
    """A span lies too far from the one before it; the message names spans, features, divergences and thresholds.

    Args:
        message: For people.
        comparisons: Everything that was compared.
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
    before: Parameter[str] = "",  # noqa: ARG001 - a part of the cache key
    code: Parameter[str] = "",  # noqa: ARG001 - a part of the cache key
) -> None:
    """Raises unless ExampleValidator found nothing in any split, and no span lies too far from the one before it.

    The newest span, and every other that no run has accepted yet, is held against the newest accepted one before it.
    A span that is refused is never what later ones are held against: waiting a day does not make a change normal.

    Args:
        anomalies: ExampleValidator's output.
        gate: Written only when the data passed: downstream components wait for this one. Holds what was compared.
        statistics: StatisticsGen's output with a slice a span, `span_statistics.stats_options`; needed with `spans`.
        spans: JSON list of the spans in the data, lowest first; empty: no drift is looked for.
        kept: Folder where the statistics of accepted spans outlive runs; spans are comparable within a folder.
        drift: JSON of a `DriftSpec`.
        before: Digest of what is kept of earlier spans when the run starts.
        code: Digest of the code behind this component.

    Raises:
        DataAnomaliesError: When the data break the schema.
        DataDriftError: When a span drifted, and `drift` says that this ends the run.
    """
    if found := _anomalies(anomalies):
        raise DataAnomaliesError("\n".join(["the data break the schema:", *found]))
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
            why_not += "; what is kept is of another clip contract or data.train"
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
