"""The digest and the lock of a training's checkpoint folder, and the weights that training starts from."""

import os
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from framecast.clips.files import FolderBusyError
from framecast.models.networks import builders
from framecast.models.spec import ContextSpec, ForecastTask, ModelSpec, TrainSpec
from framecast.models.training import checkpoint_users
from framecast.models.training.input_pipeline import InputPipeline, SplitFiles
from framecast.models.training.run_fn import _state_digest, _warm_start
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from tests.models.export.exporting import make_module, serve_only
from tests.models.transformed import write_transformed

_CLIPS = {"train": "a", "val": "b"}
_SETTINGS = {
    "train": {"steps": 10},
    "export": {"precision": "float32", "batch_sizes": [1, 4, 16]},
    "events": None,
    "contract": "a",
    "state": "work/state",
}


def test_export_and_evaluation_settings_keep_the_checkpoint():
    for changed in ({"export": {"precision": "float32", "batch_sizes": [1]}}, {"events": {}}, {"contract": "b"}):
        assert _state_digest({**_SETTINGS, **changed}, _CLIPS, None) == _state_digest(_SETTINGS, _CLIPS, None)
    assert _state_digest({**_SETTINGS, "train": {"steps": 11}}, _CLIPS, None) != _state_digest(_SETTINGS, _CLIPS, None)


def test_events_change_the_checkpoint_of_a_metric():
    chosen = {**_SETTINGS, "train": {"steps": 10, "best_by": "csi_0.5"}}
    exports = [{"precision": "mixed_bfloat16", "batch_sizes": [1]}, {"precision": "float32", "batch_sizes": [1]}]
    events = {"thresholds": [0.5], "scales": [1]}
    changes = ({}, {"events": events}, {"export": exports[0]}, {"export": exports[1]})
    digests = [_state_digest({**chosen, **changed}, _CLIPS, None) for changed in changes]
    assert len(set(digests)) == 3
    assert digests[3] == digests[0]


@pytest.mark.parametrize("split", ["train", "val"])
def test_other_clips_at_equal_paths_change_the_checkpoint(tmp_path, split):
    def digest(clips):
        for name, frames in clips.items():
            write_transformed(tmp_path / name, [(frames, 2)])
        files = SplitFiles.match([str(tmp_path / "train")], [str(tmp_path / "val")])
        return _state_digest(_SETTINGS, files.digests(), None)

    clips = {name: np.full((2, 8, 8, 1), place, np.uint8) for place, name in enumerate(("train", "val"))}
    before = digest(clips)
    assert digest({**clips, split: clips[split] + 9}) != before
    assert digest(clips) == before


def test_second_training_names_the_first(tmp_path):
    state = str(tmp_path / "state")
    with checkpoint_users.using(state, "model_run/1", writes=True):
        expected = f"{state}: expected no other training in this folder, found process {os.getpid()} on "
        with pytest.raises(FolderBusyError, match=f"^{re.escape(expected)}"):
            checkpoint_users.using(state, "model_run/2", writes=True).__enter__()
        with checkpoint_users.using(state, "model_run/1", writes=False):
            pass  # Another worker of the first training.
    with checkpoint_users.using(state, "model_run/2", writes=True):
        assert checkpoint_users.read(state) == ["model_run/1", "model_run/2"]


def test_initial_weights_change_the_checkpoint():
    digests = {_state_digest(_SETTINGS, _CLIPS, start) for start in (None, "weights of one model", "of another")}
    assert len(digests) == 3


def test_warm_start_needs_the_same_function(tmp_path):
    """`predict` changes what the cells' output means, not the shapes of the weights."""
    clip, task = ClipSpec(frames=FrameRange(min=4, max=6)), ForecastTask(horizon=2, context=ContextSpec(min=2))
    pipeline = InputPipeline(clip, task, TrainSpec(steps=1, warm_start=True))

    def build(predict, seed):
        spec = ModelSpec(preset="convlstm-tiny", arguments={"predict": predict})
        keras.utils.set_random_seed(seed)
        return spec, builders.build(spec, task, clip, keras.DTypePolicy("float32"))

    serve_only(make_module(build("frame", 1)[1], task, clip), clip, tmp_path)
    for predict, note in (("frame", "warm start from "), ("change", "cold start: ")):
        spec, model = build(predict, 2)
        before = model.get_weights()
        start = _warm_start(tf.distribute.get_strategy(), model, spec, pipeline, str(tmp_path))
        assert start.note.startswith(f"{note}{tmp_path}"), start.note
        kept = all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True))
        assert kept == (start.digest is None) == (predict == "change")
    assert "computes another function with the same weights: forecast of random clips differs by " in start.note
