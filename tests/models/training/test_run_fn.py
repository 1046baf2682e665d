"""The digest that names a training's checkpoint folder, and the folder's lock."""

import os
import re

import numpy as np
import pytest

from framecast.clips.files import FolderBusyError
from framecast.models.training import checkpoint_users
from framecast.models.training.input_pipeline import SplitFiles
from framecast.models.training.run_fn import _state_digest
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
