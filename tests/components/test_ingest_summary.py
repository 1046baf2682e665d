"""The summary of an ingest: digest of the data and sizes of frames."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from framecast.clips.codec import encode_clip
from framecast.clips.records import write_records
from framecast.components.clip_example_gen.component import ClipExampleGen
from framecast.components.clip_example_gen.executor import ClipExampleGenExecutor
from framecast.pipeline.config.beam import BeamSpec
from framecast.schemas.clip_spec import ClipSpec


def _clips(seed=0):
    draw = np.random.default_rng(seed)
    sizes = [(12, 16)] * 9 + [(8, 8)] * 3
    return [
        encode_clip(
            draw.integers(0, 256, (5, *size, 1), np.uint8), example_id=f"c{n}", media_id=f"m{n}", frame_rate=10.0
        ).SerializeToString()
        for n, size in enumerate(sizes)
    ]


def _ingest(folder, files):
    (folder / "clips").mkdir(parents=True)
    for name, records in files.items():
        write_records(str(folder / "clips" / name), records)
    component = ClipExampleGen(
        input_base=str(folder / "clips"),
        clip=ClipSpec(frames={"min": 4, "max": 8}),
        train="*",
        shares={"train": 2, "val": 1, "eval": 1},
    )
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder / "output")
    for split in ("train", "val", "eval"):
        (folder / "output" / f"Split-{split}").mkdir(parents=True)
    context = ClipExampleGenExecutor.Context(BeamSpec().beam_flags(), tmp_dir=str(folder), unique_id="1")
    ClipExampleGenExecutor(context).Do({}, {"examples": [artifact]}, component.exec_properties)
    return json.loads((folder / "output" / "ingest.json").read_text())


def test_clip_without_size_features_has_image_size(tmp_path):
    clips = [tf.train.SequenceExample.FromString(record) for record in _clips()]
    for clip in clips:
        del clip.context.feature["image/height"], clip.context.feature["image/width"]
    summary = _ingest(tmp_path, {"a.tfrecord": [clip.SerializeToString() for clip in clips]})
    assert (summary["sizes"], summary["bad"]) == ({"12x16": 9, "8x8": 3}, [])


def test_sizes_and_declared_facts_are_counted(tmp_path):
    summary = _ingest(tmp_path, {"a.tfrecord": _clips()[:6], "b.tfrecord": _clips()[6:]})
    assert list(summary["sizes"].items()) == [("12x16", 9), ("8x8", 3)]
    places = [
        f"{tmp_path}/clips/{name}, record 0: clip {clip}" for name, clip in (("a.tfrecord", "c0"), ("b.tfrecord", "c6"))
    ]
    assert summary["declared"] == [["train", pytest.approx(0.1), None, place] for place in places]
    assert summary["warnings"] == []


def test_digest_depends_on_records_not_file_names(tmp_path):
    clips = _clips()
    digest = _ingest(tmp_path / "a", {"a.tfrecord": clips[:4], "b.tfrecord": clips[4:]})["digest"]
    renamed = {"z.tfrecord.gz": clips[:4], "y.tfrecord": clips[4:]}
    assert _ingest(tmp_path / "b", renamed)["digest"] == digest
    changed = {"a.tfrecord": clips[:4], "b.tfrecord": _clips(seed=1)[4:]}
    assert _ingest(tmp_path / "c", changed)["digest"] != digest
