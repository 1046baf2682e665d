"""ROC from histograms, against scikit-learn on the scores that were counted."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from framecast.evaluation.metrics import anomaly as anomaly_metrics


def test_roc_is_scikit_learns_on_the_binned_scores():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 400)
    bins = np.clip(draw.normal(200 + 60 * labels, 50), 0, anomaly_metrics.BINS - 1).astype(int)
    count = {label: np.bincount(bins[labels == label], minlength=anomaly_metrics.BINS) for label in (0, 1)}
    sums = {"clip_normal": count[0], "clip_anomalous": count[1]}
    rates = np.array(anomaly_metrics.roc(sums, "clip"))
    false_alarms, detections, _ = oracle.roc_curve(labels, bins, drop_intermediate=False)
    np.testing.assert_allclose(rates, np.stack([false_alarms, detections], axis=1))
    area = np.trapezoid if hasattr(np, "trapezoid") else np.trapz
    assert area(rates[:, 1], rates[:, 0]) == pytest.approx(anomaly_metrics.compute(sums, "clip_roc_auc"))


def test_one_kind_of_labels_alone_has_no_roc():
    empty, full = np.zeros(anomaly_metrics.BINS), np.ones(anomaly_metrics.BINS)
    assert anomaly_metrics.roc({"frame_normal": full, "frame_anomalous": empty}, "frame") == []
