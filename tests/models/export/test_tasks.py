"""The exported models of anomalies and labels, saved and loaded without our code."""

import keras
import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

from framecast.clips.codec import encode_clip
from framecast.evaluation.metrics.sums import Sums
from framecast.models.export.anomaly import calibrate
from framecast.models.export.module import save_module
from framecast.models.networks import builders
from framecast.models.preprocessing import preprocess
from framecast.models.spec import AnomalyTask, ClassifyTask, ContextSpec, ModelSpec, RegressTask
from framecast.models.tasks import define_task
from framecast.schemas.clip_spec import ClipSpec, FrameRange

_SPEC = ClipSpec(frames=FrameRange(min=1, max=8))
_ANOMALY = AnomalyTask(kind="anomaly", context=ContextSpec(min=2), false_alarm_rate=0.25)
_LENGTHS = (8, 5, 6, 8, 4, 7)


def _frames():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (length, 12, 12, 1), np.uint8) for length in _LENGTHS]


def _model(task):
    keras.utils.set_random_seed(0)
    preset = "convlstm-tiny" if task.kind == "anomaly" else "cnn-convlstm-small"
    return builders.build(ModelSpec(preset=preset), task, _SPEC, keras.DTypePolicy("float32"))


def _loaded(task, model, folder, learned=None):
    def transform(inputs):
        return preprocess(inputs, _SPEC, tf.constant([8], tf.int64), task.label)

    save_module(define_task(task).make_module(model, transform, _SPEC, learned), str(folder), {})
    return tf.saved_model.load(str(folder)).signatures


def _examples(**labels):
    """Serialized clips; each label is a list with one value, or one list, for every clip."""
    examples = []
    for number, frames in enumerate(_frames()):
        own = {name: values[number] for name, values in labels.items()}
        example = encode_clip(frames, example_id=str(number), media_id="m", frame_rate=10.0, **own)
        examples.append(example.SerializeToString())
    return tf.constant(examples)


def _padded():
    padded = np.zeros((len(_LENGTHS), 8, 12, 12, 1), np.uint8)
    for clip, frames in zip(padded, _frames(), strict=True):
        clip[: len(frames)] = frames
    return padded


def _sums(task, signatures, examples):
    outputs = signatures["evaluate"](examples=examples)
    return Sums(task=task.kind).update({name: value.numpy() for name, value in outputs.items()})


def _errors(model):
    """Each clip's mean error of every next frame, and that of its worst window, by loops over the clips alone."""
    errors, worst = [], []
    for frames in _frames():
        pixels = frames[None] / np.float32(255)
        predictions = np.clip(model(pixels, np.array([len(frames)]), steps=len(frames) - 1).numpy(), 0, 1)
        squares = np.square(predictions - pixels[:, 1:])[0, ..., 0]
        errors.append(squares.mean((1, 2)))
        # 12 pixels take three windows of 8, half of one apart; the outer ones reach over the edge.
        starts = [(max(0, row), row + 8) for row in (-2, 2, 6)]
        windows = [squares[:, a:b, c:d].mean((1, 2)) for a, b in starts for c, d in starts]
        worst.append(np.max(windows, axis=0))
    return errors, worst


@pytest.fixture(scope="module")
def anomaly(tmp_path_factory):
    model = _model(_ANOMALY)
    pixels = tf.constant(_padded() / np.float32(255))
    batch = {"frames": pixels, "known": tf.ones_like(pixels, tf.bool), "length": tf.constant(_LENGTHS)}
    thresholds = calibrate(model, [batch], _ANOMALY)
    return _loaded(_ANOMALY, model, tmp_path_factory.mktemp("anomaly"), thresholds), *_errors(model), thresholds


def test_thresholds_let_the_wanted_share_of_normal_frames_and_clips_alarm(anomaly):
    _, _, worst, thresholds = anomaly
    # The first error is that of frame 1, which is context.
    frames = np.concatenate([clip[1:] for clip in worst])
    assert np.mean(frames >= thresholds.frame) <= 0.25 < np.mean(frames >= thresholds.frame * 0.98) + 2 / len(frames)
    assert sum(clip[1:].max() >= thresholds.clip for clip in worst) == 1


def test_scores_are_errors_over_thresholds(anomaly):
    signatures, _, errors, thresholds = anomaly
    answer = signatures["serving_default"](frames=tf.constant(_padded()), length=tf.constant(_LENGTHS))
    scores = answer["anomaly_score"].numpy()
    for clip, length in enumerate(_LENGTHS):
        np.testing.assert_allclose(scores[clip, 2:length], errors[clip][1:] / thresholds.frame, rtol=1e-4)
        assert not scores[clip, :2].any()
        assert not scores[clip, length:].any()
        expected = errors[clip][1:].max() / thresholds.clip
        assert answer["clip_anomaly_score"].numpy()[clip] == pytest.approx(expected, rel=1e-4)


def test_anomaly_metrics_equal_scikit_learns(anomaly):
    signatures, errors, worst, thresholds = anomaly
    rng = np.random.default_rng(1)
    labels = [[0, 0, *rng.integers(0, 2, length - 2)] for length in _LENGTHS]
    labels[1] = [0] * _LENGTHS[1]
    labels[4] = [0] * _LENGTHS[4]
    sums = _sums(_ANOMALY, signatures, _examples(frame_label_index=labels))
    truth = np.concatenate([clip[2:] for clip in labels])
    scores = np.concatenate([clip[1:] for clip in worst])
    assert sums.compute("frame_roc_auc") == pytest.approx(sklearn.metrics.roc_auc_score(truth, scores), abs=0.05)
    assert sums.compute("frame_false_alarm_rate") == np.mean(scores[truth == 0] >= thresholds.frame)
    assert sums.compute("frame_detection_rate") == np.mean(scores[truth == 1] >= thresholds.frame)
    assert sums.compute("mse") == pytest.approx(np.concatenate([clip[1:] for clip in errors]).mean(), rel=1e-4)
    assert sums.values["clip_normal"].sum() == 2
    assert sums.values["clip_anomalous"].sum() == 4


def test_clips_without_labels_are_scored_and_counted_nowhere_else(anomaly):
    signatures, errors, *_ = anomaly
    sums = _sums(_ANOMALY, signatures, _examples())
    assert sums.compute("mse") == pytest.approx(np.concatenate([clip[1:] for clip in errors]).mean(), rel=1e-4)
    assert np.isnan(sums.compute("frame_roc_auc"))


_LABELS = {
    ("classify", "clip"): {"label_index": [[0], [2], [1], [2], [2], [0]]},
    ("classify", "frame"): {"frame_label_index": [[frame % 3 for frame in range(length)] for length in _LENGTHS]},
    ("regress", "clip"): {"label_value": [0.5, -2.0, 3.0, 1.0, 0.0, 7.0]},
    ("regress", "frame"): {"frame_label_value": [[0.5 * frame for frame in range(length)] for length in _LENGTHS]},
}


@pytest.mark.parametrize(("kind", "per"), _LABELS)
def test_labels_are_answered_and_summed_as_scikit_learn_would(kind, per, tmp_path):
    task = ClassifyTask(kind=kind, classes=3, per=per) if kind == "classify" else RegressTask(kind=kind, per=per)
    model = _model(task)
    signatures = _loaded(task, model, tmp_path)
    answer = signatures["serving_default"](frames=tf.constant(_padded()), length=tf.constant(_LENGTHS))
    (values,) = (value.numpy() for value in answer.values())

    expected = [model(frames[None] / np.float32(255), np.array([len(frames)])).numpy()[0] for frames in _frames()]
    expected = [tf.nn.softmax(one).numpy() if kind == "classify" else one[..., 0] for one in expected]
    for clip, length in enumerate(_LENGTHS):
        shown = values[clip] if per == "clip" else values[clip, :length]
        np.testing.assert_allclose(shown, expected[clip], atol=1e-5)
        if per == "frame":
            assert not values[clip, length:].any()

    (labels,) = _LABELS[kind, per].values()
    truth = np.concatenate([np.atleast_1d(label) for label in labels])
    estimates = np.concatenate(expected) if per == "frame" else np.stack(expected)
    sums = _sums(task, signatures, _examples(**_LABELS[kind, per]))
    if kind == "classify":
        assert sums.compute("accuracy") == pytest.approx(sklearn.metrics.accuracy_score(truth, estimates.argmax(-1)))
        entropy = sklearn.metrics.log_loss(truth, estimates / estimates.sum(-1, keepdims=True), labels=range(3))
        assert sums.compute("cross_entropy") == pytest.approx(entropy, rel=1e-4)
    else:
        assert sums.compute("mse") == pytest.approx(sklearn.metrics.mean_squared_error(truth, estimates), rel=1e-4)
        assert sums.compute("r2") == pytest.approx(sklearn.metrics.r2_score(truth, estimates), rel=1e-3)


def test_a_clip_to_be_served_needs_no_label(tmp_path):
    task = ClassifyTask(kind="classify", classes=3)
    signatures = _loaded(task, _model(task), tmp_path)
    by_frames = signatures["serving_default"](frames=tf.constant(_padded()), length=tf.constant(_LENGTHS))
    by_examples = signatures["serve_examples"](examples=_examples())
    np.testing.assert_allclose(by_examples["probabilities"], by_frames["probabilities"], atol=1e-6)
