"""Anomaly scores and classification through the whole pipeline, the latter with a user's builder."""

import json
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from framecast.clips.demo import task_demos
from framecast.pipeline.commands.query import describe, query
from framecast.pipeline.config import config as configuration
from framecast.pipeline.runs import run as runs
from framecast.serving.server.model_config import one_model
from framecast.serving.server.server import Server

_BUILDER = """
import keras


class Foreign(keras.Model):
    '''Mean over the frames of a clip, then a dense layer.'''

    def __init__(self, outputs, dtype):
        super().__init__(dtype=dtype)
        self.head = keras.layers.Dense(outputs, dtype="float32")

    def call(self, frames, length, training=False):
        within = keras.ops.arange(keras.ops.shape(frames)[1])[None] < length[:, None]
        within = keras.ops.cast(within, "float32")[:, :, None, None, None]
        mean = keras.ops.sum(frames * within, axis=1) / keras.ops.sum(within, axis=1)
        return self.head(keras.ops.mean(mean, axis=(1, 2)))


def build(channels, outputs, dtype):
    return Foreign(outputs, dtype)
"""
_CLASSIFY = """
data: {train: "clips/train/*", eval: "clips/eval/*"}
clip: {frames: {min: 8, max: 16}}
task: {kind: classify, classes: 2}
model: {builder: "builder.py:build"}
train: {steps: 3, batch_frames: 64, eval_every: 3}
push: {directory: serving}
"""
_ANOMALY = """
data: {train: "clips/train/*", eval: "clips/eval/*"}
clip: {frames: {min: 10, max: 20}}
task: {kind: anomaly, context: {min: 3}, false_alarm_rate: 0.1}
model: {preset: convlstm-tiny}
train:
  {steps: 20, batch_frames: 96, learning_rate: 0.005, eval_every: 20, loss: {mse: 1, mae: 1}, sampling: reverse,
   augment: [flip, subclip]}
evaluate: {thresholds: {clip_roc_auc: {min: 0.0}}}
push: {directory: serving}
"""


_PLAIN = {"holdout": False, "limit": 3}


def _run(folder, text, make):
    make(folder / "clips", clips=56, seed=3, size=32)
    (folder / "config.yaml").write_text(text)
    config = configuration.load(str(folder / "config.yaml"))
    return runs.run(config, str(folder / "work"), quiet=True)


def _query(folder, **options):
    (path,) = (folder / "clips" / "eval").iterdir()
    with Server(one_model("task", str(folder / "serving"))) as server:
        return query([str(path)], address=f"127.0.0.1:{server.port}", model="task", **{**_PLAIN, **options})


def _card(folder):
    (version,) = (folder / "serving").glob("[0-9]*")
    return json.loads((version / "assets.extra" / "framecast.json").read_text()), tf.saved_model.load(str(version))


@pytest.mark.slow
def test_users_model_classifies(tmp_path):
    (tmp_path / "builder.py").write_text(_BUILDER)
    result = _run(tmp_path, _CLASSIFY, task_demos.make_motion)
    assert result.verdict == "pushed", result.why
    assert 0 <= result.figures["accuracy"] <= 1
    assert np.isfinite(result.figures["cross_entropy"])
    assert '<table id="confusion">' in pathlib.Path(result.report).read_text()
    card, model = _card(tmp_path)
    assert (card["task"], card["label"]["classes"]) == ("classify", 2)
    answer = model.signatures["serving_default"](frames=tf.zeros([1, 9, 32, 32, 1], tf.uint8), length=[9])
    np.testing.assert_allclose(answer["probabilities"].numpy().sum(), 1, atol=1e-5)
    asked = _query(tmp_path)
    assert [len(clip["probabilities"]) for clip in asked["answers"]] == [2, 2, 2]
    assert re.search(r"digits-eval-00000: class [01] \(\d+\.\d%\)", describe(asked))
    with pytest.raises(ValueError, match=r"--holdout, --to: expected a model that makes forecasts"):
        _query(tmp_path, holdout=True)


@pytest.mark.slow
def test_anomaly_scores_use_the_calibrated_threshold(tmp_path):
    result = _run(tmp_path, _ANOMALY, task_demos.make_anomaly)
    assert result.verdict == "pushed", result.why
    card, model = _card(tmp_path)
    assert card["thresholds"]["frame"] > 0
    assert 0 <= result.figures["frame_false_alarm_rate"] <= 0.4
    assert 0 <= result.figures["clip_roc_auc"] <= 1
    assert "<h3>ROC</h3>" in pathlib.Path(result.report).read_text()
    answer = model.signatures["serving_default"](frames=tf.zeros([1, 9, 32, 32, 1], tf.uint8), length=[9])
    assert answer["anomaly_score"].shape == (1, 9)
    asked = _query(tmp_path)
    assert all(len(clip["anomaly_score"]) >= 10 for clip in asked["answers"])
    assert re.search(r"digits-eval-00000: (normal|anomalous), score \d", describe(asked))


def test_threshold_of_another_task_is_rejected(tmp_path):
    (tmp_path / "config.yaml").write_text(_ANOMALY)
    with pytest.raises(configuration.ConfigError, match=r"evaluate.thresholds: expected one of .*, received skill"):
        configuration.load(str(tmp_path / "config.yaml"), ["evaluate={thresholds: {skill: {min: 0}}}"])
