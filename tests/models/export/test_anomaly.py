"""The exported anomaly model, loaded without Framecast, compared with loops and scikit-learn."""

import keras
import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

from framecast.models.export.anomaly import calibrate
from framecast.models.networks import presets
from framecast.models.spec import AnomalyTask, ContextSpec
from tests.models.export.exporting import export_and_load, make_module
from tests.models.export.labelled_clips import LENGTHS, SPEC, all_frames, examples, padded_frames, serve, sums

_TASK = AnomalyTask(kind="anomaly", context=ContextSpec(min=2), false_alarm_rate=0.25)


def _errors(model):
    """Each clip's mean error of every next frame, and that of its worst window, by a loop over single clips."""
    errors, worst = [], []
    for frames in all_frames():
        pixels = frames[None] / np.float32(255)
        predictions = np.clip(model(pixels, np.array([len(frames)]), steps=len(frames) - 1).numpy(), 0, 1)
        squares = np.square(predictions - pixels[:, 1:])[0, ..., 0]
        errors.append(squares.mean((1, 2)))
        # 12 pixels have three windows of 8 at stride 4; the outer ones extend over the edge.
        starts = [(max(0, row), row + 8) for row in (-2, 2, 6)]
        windows = [squares[:, a:b, c:d].mean((1, 2)) for a, b in starts for c, d in starts]
        worst.append(np.max(windows, axis=0))
    return errors, worst


@pytest.fixture(scope="module")
def anomaly(tmp_path_factory):
    keras.utils.set_random_seed(0)
    model = presets.build("convlstm-tiny", channels=1, dtype="float32")
    pixels = tf.constant(padded_frames() / np.float32(255))
    batch = {"frames": pixels, "known": tf.ones_like(pixels, tf.bool), "length": tf.constant(LENGTHS)}
    thresholds = calibrate(model, [batch], _TASK)
    module = make_module(model, _TASK, SPEC, thresholds)
    return export_and_load(module, tmp_path_factory.mktemp("anomaly")), *_errors(model), thresholds


def test_thresholds_give_configured_false_alarm_rate(anomaly):
    _, _, worst, thresholds = anomaly
    # The first error is that of frame 1, which is context.
    frames = np.concatenate([clip[1:] for clip in worst])
    assert np.mean(frames >= thresholds.frame) <= 0.25 < np.mean(frames >= thresholds.frame * 0.98) + 2 / len(frames)
    assert sum(clip[1:].max() >= thresholds.clip for clip in worst) == 1


def test_scores_are_errors_over_thresholds(anomaly):
    signatures, _, errors, thresholds = anomaly
    answer = serve(signatures)
    scores = answer["anomaly_score"].numpy()
    for clip, length in enumerate(LENGTHS):
        np.testing.assert_allclose(scores[clip, 2:length], errors[clip][1:] / thresholds.frame, rtol=1e-4)
        assert not scores[clip, :2].any()
        assert not scores[clip, length:].any()
        expected = errors[clip][1:].max() / thresholds.clip
        assert answer["clip_anomaly_score"].numpy()[clip] == pytest.approx(expected, rel=1e-4)


def test_anomaly_metrics_equal_scikit_learn(anomaly):
    signatures, errors, worst, thresholds = anomaly
    rng = np.random.default_rng(1)
    labels = [[0, 0, *rng.integers(0, 2, length - 2)] for length in LENGTHS]
    labels[1] = [0] * LENGTHS[1]
    labels[4] = [0] * LENGTHS[4]
    found = sums(_TASK, signatures, examples(frame_label_index=labels))
    truth = np.concatenate([clip[2:] for clip in labels])
    scores = np.concatenate([clip[1:] for clip in worst])
    assert found.compute("frame_roc_auc") == pytest.approx(sklearn.metrics.roc_auc_score(truth, scores), abs=0.05)
    assert found.compute("frame_false_alarm_rate") == np.mean(scores[truth == 0] >= thresholds.frame)
    assert found.compute("frame_detection_rate") == np.mean(scores[truth == 1] >= thresholds.frame)
    assert found.compute("mse") == pytest.approx(np.concatenate([clip[1:] for clip in errors]).mean(), rel=1e-4)
    assert found.values["clip_normal"].sum() == 2
    assert found.values["clip_anomalous"].sum() == 4


def test_unlabelled_clips_are_scored_but_not_counted(anomaly):
    signatures, errors, *_ = anomaly
    found = sums(_TASK, signatures, examples())
    assert found.compute("mse") == pytest.approx(np.concatenate([clip[1:] for clip in errors]).mean(), rel=1e-4)
    assert np.isnan(found.compute("frame_roc_auc"))
