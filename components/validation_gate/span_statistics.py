"""Reads the statistics of spans from StatisticsGen's slices, and keeps them between runs, one file per span.

The files are TFDV's binary lists: `tensorflow_data_validation.load_stats_binary(path)`.
"""

import hashlib
import os
import re

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils
from tfx_bsl.public.proto import slicing_spec_pb2

from framecast.clips import files
from framecast.schemas import features

_SPLIT = "train"  # Not eval: its files may be the same in every run.
_SLICE = re.compile(re.escape(features.SPAN) + "_([0-9]+)")
_FILE = re.compile(r"span-([0-9]+)\.pb")


def stats_options() -> tfdv.StatsOptions:
    """Returns options with which StatisticsGen adds a slice per span.

    The slices need no extra pass. TFDV holds up to 20 MiB of clips per slice.
    """
    slices = slicing_spec_pb2.SlicingSpec(feature_keys=[features.SPAN])
    return tfdv.StatsOptions(slicing_config=slicing_spec_pb2.SlicingConfig(slicing_specs=[slices]))


def read_slices(statistics: Artifact) -> dict[int, statistics_pb2.DatasetFeatureStatistics]:
    """Returns the statistics of each span's clips in the train split, limited to the features of the drift check."""
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
    """Writes a span's statistics, or replaces them."""
    os.makedirs(directory, exist_ok=True)
    content = statistics_pb2.DatasetFeatureStatisticsList(datasets=[statistics]).SerializeToString()
    files.write_whole(_path(directory, span), content)


def kept_spans(directory: str) -> list[int]:
    """Returns the spans whose statistics are kept, lowest first."""
    if not fileio.exists(directory):
        return []
    return sorted(int(match[1]) for name in fileio.listdir(directory) if (match := _FILE.fullmatch(name)))


def read_kept(directory: str, span: int) -> statistics_pb2.DatasetFeatureStatistics:
    """Returns the kept statistics of a span."""
    return tfdv.load_stats_binary(_path(directory, span)).datasets[0]


def others_kept(directory: str) -> bool:
    """Returns whether statistics are kept in a sibling folder, for another clip contract or `data.train`."""
    parent, this = os.path.split(directory)
    return fileio.exists(parent) and any(name != this for name in fileio.listdir(parent))


def digest_before(directory: str, span: int) -> str:
    """Returns a digest of the statistics kept of all spans before this one."""
    total = hashlib.sha256()
    for earlier in kept_spans(directory):
        if earlier < span:
            with fileio.open(_path(directory, earlier), "rb") as file:
                total.update(f"{earlier}:".encode() + hashlib.sha256(file.read()).digest())
    return total.hexdigest()[:16]


def _path(directory: str, span: int) -> str:
    return os.path.join(directory, f"span-{span}.pb")
