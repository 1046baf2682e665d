"""`train.class_weights: balanced`, compared with scikit-learn."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from framecast.models.spec import TrainSpec, parse_task
from framecast.models.training import loop, train_model
from framecast.models.training.input_pipeline import InputPipeline
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from tests.models.transformed import write_transformed

_FRAMES = np.zeros((4, 8, 8, 1), np.uint8)


@pytest.fixture(autouse=True)
def untrained(monkeypatch):
    """`fit_model` returns the objective that it would train with."""
    monkeypatch.setattr(loop, "fit", lambda model, dataset, val_dataset, objective, train, **_: objective)


def _weights(tmp_path, clips, **task):
    path = tmp_path / "clips.gz"
    write_transformed(path, clips)
    train = TrainSpec(steps=1, class_weights="balanced")
    task = parse_task({"kind": "classify", "classes": 3, **task})
    pipeline = InputPipeline(ClipSpec(frames=FrameRange(min=1, max=4)), task, train)
    arguments = (tf.distribute.get_strategy(), None, pipeline, [str(path)], None)
    return train_model.fit_model(*arguments, state_dir="", log_dir="")._class_weights


def test_balanced_weights_equal_scikit_learn(tmp_path):
    labels = [0] * 7 + [1] * 2 + [2]
    weights = _weights(tmp_path, [(_FRAMES, 4, np.int64(label)) for label in labels])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert weights == pytest.approx(expected)


def test_padding_of_frame_labels_is_not_counted(tmp_path):
    clips = [(_FRAMES, 3, np.int64([0, 0, 1, 2])), (_FRAMES, 4, np.int64([2, 0, 0, 1]))]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=[0, 0, 1, 2, 0, 0, 1])
    assert _weights(tmp_path, clips, per="frame") == pytest.approx(expected)


def test_class_without_labels_has_finite_weight(tmp_path):
    assert _weights(tmp_path, [(_FRAMES, 4, np.int64(0))] * 6) == pytest.approx([1 / 3, 2, 2])
