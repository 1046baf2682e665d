"""Statistics of spans: in StatisticsGen's output one slice a span, and kept between runs, one file a span.

Kept as TFDV's own binary lists: `tensorflow_data_validation.load_stats_binary(path)`.
"""

import hashlib
import os
import re

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils
from tfx_bsl.public.proto import slicing_spec_pb2

from framecast.schemas import features

_SPLIT = "train"  # The Evaluator's own files may be the same in every run.
_SLICE = re.compile(re.escape(features.SPAN) + "_([0-9]+)")
_FILE = re.compile(r"span-([0-9]+)\.pb")


def stats_options() -> tfdv.StatsOptions:
    """Returns options by which StatisticsGen adds a slice for each span.

    It does so in the pass that it makes anyway; TFDV holds up to 20 MiB of clips for each slice.
    """
    slices = slicing_spec_pb2.SlicingSpec(feature_keys=[features.SPAN])
    return tfdv.StatsOptions(slicing_config=slicing_spec_pb2.SlicingConfig(slicing_specs=[slices]))


def read_slices(statistics: Artifact) -> dict[int, statistics_pb2.DatasetFeatureStatistics]:
    """Returns the statistics of each span's clips in the train split, of the features that spans are compared by."""
    folder = artifact_utils.get_split_uri([statistics], _SPLIT)
    found = {}
    for dataset in tfdv.load_stats_binary(os.path.join(folder, "FeatureStats.pb")).datasets:
        if match := _SLICE.fullmatch(dataset.name):
            compared = [feature for feature in dataset.features if feature.path.step[0] in features.DRIFT_FEATURES]
            del dataset.features[:]
            dataset.features.extend(compared)
            found[int(match[1])] = dataset
    return found


def keep(directory: str, span: int, statistics: statistics_pb2.DatasetFeatureStatistics) -> None:
    """Writes a span's statistics, in place of what was kept of it."""
    path = _path(directory, span)
    beside = f"{path}.part"
    fileio.makedirs(directory)
    with fileio.open(beside, "wb") as file:
        file.write(statistics_pb2.DatasetFeatureStatisticsList(datasets=[statistics]).SerializeToString())
    fileio.rename(beside, path, overwrite=True)


def kept_spans(directory: str) -> list[int]:
    """Returns the spans whose statistics are kept, lowest first."""
    if not fileio.exists(directory):
        return []
    return sorted(int(match[1]) for name in fileio.listdir(directory) if (match := _FILE.fullmatch(name)))


def read_kept(directory: str, span: int) -> statistics_pb2.DatasetFeatureStatistics:
    """Returns the kept statistics of a span."""
    return tfdv.load_stats_binary(_path(directory, span)).datasets[0]


def others_kept(directory: str) -> bool:
    """Returns whether statistics are kept in a folder beside this one."""
    parent, own = os.path.split(directory)
    return fileio.exists(parent) and any(name != own for name in fileio.listdir(parent))


def digest_before(directory: str, span: int) -> str:
    """Returns a digest of what is kept of all spans before one."""
    total = hashlib.sha256()
    for earlier in kept_spans(directory):
        if earlier < span:
            with fileio.open(_path(directory, earlier), "rb") as file:
                total.update(f"{earlier}:".encode() + hashlib.sha256(file.read()).digest())
    return total.hexdigest()[:16]


def _path(directory: str, span: int) -> str:
    return os.path.join(directory, f"span-{span}.pb")
