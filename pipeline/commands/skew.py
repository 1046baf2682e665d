"""`framecast data skew`: whether logged requests look like the clips that the newest run learned from.

Facts of clips' content are compared: `clip/mean`, `clip/deviation`, `clip/empty_share`, `clip/motion`, `clip/content`.
Each logged clip is counted into the buckets of the training statistics, tenths of the training clips, and the
divergence is Jensen and Shannon's in bits, from 0 to 1 (Lin 1991, doi:10.1109/18.61115). TFDV's own comparison would
give each side ten buckets of equal width, from its own least to its own largest value: where many clips share a value,
or a few lie far out, it finds two samples of one distribution up to 0.26 apart when one has 200 clips, and up to 0.12
when both have 20,000.

Lengths are not compared: a request is a context, without the frames that training clips have after it. What chance
gives is reckoned for clips drawn one by one: requests of one hour, or of one camera, resemble each other more.
"""

import collections
import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow_metadata.proto.v0 import statistics_pb2

from framecast.clips.records import find_files
from framecast.clips.validation import read_clips
from framecast.pipeline.commands.training_statistics import read_training_statistics
from framecast.schemas import features
from framecast.schemas.clip_spec import FrameRange

_FEATURES = (features.MEAN, features.DEVIATION, features.EMPTY_SHARE, features.MOTION, features.CONTENT)
_CONTRACT = "clip contract"  # Compared like a feature: whether a clip keeps the contract, as all training clips do.
# A normal distribution that moves by half its standard deviation is 0.045 off.
_TOLERANCE = 0.05
# Chance: 8 ln 2 / (1/m + 1/n) times the divergence of two samples of one distribution is chi-square, for ten buckets
# and what lies outside of them with at most 11 degrees of freedom. 5 is its 99.6th percentile, divided by 8 ln 2.
_CHANCE = 5.0
_SHOWN = 10  # Clips named that break the contract.


@dataclasses.dataclass(frozen=True)
class Divergence:
    """How far logged clips are from the training clips in one feature.

    Args:
        feature: Its name; `clip contract` for whether clips keep the contract.
        divergence: Jensen-Shannon divergence in bits, from 0 to 1.
        threshold: Largest divergence that is no skew.
        skew: Whether the divergence is above it.
    """

    feature: str
    divergence: float
    threshold: float
    skew: bool


@dataclasses.dataclass(frozen=True)
class SkewReport:
    """What `compare` found.

    Args:
        statistics: File of the training statistics.
        training_clips: Clips of the train split.
        logged_clips: Clips read, those that break the contract included.
        bad_clips: Clips, or files that cannot be read on, that break the contract of the run.
        bad: The first of them, by file, record and reason.
        divergences: One a feature.
    """

    statistics: str
    training_clips: int
    logged_clips: int
    bad_clips: int
    bad: list[str]
    divergences: list[Divergence]

    @property
    def skewed(self) -> list[str]:
        """Features whose divergence is above the threshold."""
        return [found.feature for found in self.divergences if found.skew]

    def describe(self) -> str:
        """Returns it as text for a person."""
        lines = [
            f"{self.training_clips} training clips: {self.statistics}",
            f"{self.logged_clips} logged clips, {self.bad_clips} of them break the contract of that run",
            *(f"  {message}" for message in self.bad),
        ]
        if self.bad_clips > len(self.bad):
            lines.append(f"  and {self.bad_clips - len(self.bad)} more")
        lines.append(f"{'feature':<18}{'divergence':>12}{'threshold':>12}")
        for found in self.divergences:
            verdict = "skew" if found.skew else "like training"
            lines.append(f"{found.feature:<18}{found.divergence:>12.4f}{found.threshold:>12.4f}  {verdict}")
        return "\n".join(lines)


def compare(workdir: str, paths: Sequence[str], threshold: float | None = None) -> SkewReport:
    """Compares logged clips with the train split of the newest run, one clip in memory at a time.

    Args:
        workdir: Work directory of runs.
        paths: TFRecord files, folders (every file in them and below, but for hidden ones), or glob patterns.
        threshold: Largest divergence that is no skew. Unless given 0.05, and on top of it what chance alone gives,
            5 (1 / training clips + 1 / logged clips).

    Raises:
        FileNotFoundError: When a path matches nothing, or `workdir` holds no run that finished StatisticsGen.
        ValueError: When no clip was logged, or the statistics know nothing of the clips' content.
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

    spec = training.clip.model_copy(update={"frames": FrameRange(min=1, max=training.clip.frames.max)})
    for path in find_files(paths):
        for example in read_clips(path, spec, on_bad=on_bad):
            kept["kept"] += 1
            for name, (bucket_of, _) in expected.items():
                received[name][bucket_of(example.context.feature[name])] += 1
    if not kept.total():
        raise ValueError(f"{', '.join(paths)}: expected logged clips, received files without a record")
    clips = int(training.statistics.num_examples)
    found = [_compared(_CONTRACT, {"kept": clips}, kept, threshold)]
    if kept["kept"]:
        found += [_compared(name, counts, received[name], threshold) for name, (_, counts) in expected.items()]
    return SkewReport(training.path, clips, kept.total(), kept["broken"], bad, found)


def jensen_shannon(first: Mapping[Hashable, float], second: Mapping[Hashable, float]) -> float:
    """Returns the divergence of two distributions in bits, given as counts by bucket."""
    keys = sorted({*first, *second}, key=str)
    shares = [np.array([counts.get(key, 0) for key in keys], np.float64) for counts in (first, second)]
    shares = [counts / counts.sum() for counts in shares]
    middle = sum(shares) / 2
    return float(sum(np.sum(share[share > 0] * np.log2((share / middle)[share > 0])) for share in shares) / 2)


_Bucket = Callable[[tf.train.Feature], Hashable]


def _training_buckets(
    path: str, statistics: statistics_pb2.DatasetFeatureStatistics
) -> dict[str, tuple[_Bucket, Mapping[Hashable, float]]]:
    """Returns for each feature what tells a value's bucket, and how many training clips fell into each."""
    by_name = {feature.path.step[0]: feature for feature in statistics.features if len(feature.path.step) == 1}
    if missing := [name for name in _FEATURES if name not in by_name]:
        expected = f"expected statistics of {', '.join(_FEATURES)}"
        raise ValueError(f"{path}: {expected}, received none of {', '.join(missing)}")
    return {name: _labels(by_name[name]) if name == features.CONTENT else _tenths(by_name[name]) for name in _FEATURES}


def _labels(feature: statistics_pb2.FeatureNameStatistics) -> tuple[_Bucket, Mapping[Hashable, float]]:
    counts = {bucket.label: bucket.sample_count for bucket in feature.string_stats.rank_histogram.buckets}
    return lambda value: value.bytes_list.value[0].decode(), counts


def _tenths(feature: statistics_pb2.FeatureNameStatistics) -> tuple[_Bucket, Mapping[Hashable, float]]:
    """A bucket ends at, and includes, its high value; -1 is below them all."""
    (histogram,) = (found for found in feature.num_stats.histograms if found.type == statistics_pb2.Histogram.QUANTILES)
    # A value that many clips share ends several buckets: all that end there are the first of them to `searchsorted`.
    ends = [bucket.high_value for bucket in histogram.buckets]
    least = histogram.buckets[0].low_value
    counts: collections.Counter[Hashable] = collections.Counter()
    for bucket in histogram.buckets:
        counts[int(np.searchsorted(ends, bucket.high_value))] += bucket.sample_count

    def bucket_of(feature: tf.train.Feature) -> int:
        value = feature.float_list.value[0]
        return -1 if value < least else int(np.searchsorted(ends, value))

    return bucket_of, counts


def _compared(
    feature: str, expected: Mapping[Hashable, float], received: Mapping[Hashable, float], threshold: float | None
) -> Divergence:
    divergence = jensen_shannon(expected, received)
    if threshold is None:
        threshold = _TOLERANCE + _CHANCE * (1 / sum(expected.values()) + 1 / sum(received.values()))
    return Divergence(feature, divergence, threshold, divergence > threshold)
