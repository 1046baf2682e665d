"""Measures drift between the statistics of two spans."""

import collections
import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow_metadata.proto.v0 import statistics_pb2

from framecast.evaluation.metrics.divergence import jensen_shannon


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

    The values equal those of TFDV's drift comparator over quantiles. Its default, buckets of equal width, is not used,
    because one outlier moves them: one image that is nearly empty among a hundred empty ones gives a divergence of 1.

    Args:
        statistics: Statistics of the later clips.
        before: Statistics of the earlier clips.
        thresholds: Thresholds of the features to measure.

    Returns:
        The Jensen-Shannon divergence (base 2: 0 to 1) by feature, over TFDV's histograms: ten interpolated quantile
        buckets for numbers, one bucket per value for strings.

    Raises:
        ValueError: If a feature is missing in one of the statistics.
    """
    later, earlier = (
        {feature.path.step[0]: feature for feature in part.features if len(feature.path.step) == 1}
        for part in (statistics, before)
    )
    if missing := sorted(name for name in thresholds if name not in later or name not in earlier):
        raise ValueError(f"{', '.join(missing)}: expected statistics of both spans, received none")
    return {name: jensen_shannon(*_bucket_counts(later[name], earlier[name])) for name in thresholds}


def _bucket_counts(*parts: statistics_pb2.FeatureNameStatistics) -> list[Mapping[Hashable, float]]:
    """Returns the counts of each distribution over common buckets."""
    if parts[0].WhichOneof("stats") == "string_stats":
        return [
            {bucket.label: bucket.sample_count for bucket in part.string_stats.rank_histogram.buckets} for part in parts
        ]
    histograms = [_quantiles(part) for part in parts]
    edges = np.unique(
        [edge for buckets in histograms for bucket in buckets for edge in (bucket.low_value, bucket.high_value)]
    )
    return [_split(buckets, edges) for buckets in histograms]


def _quantiles(part: statistics_pb2.FeatureNameStatistics) -> Sequence[Any]:
    (quantiles,) = (
        histogram for histogram in part.num_stats.histograms if histogram.type == statistics_pb2.Histogram.QUANTILES
    )
    return quantiles.buckets


def _split(buckets: Sequence[Any], edges: np.ndarray) -> Mapping[Hashable, float]:
    """Splits buckets at edges, with the count spread evenly over a bucket; equal values have a bucket of width 0."""
    counts: collections.Counter[Hashable] = collections.Counter()
    for bucket in buckets:
        low, high = np.searchsorted(edges, [bucket.low_value, bucket.high_value])
        if low == high:
            counts[low, low] += bucket.sample_count
        for place in range(low, high):
            width = edges[place + 1] - edges[place]
            counts[place, place + 1] += bucket.sample_count * width / (bucket.high_value - bucket.low_value)
    return counts
