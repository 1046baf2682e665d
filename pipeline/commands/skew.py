"""Implements `framecast data skew`: compares logged requests with the training clips of the newest run.

Compared are facts about the content: `clip/mean`, `clip/deviation`, `clip/empty_share`, `clip/motion`, `clip/content`.
Each logged clip is counted into the buckets of the training statistics, tenths of the training clips. The measure is
the Jensen-Shannon divergence in bits, from 0 to 1. TFDV's skew comparison is not used, because its ten buckets of equal
width differ between both sides: with ties or outliers, two samples of one distribution have a divergence of up to 0.26
if one has 200 clips, and up to 0.12 if both have 20,000.

Lengths are not compared, because a request has no frames after its context, nor are intervals between frames. The
default threshold assumes clips that were drawn independently; requests of one hour or one camera are more alike.
"""

import collections
import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow_metadata.proto.v0 import statistics_pb2

from framecast.clips.records import find_files
from framecast.clips.validation import read_clips
from framecast.evaluation.metrics.divergence import jensen_shannon
from framecast.pipeline.commands.training_statistics import read_training_statistics
from framecast.pipeline.tables import columns
from framecast.schemas import features
from framecast.schemas.clip_spec import FrameRange

_FEATURES = (features.MEAN, features.DEVIATION, features.EMPTY_SHARE, features.MOTION, features.CONTENT)
_CONTRACT = "clip contract"  # Compared like a feature: whether a clip keeps the contract, as all training clips do.
# A normal distribution that moves by half its standard deviation has a divergence of 0.045.
_TOLERANCE = 0.05
# For two samples of one distribution, 8 ln 2 / (1/m + 1/n) times the divergence is chi-square distributed, with at most
# 11 degrees of freedom for ten buckets and one on either side. 5 is the 99.6th percentile, divided by 8 ln 2.
_CHANCE = 5.0
_SHOWN = 10  # Bad clips named in the report.


@dataclasses.dataclass(frozen=True)
class Divergence:
    """Divergence of logged clips from training clips in one feature.

    Args:
        feature: Name of the feature; `clip contract` for whether clips keep the contract.
        divergence: Jensen-Shannon divergence in bits, from 0 to 1.
        threshold: Largest divergence without skew.
        skew: Whether the divergence is above the threshold.
    """

    feature: str
    divergence: float
    threshold: float
    skew: bool


@dataclasses.dataclass(frozen=True)
class SkewReport:
    """The result of `compare`.

    Args:
        statistics: File of the training statistics.
        training_clips: Number of clips in the train split.
        logged_clips: Number of logged clips, bad ones included.
        bad_clips: Number of clips that break the contract of the run, and of damaged files.
        bad: File, record and reason of the first bad clips.
        divergences: One per feature.
    """

    statistics: str
    training_clips: int
    logged_clips: int
    bad_clips: int
    bad: list[str]
    divergences: list[Divergence]

    @property
    def skewed(self) -> list[str]:
        """Features with skew."""
        return [found.feature for found in self.divergences if found.skew]

    def describe(self) -> str:
        """Formats the report for the terminal."""
        lines = [
            f"{self.training_clips} training clips: {self.statistics}",
            f"{self.logged_clips} logged clips, {self.bad_clips} of them break the contract of that run",
            *(f"  {message}" for message in self.bad),
        ]
        if self.bad_clips > len(self.bad):
            lines.append(f"  and {self.bad_clips - len(self.bad)} more")
        rows = [["feature", "divergence", "threshold", ""]]
        for found in self.divergences:
            verdict = "skew" if found.skew else "like training"
            rows.append([found.feature, f"{found.divergence:.4f}", f"{found.threshold:.4f}", verdict])
        return "\n".join([*lines, columns(rows)])


def compare(workdir: str, paths: Sequence[str], threshold: float | None = None) -> SkewReport:
    """Compares logged clips with the train split of the newest run, with one clip in memory at a time.

    Args:
        workdir: Work directory of runs.
        paths: TFRecord files, folders (all files in and below them, except hidden ones), or glob patterns.
        threshold: Largest divergence without skew; by default 0.05 plus 5 (1 / training clips + 1 / logged clips), an
            allowance for random sampling.

    Raises:
        FileNotFoundError: If a path matches nothing, or `workdir` has no run with a finished StatisticsGen.
        ValueError: If no clip was logged, or the statistics lack the content features.
    """
    training = read_training_statistics(workdir)
    expected = _training_buckets(training.path, training.statistics)
    received: dict[str, collections.Counter[Hashable]] = {name: collections.Counter() for name in _FEATURES}
    kept: collections.Counter[Hashable] = collections.Counter()
    bad: list[str] = []

    def on_bad(error: ValueError) -> None:
        kept["broken"] += 1
        if len(bad) < _SHOWN:
            bad.append(str(error))

    # A request given as an array has no times; the log writes those of its `frame_rate`.
    lengths = FrameRange(min=1, max=training.clip.frames.max)
    spec = training.clip.model_copy(update={"frames": lengths, "intervals": ()})
    for path in find_files(paths):
        for example in read_clips(path, spec, on_bad=on_bad):
            kept["kept"] += 1
            for name, (bucket_of, _) in expected.items():
                received[name][bucket_of(example.context.feature[name])] += 1
    if not kept.total():
        raise ValueError(f"{', '.join(paths)}: expected logged clips, received files without records")
    clips = int(training.statistics.num_examples)
    found = [_compare_feature(_CONTRACT, {"kept": clips}, kept, threshold)]
    if kept["kept"]:
        found += [_compare_feature(name, counts, received[name], threshold) for name, (_, counts) in expected.items()]
    return SkewReport(training.path, clips, kept.total(), kept["broken"], bad, found)


_Bucket = Callable[[tf.train.Feature], Hashable]


def _training_buckets(
    path: str, statistics: statistics_pb2.DatasetFeatureStatistics
) -> dict[str, tuple[_Bucket, Mapping[Hashable, float]]]:
    """Returns for each feature a function from value to bucket, and the number of training clips by bucket."""
    by_name = {feature.path.step[0]: feature for feature in statistics.features if len(feature.path.step) == 1}
    if missing := [name for name in _FEATURES if name not in by_name]:
        expected = f"expected statistics of {', '.join(_FEATURES)}"
        raise ValueError(f"{path}: {expected}, received none of {', '.join(missing)}")
    return {name: _labels(by_name[name]) if name == features.CONTENT else _tenths(by_name[name]) for name in _FEATURES}


def _labels(feature: statistics_pb2.FeatureNameStatistics) -> tuple[_Bucket, Mapping[Hashable, float]]:
    counts = {bucket.label: bucket.sample_count for bucket in feature.string_stats.rank_histogram.buckets}
    return lambda value: value.bytes_list.value[0].decode(), counts


def _tenths(feature: statistics_pb2.FeatureNameStatistics) -> tuple[_Bucket, Mapping[Hashable, float]]:
    """Returns the quantile buckets; a bucket includes its high value, and -1 is the bucket below all others."""
    (histogram,) = (found for found in feature.num_stats.histograms if found.type == statistics_pb2.Histogram.QUANTILES)
    # Ties can end several buckets at one value; `searchsorted` maps them all to the first of these buckets.
    ends = [bucket.high_value for bucket in histogram.buckets]
    least = histogram.buckets[0].low_value
    counts: collections.Counter[Hashable] = collections.Counter()
    for bucket in histogram.buckets:
        counts[int(np.searchsorted(ends, bucket.high_value))] += bucket.sample_count

    def bucket_of(feature: tf.train.Feature) -> int:
        value = feature.float_list.value[0]
        return -1 if value < least else int(np.searchsorted(ends, value))

    return bucket_of, counts


def _compare_feature(
    feature: str, expected: Mapping[Hashable, float], received: Mapping[Hashable, float], threshold: float | None
) -> Divergence:
    divergence = jensen_shannon(expected, received)
    if threshold is None:
        threshold = _TOLERANCE + _CHANCE * (1 / sum(expected.values()) + 1 / sum(received.values()))
    return Divergence(feature, divergence, threshold, divergence > threshold)
