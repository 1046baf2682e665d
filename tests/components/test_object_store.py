"""Clips in a local S3 server are ingested as local files are."""

import gzip
import json
import pathlib
import re

import numpy as np
import pytest
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_artifacts

from framecast.clips.codec import encode_clip
from framecast.clips.records import write_records
from framecast.components.clip_example_gen.component import ClipExampleGen
from framecast.components.clip_example_gen.driver import ClipExampleGenDriver
from framecast.components.clip_example_gen.executor import ClipExampleGenExecutor
from framecast.components.clip_example_gen.parameters import FILES
from framecast.components.clip_example_gen.summary import BadClipsError
from framecast.components.input_files import InputFiles
from framecast.pipeline.config.beam import BeamSpec
from framecast.schemas.clip_spec import ClipSpec, FrameRange

_SPEC = ClipSpec(frames=FrameRange(min=8, max=24))
_SHARES = {"train": 2, "val": 1, "eval": 1}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two days of clips in local files."""
    folder = tmp_path_factory.mktemp("clips")
    random = np.random.default_rng(0)
    for day in (3, 20):
        (folder / f"day{day}").mkdir()
        for part in range(2):
            names = [f"{day}-{part}-{number}" for number in range(8)]
            frames = random.integers(0, 256, (len(names), 8, 12, 12, 1), np.uint8)
            clips = [
                encode_clip(own, example_id=name, media_id=name, frame_rate=10.0) for name, own in zip(names, frames)
            ]
            path = folder / f"day{day}" / f"part-{day}-{part}.tfrecord.gz"
            write_records(path, [clip.SerializeToString(deterministic=True) for clip in clips])
    return folder


@pytest.fixture
def store(clips, bucket):
    """A bucket with the same files."""
    for path in clips.glob("*/*.gz"):
        bucket.put(str(path.relative_to(clips)), path.read_bytes())
    return bucket


def _component(base, train="*/*.gz"):
    return ClipExampleGen(input_base=base, clip=_SPEC, train=train, shares=_SHARES)


def _ingest(properties, folder):
    """Runs the executor; returns the content of its files by path."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder / "output")
    for split in ("train", "val", "eval"):
        (folder / "output" / f"Split-{split}").mkdir(parents=True)
    (folder / "temporary").mkdir()
    context = ClipExampleGenExecutor.Context(BeamSpec().beam_flags(), tmp_dir=str(folder / "temporary"), unique_id="1")
    ClipExampleGenExecutor(context).Do({}, {"examples": [artifact]}, properties)
    return {
        str(path.relative_to(folder)): gzip.decompress(path.read_bytes()) for path in sorted(folder.rglob("clips*.gz"))
    }


def _find(train, count):
    return InputFiles.EXECUTOR_SPEC.executor_class._FUNCTION(train=train, count=count)["files"]


def test_bucket_and_local_files_give_equal_bytes(clips, store, tmp_path):
    local = _ingest(_component(str(clips)).exec_properties, tmp_path / "local")
    assert {name.split("/")[1] for name in local} == {"Split-train", "Split-val", "Split-eval"}
    assert _ingest(_component(store.uri).exec_properties, tmp_path / "remote") == local


def test_compiled_pipeline_reads_newest_days_of_a_bucket(clips, store, tmp_path):
    store.put("day1/a.gz", b"too old to be looked at")

    def ingest(base, folder):
        files = _find(f"{base}/day{{SPAN}}/*.gz", count=2)
        return _ingest({**_component("", "none").exec_properties, FILES: files}, tmp_path / folder)

    local = ingest(clips, "local")
    assert ingest(store.uri, "remote") == local
    assert json.loads(_find(f"{store.uri}/day{{SPAN}}/*.gz", 2))["patterns"] == {
        "train": {"3": f"{store.uri}/day3/*.gz", "20": f"{store.uri}/day20/*.gz"}
    }


def test_truncated_object_is_named_by_its_address(store, tmp_path):
    (key, *_) = store.list()
    store.put("day3/cut.gz", store.get(key)[:-20])
    expected = re.escape(f"{store.uri}/day3/cut.gz, record ") + r"\d+: truncated gzip file: expected the end-of-stream"
    with pytest.raises(BadClipsError, match=expected):
        _ingest(_component(store.uri).exec_properties, tmp_path)


def test_new_object_changes_the_cache_key(store):
    def keys():
        properties = ClipExampleGenDriver(None).resolve_exec_properties(
            dict(_component(store.uri).exec_properties), None, None
        )
        return properties["input_fingerprint"], _find(f"{store.uri}/*/*.gz", 1)

    first = keys()
    store.put("day3/readme")
    assert keys() == first
    store.put("day3/more.gz")
    second = keys()
    assert second[0] != first[0]
    assert second[1] != first[1]


def test_unchanged_bucket_is_taken_from_the_cache(store, tmp_path):
    def ingested():
        pipeline = Pipeline(
            "bucket",
            str(tmp_path / "root"),
            components=[_component(store.uri)],
            metadata_connection_config=metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite")),
            beam_pipeline_args=BeamSpec().beam_flags(),
            enable_cache=True,
        )
        LocalDagRunner().run(pipeline)
        return len(list(pathlib.Path(tmp_path / "root").glob("ClipExampleGen/examples/*/ingest.json")))

    assert [ingested(), ingested()] == [1, 1]
    (key, *_) = store.list()
    store.client.delete_object(Bucket=store.name, Key=key)
    assert ingested() == 2
