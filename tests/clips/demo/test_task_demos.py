"""Tests that the labels of the task demos match the frames."""

import numpy as np
import pytest

from framecast.clips.codec import decode_frames
from framecast.clips.demo import task_demos
from framecast.clips.records import read_records
from framecast.clips.validation import check_clip
from framecast.models.spec import AnomalyTask, ClassifyTask
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec, FrameRange

_SPEC = ClipSpec(frames=FrameRange(min=8, max=20), height=64, width=64)


def _clips(folder, split, label):
    for path in sorted((folder / split).iterdir()):
        for _, record in read_records(path):
            example = check_clip(record, _SPEC, label)
            yield example, decode_frames(example, _SPEC)[..., 0].astype(float)


def _centres(frames):
    rows, columns = np.mgrid[: frames.shape[1], : frames.shape[2]]
    mass = frames.sum((1, 2))
    return np.stack([(frames * rows).sum((1, 2)), (frames * columns).sum((1, 2))], axis=1) / mass[:, None]


def test_motion_label_is_sense_of_rotation(tmp_path):
    assert task_demos.make_motion(tmp_path / "motion", clips=60, seed=1) == {"train": 51, "eval": 9}
    label = ClassifyTask(kind="classify", classes=2).label
    senses = []
    for example, frames in _clips(tmp_path / "motion", "train", label):
        steps = np.diff(_centres(frames), axis=0)
        turns = steps[:-1, 0] * steps[1:, 1] - steps[:-1, 1] * steps[1:, 0]
        sense = task_demos.CLOCKWISE if turns.sum() < 0 else task_demos.COUNTERCLOCKWISE
        assert example.context.feature[features.LABEL_INDEX].int64_list.value[:] == [sense]
        senses.append(sense)
    assert 0.3 < np.mean(senses) < 0.7


def test_anomalies_are_labelled_and_only_in_eval(tmp_path):
    task_demos.make_anomaly(tmp_path / "anomaly", clips=140, seed=1)
    label = AnomalyTask(kind="anomaly").label
    largest = {0: [], 1: []}
    faulty = {"train": [], "eval": []}
    for split, found in faulty.items():
        for example, frames in _clips(tmp_path / "anomaly", split, label):
            values = example.feature_lists.feature_list[features.FRAME_LABEL_INDEX].feature
            labels = [value.int64_list.value[0] for value in values]
            found.append(max(labels))
            # Frame differences are large where a digit disappears, appears or jumps.
            errors = np.square(np.diff(frames, axis=0)).mean((1, 2))
            for value, error in zip(labels[1:], errors, strict=True):
                largest[value].append(error)
    assert not any(faulty["train"])
    assert 0.2 < np.mean(faulty["eval"]) < 0.8
    assert np.mean(largest[1]) > 1.15 * np.mean(largest[0])


@pytest.mark.parametrize("make", [task_demos.make_motion, task_demos.make_anomaly])
def test_equal_seeds_give_equal_bytes(tmp_path, make):
    for name in ("one", "two"):
        make(tmp_path / name, clips=14, seed=3)
    one, two = ([path.read_bytes() for path in sorted((tmp_path / name).rglob("*.gz"))] for name in ("one", "two"))
    assert one == two
