"""Metrics of predicted labels against scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics

from framecast.evaluation.metrics.registry import names_of
from framecast.evaluation.metrics.sums import Sums


def classify_outputs(labels, logits):
    """The outputs of the `evaluate` signature for clips with one label each."""
    classes = logits.shape[1]
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    confusion = np.zeros((len(labels), classes, classes), "float32")
    confusion[np.arange(len(labels)), labels, logits.argmax(axis=1)] = 1
    entropy = -log_softmax[np.arange(len(labels)), labels]
    return {"labels": np.ones(len(labels)), "cross_entropy": entropy, "confusion": confusion}


def test_classification_metrics_are_scikit_learns():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 3, 50), rng.normal(size=(50, 4))
    sums = Sums(task="classify").update(classify_outputs(labels, logits))
    predicted = logits.argmax(axis=1)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert sums.compute("accuracy") == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted))
    assert sums.compute("macro_f1") == pytest.approx(sklearn.metrics.f1_score(labels, predicted, average="macro"))
    expected = sklearn.metrics.log_loss(labels, probabilities, labels=range(4))
    assert sums.compute("cross_entropy") == pytest.approx(expected)
    assert sums.compute("accuracy_majority") == np.bincount(labels).max() / 50


@pytest.mark.parametrize("numbers", [1, 3])
def test_regression_metrics_are_scikit_learns(numbers):
    rng = np.random.default_rng(0)
    labels, predictions = rng.normal(size=(40, numbers)), rng.normal(size=(40, numbers))
    error = predictions - labels
    outputs = {
        "labels": np.ones(40),
        "squared_error": error**2,
        "absolute_error": np.abs(error),
        "number": labels,
        "squared_number": labels**2,
    }
    sums = Sums(task="regress").update(outputs)
    assert sums.compute("mse") == pytest.approx(sklearn.metrics.mean_squared_error(labels, predictions))
    assert sums.compute("mae") == pytest.approx(sklearn.metrics.mean_absolute_error(labels, predictions))
    assert sums.compute("r2") == pytest.approx(sklearn.metrics.r2_score(labels, predictions))


@pytest.mark.parametrize("task", ["classify", "regress", "anomaly"])
def test_metrics_without_clips_are_nan(task):
    for name in names_of(task):
        assert np.isnan(Sums(task=task).compute(name))


def test_single_clips_and_batches_sum_alike():
    rng = np.random.default_rng(0)
    outputs = classify_outputs(rng.integers(0, 3, 6), rng.normal(size=(6, 3)))
    whole = Sums(task="classify").update(outputs)
    one_by_one = Sums(task="classify")
    for clip in range(6):
        # TFMA turns the scalars of a single clip into arrays of one.
        single = {name: np.atleast_1d(values[clip]) for name, values in outputs.items()}
        one_by_one = one_by_one.merge(Sums(task="classify").update(single))
    for name in names_of("classify"):
        assert one_by_one.compute(name) == pytest.approx(whole.compute(name))


def test_output_of_another_shape_is_named():
    outputs = {"labels": np.ones(2), "cross_entropy": np.ones((2, 5)), "confusion": np.ones((2, 3, 3))}
    with pytest.raises(ValueError, match=r"cross_entropy: expected 0 axes after the batch, received \(2, 5\)"):
        Sums(task="classify").update(outputs)
