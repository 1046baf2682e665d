"""Measures drift between two spans with TFDV."""

import dataclasses

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2


@dataclasses.dataclass(frozen=True)
class SpanDrift:
    """A comparison of a span with an earlier one.

    Args:
        span: The span.
        clips: Its number of clips in the train split.
        before: The earlier span; None if the span was not compared.
        clips_before: The earlier span's number of clips in the train split.
        why_not: Why the span was not compared.
        divergences: Jensen-Shannon divergence (base 2: 0 to 1) by feature.
        thresholds: The largest accepted divergence by feature.
    """

    span: int
    clips: int = 0
    before: int | None = None
    clips_before: int = 0
    why_not: str = ""
    divergences: dict[str, float] = dataclasses.field(default_factory=dict)
    thresholds: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def drifted(self) -> list[str]:
        """The features above their thresholds, largest divergence first."""
        above = [name for name, value in self.divergences.items() if value > self.thresholds[name]]
        return sorted(above, key=lambda name: -self.divergences[name])

    def describe(self) -> str:
        """Returns one line for the terminal and the report."""
        if self.before is None:
            return f"span {self.span}: {self.why_not}"
        if self.drifted:
            features = ", ".join(
                f"{name} {self.divergences[name]:.2g} > {self.thresholds[name]:g}" for name in self.drifted
            )
            return f"span {self.span} drifted from span {self.before}: {features}"
        farthest = max(self.divergences, key=lambda name: self.divergences[name])
        return f"span {self.span} like span {self.before}, farthest {farthest} {self.divergences[farthest]:.2g}"


def compare(
    statistics: statistics_pb2.DatasetFeatureStatistics,
    before: statistics_pb2.DatasetFeatureStatistics,
    thresholds: dict[str, float],
) -> dict[str, float]:
    """Measures the divergence of each feature's distribution from an earlier one.

    Args:
        statistics: Statistics of the later clips.
        before: Statistics of the earlier clips.
        thresholds: Thresholds of the features to measure.

    Returns:
        The Jensen-Shannon divergence (base 2: 0 to 1) by feature, over TFDV's histograms: ten interpolated quantile
        buckets for numbers, one bucket per value for strings.

    Raises:
        ValueError: If TFDV does not measure a feature.
    """
    later, earlier = (statistics_pb2.DatasetFeatureStatisticsList(datasets=[part]) for part in (statistics, before))
    # Inferred from the statistics, because ExampleValidator has already compared them with the curated schema.
    schema = tfdv.infer_schema(later, infer_feature_shape=False)
    for feature in schema.feature:
        if feature.name in thresholds:
            comparator = feature.drift_comparator.jensen_shannon_divergence
            comparator.threshold = thresholds[feature.name]
            # TFDV's default is buckets of equal width, which one outlier moves: one image that is nearly empty
            # among a hundred empty ones gives a divergence of 1.
            comparator.source.type = schema_pb2.HistogramSelection.QUANTILES
    anomalies = tfdv.validate_statistics(later, schema, previous_statistics=earlier)
    measured = {
        info.path.step[0]: measurement.value
        for info in anomalies.drift_skew_info
        for measurement in info.drift_measurements
    }
    if missing := sorted(thresholds.keys() - measured.keys()):
        raise ValueError(f"{', '.join(missing)}: expected a divergence measured by TFDV, received none")
    return {name: measured[name] for name in thresholds}
