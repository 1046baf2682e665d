"""Metrics of anomaly scores against scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics

from framecast.evaluation.metrics import anomaly as anomaly_metrics
from framecast.evaluation.metrics.sums import Sums


def anomaly_outputs(scores, labels):
    """The outputs of one clip for each score, with equal histograms of frames and clips."""
    bins = np.clip(np.floor(anomaly_metrics.bin_of(np.log2(scores))), 0, anomaly_metrics.BINS - 1).astype(int)
    hot = np.eye(anomaly_metrics.BINS)[bins]
    outputs = {"pixels": np.full(len(scores), 10.0), "squared_error": scores}
    for level in anomaly_metrics.LEVELS:
        outputs[f"{level}_normal"] = hot * (labels == 0)[:, None]
        outputs[f"{level}_anomalous"] = hot * (labels == 1)[:, None]
    return outputs


def test_roc_auc_is_scikit_learns():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    scores = np.exp(rng.normal(size=400) + labels)
    sums = Sums(task="anomaly").update(anomaly_outputs(scores, labels))
    for level in anomaly_metrics.LEVELS:
        expected = sklearn.metrics.roc_auc_score(labels, scores)
        assert sums.compute(f"{level}_roc_auc") == pytest.approx(expected, abs=2e-3)


def test_rates_at_threshold_are_exact():
    scores = np.array([0.5, 0.999, 1.0, 1.001, 40.0, 1e-9, 1e9, 0.2])
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    sums = Sums(task="anomaly").update(anomaly_outputs(scores, labels))
    assert sums.compute("frame_false_alarm_rate") == 2 / 4
    assert sums.compute("clip_detection_rate") == 2 / 4
    assert sums.compute("mse") == pytest.approx(scores.sum() / 80)


def test_roc_is_scikit_learns_on_binned_scores():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    bins = np.clip(rng.normal(200 + 60 * labels, 50), 0, anomaly_metrics.BINS - 1).astype(int)
    count = {label: np.bincount(bins[labels == label], minlength=anomaly_metrics.BINS) for label in (0, 1)}
    sums = {"clip_normal": count[0], "clip_anomalous": count[1]}
    rates = np.array(anomaly_metrics.roc(sums, "clip"))
    false_alarms, detections, _ = sklearn.metrics.roc_curve(labels, bins, drop_intermediate=False)
    np.testing.assert_allclose(rates, np.stack([false_alarms, detections], axis=1))
    area = np.trapezoid if hasattr(np, "trapezoid") else np.trapz
    assert area(rates[:, 1], rates[:, 0]) == pytest.approx(anomaly_metrics.compute(sums, "clip_roc_auc"))


def test_one_kind_of_labels_has_no_roc():
    empty, full = np.zeros(anomaly_metrics.BINS), np.ones(anomaly_metrics.BINS)
    assert anomaly_metrics.roc({"frame_normal": full, "frame_anomalous": empty}, "frame") == []
