"""How far the content of one span lies from that of another: TFDV's drift detection, told in our words."""

import dataclasses

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2


@dataclasses.dataclass(frozen=True)
class SpanDrift:
    """A span beside an earlier one.

    Args:
        span: The span.
        clips: Its clips in the train split.
        before: The earlier span; None when nothing was compared.
        clips_before: Its clips in the train split.
        why_not: Why nothing was compared.
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
        """The features above their thresholds, the farthest first."""
        above = [name for name, value in self.divergences.items() if value > self.thresholds[name]]
        return sorted(above, key=lambda name: -self.divergences[name])

    def describe(self) -> str:
        """Returns a line for people."""
        if self.before is None:
            return f"span {self.span}: {self.why_not}"
        if self.drifted:
            what = ", ".join(
                f"{name} {self.divergences[name]:.2g} > {self.thresholds[name]:g}" for name in self.drifted
            )
            return f"span {self.span} drifted from span {self.before}: {what}"
        farthest = max(self.divergences, key=lambda name: self.divergences[name])
        return f"span {self.span} like span {self.before}, farthest {farthest} {self.divergences[farthest]:.2g}"


def compare(
    statistics: statistics_pb2.DatasetFeatureStatistics,
    before: statistics_pb2.DatasetFeatureStatistics,
    thresholds: dict[str, float],
) -> dict[str, float]:
    """Measures the divergence of each feature's distribution from an earlier one.

    Args:
        statistics: Of the later clips.
        before: Of the earlier clips.
        thresholds: By feature; whatever stands there is measured.

    Returns:
        The Jensen-Shannon divergence (base 2: 0 to 1) by feature, over TFDV's histograms: of a number, ten buckets that
        hold a tenth each, interpolated; of words, one bucket a word.

    Raises:
        ValueError: When TFDV does not measure a feature.
    """
    later, earlier = (statistics_pb2.DatasetFeatureStatisticsList(datasets=[part]) for part in (statistics, before))
    # From the statistics themselves: what breaks the curated schema, ExampleValidator has found.
    schema = tfdv.infer_schema(later, infer_feature_shape=False)
    for feature in schema.feature:
        if feature.name in thresholds:
            comparator = feature.drift_comparator.jensen_shannon_divergence
            comparator.threshold = thresholds[feature.name]
            # Of TFDV's default, buckets of equal width, a single clip far out moves them all: one image that is not
            # quite empty among a hundred empty ones makes a divergence of 1.
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
