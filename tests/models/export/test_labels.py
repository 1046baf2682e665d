"""The exported models of classes and numbers, loaded without Framecast, compared with scikit-learn."""

import keras
import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

from framecast.models.networks import builders
from framecast.models.spec import ClassifyTask, ModelSpec, RegressTask
from tests.models.export.exporting import export_and_load, make_module
from tests.models.export.labelled_clips import LENGTHS, SPEC, all_frames, examples, serve, sums

_LABELS = {
    ("classify", "clip"): {"label_index": [[0], [2], [1], [2], [2], [0]]},
    ("classify", "frame"): {"frame_label_index": [[frame % 3 for frame in range(length)] for length in LENGTHS]},
    ("regress", "clip"): {"label_value": [0.5, -2.0, 3.0, 1.0, 0.0, 7.0]},
    ("regress several", "clip"): {"label_value": [[290.0 + clip, 1e5 - clip % 4] for clip in range(6)]},
    ("regress", "frame"): {"frame_label_value": [[0.5 * frame for frame in range(length)] for length in LENGTHS]},
}


def _regress_task(kind, per):
    return RegressTask(kind="regress", per=per, numbers=2 if kind == "regress several" else 1)


@pytest.fixture(scope="module", params=_LABELS, ids="-".join)
def exported(request, tmp_path_factory):
    """The task, the model, and the signatures of the exported model."""
    kind, per = request.param
    task = ClassifyTask(kind=kind, classes=3, per=per) if kind == "classify" else _regress_task(kind, per)
    keras.utils.set_random_seed(0)
    model = builders.build(ModelSpec(preset="cnn-convlstm-small"), task, SPEC, keras.DTypePolicy("float32"))
    if kind == "regress several":  # As set in training.
        model.mean.assign([290.0, 1e5])
    return task, model, export_and_load(make_module(model, task, SPEC), tmp_path_factory.mktemp("labels"))


def test_label_outputs_and_sums_equal_scikit_learn(exported):
    task, model, signatures = exported
    kind, per = task.kind, task.per
    given = _LABELS["regress several" if getattr(task, "numbers", 1) > 1 else kind, per]
    (labels,) = given.values()
    (values,) = (value.numpy() for value in serve(signatures).values())

    expected = [model(frames[None] / np.float32(255), np.array([len(frames)])).numpy()[0] for frames in all_frames()]
    if kind == "classify":
        expected = [tf.nn.softmax(one).numpy() for one in expected]
    elif task.numbers == 1:
        expected = [one[..., 0] for one in expected]
    for clip, length in enumerate(LENGTHS):
        shown = values[clip] if per == "clip" else values[clip, :length]
        np.testing.assert_allclose(shown, expected[clip], atol=1e-5)
        if per == "frame":
            assert not values[clip, length:].any()

    truth = np.concatenate(labels) if per == "frame" else np.squeeze(labels)
    estimates = np.concatenate(expected) if per == "frame" else np.stack(expected)
    found = sums(task, signatures, examples(**given))
    if kind == "classify":
        assert found.compute("accuracy") == pytest.approx(sklearn.metrics.accuracy_score(truth, estimates.argmax(-1)))
        entropy = sklearn.metrics.log_loss(truth, estimates / estimates.sum(-1, keepdims=True), labels=range(3))
        assert found.compute("cross_entropy") == pytest.approx(entropy, rel=1e-4)
    else:
        assert found.compute("mse") == pytest.approx(sklearn.metrics.mean_squared_error(truth, estimates), rel=1e-4)
        assert found.compute("r2") == pytest.approx(sklearn.metrics.r2_score(truth, estimates), rel=1e-3)


@pytest.mark.parametrize("exported", [("classify", "clip")], indirect=True, ids="-".join)
def test_served_clip_needs_no_label(exported):
    _, _, signatures = exported
    by_examples = signatures["serve_examples"](examples=examples())
    np.testing.assert_allclose(by_examples["probabilities"], serve(signatures)["probabilities"], atol=1e-6)
