"""Metrics of labels and anomaly scores against scikit-learn's."""

import numpy as np
import pytest
import sklearn.metrics

from framecast.evaluation.metrics import anomaly as anomaly_metrics
from framecast.evaluation.metrics.registry import names_of
from framecast.evaluation.metrics.sums import Sums


def classify_outputs(labels, logits):
    """What an `evaluate` signature returns of clips with one label each."""
    classes = logits.shape[1]
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    confusion = np.zeros((len(labels), classes, classes), "float32")
    confusion[np.arange(len(labels)), labels, logits.argmax(axis=1)] = 1
    entropy = -log_softmax[np.arange(len(labels)), labels]
    return {"labels": np.ones(len(labels)), "cross_entropy": entropy, "confusion": confusion}


def test_classes_equal_scikit_learn():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 3, 50), rng.normal(size=(50, 4))
    sums = Sums(task="classify").update(classify_outputs(labels, logits))
    estimated = logits.argmax(axis=1)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert sums.compute("accuracy") == pytest.approx(sklearn.metrics.accuracy_score(labels, estimated))
    assert sums.compute("macro_f1") == pytest.approx(sklearn.metrics.f1_score(labels, estimated, average="macro"))
    expected = sklearn.metrics.log_loss(labels, probabilities, labels=range(4))
    assert sums.compute("cross_entropy") == pytest.approx(expected)
    assert sums.compute("accuracy_majority") == np.bincount(labels).max() / 50


def test_numbers_equal_scikit_learn():
    rng = np.random.default_rng(0)
    labels, estimates = rng.normal(size=40), rng.normal(size=40)
    error = estimates - labels
    outputs = {
        "labels": np.ones(40),
        "squared_error": error**2,
        "absolute_error": np.abs(error),
        "value": labels,
        "squared_value": labels**2,
    }
    sums = Sums(task="regress").update(outputs)
    assert sums.compute("mse") == pytest.approx(sklearn.metrics.mean_squared_error(labels, estimates))
    assert sums.compute("mae") == pytest.approx(sklearn.metrics.mean_absolute_error(labels, estimates))
    assert sums.compute("r2") == pytest.approx(sklearn.metrics.r2_score(labels, estimates))


def anomaly_outputs(scores, labels):
    """One clip a score; the histograms of frames and clips alike."""
    place = np.clip(np.floor(anomaly_metrics.bin_of(np.log2(scores))), 0, anomaly_metrics.BINS - 1).astype(int)
    hot = np.eye(anomaly_metrics.BINS)[place]
    outputs = {"pixels": np.full(len(scores), 10.0), "squared_error": scores}
    for level in anomaly_metrics.LEVELS:
        outputs[f"{level}_normal"] = hot * (labels == 0)[:, None]
        outputs[f"{level}_anomalous"] = hot * (labels == 1)[:, None]
    return outputs


def test_area_under_roc_equals_scikit_learn_to_the_width_of_a_bin():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    scores = np.exp(rng.normal(size=400) + labels)
    sums = Sums(task="anomaly").update(anomaly_outputs(scores, labels))
    for level in anomaly_metrics.LEVELS:
        expected = sklearn.metrics.roc_auc_score(labels, scores)
        assert sums.compute(f"{level}_roc_auc") == pytest.approx(expected, abs=2e-3)


def test_rates_at_the_threshold_are_exact():
    scores = np.array([0.5, 0.999, 1.0, 1.001, 40.0, 1e-9, 1e9, 0.2])
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    sums = Sums(task="anomaly").update(anomaly_outputs(scores, labels))
    assert sums.compute("frame_false_alarm_rate") == 2 / 4
    assert sums.compute("clip_detection_rate") == 2 / 4
    assert sums.compute("mse") == pytest.approx(scores.sum() / 80)


@pytest.mark.parametrize("task", ["classify", "regress", "anomaly"])
def test_nothing_counted_is_no_number(task):
    for name in names_of(task):
        assert np.isnan(Sums(task=task).compute(name))


def test_single_clips_and_batches_add_up_to_the_same():
    rng = np.random.default_rng(0)
    outputs = classify_outputs(rng.integers(0, 3, 6), rng.normal(size=(6, 3)))
    whole = Sums(task="classify").update(outputs)
    one_by_one = Sums(task="classify")
    for clip in range(6):
        # TFMA makes arrays of one of the scalars of a single clip.
        single = {name: np.atleast_1d(values[clip]) for name, values in outputs.items()}
        one_by_one = one_by_one.merge(Sums(task="classify").update(single))
    for name in names_of("classify"):
        assert one_by_one.compute(name) == pytest.approx(whole.compute(name))


def test_an_output_of_another_shape_is_named():
    outputs = {"labels": np.ones(2), "cross_entropy": np.ones((2, 5)), "confusion": np.ones((2, 3, 3))}
    with pytest.raises(ValueError, match=r"cross_entropy: expected 0 axes after the batch, received \(2, 5\)"):
        Sums(task="classify").update(outputs)
