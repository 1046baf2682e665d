"""The divergence of two spans: SciPy's, over TFDV's own histograms; large where the content changed, and only there."""

import itertools

import numpy as np
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from scipy.spatial.distance import jensenshannon

from framecast.components.validation_gate.drift import SpanDrift, compare

_MEAN = "clip/mean"


def _statistics(values, name=_MEAN):
    values = np.asarray(values)
    frame = pd.DataFrame({name: values.astype(np.float32) if values.dtype == float else values})
    return tfdv.generate_statistics_from_dataframe(frame).datasets[0]


def _divergence(values, before, name=_MEAN):
    return compare(_statistics(values, name), _statistics(before, name), {name: 0.0})[name]


def _quantile_buckets(statistics):
    (histogram,) = (part for part in statistics.features[0].num_stats.histograms if part.type == part.QUANTILES)
    edges = [histogram.buckets[0].low_value, *(bucket.high_value for bucket in histogram.buckets)]
    counts = [bucket.sample_count for bucket in histogram.buckets]
    return np.array(edges), np.array(counts)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.2])
def test_the_divergence_of_numbers_is_scipys(shift):
    rng = np.random.default_rng(0)
    values, before = rng.normal(0.3 + shift, 0.1, 200), rng.normal(0.3, 0.1, 150)
    histograms = [_quantile_buckets(_statistics(part)) for part in (values, before)]
    edges = np.unique(np.concatenate([edges for edges, _ in histograms]))
    shares = [
        np.diff(np.interp(edges, own, np.concatenate([[0], np.cumsum(counts)]))) / counts.sum()
        for own, counts in histograms
    ]
    assert _divergence(values, before) == pytest.approx(jensenshannon(*shares, base=2) ** 2, abs=1e-4)


def test_the_divergence_of_words_is_scipys():
    values, before = np.repeat(["empty", "sparse", "dense"], [5, 20, 75]), np.repeat(["empty", "sparse"], [10, 40])
    expected = jensenshannon([0.05, 0.2, 0.75], [0.2, 0.8, 0], base=2) ** 2
    assert _divergence(values, before, "clip/content") == pytest.approx(expected, abs=1e-4)


def test_one_clip_far_out_is_no_drift():
    assert _divergence(np.r_[np.zeros(99), 0.001], np.zeros(100)) < 0.05
    rng = np.random.default_rng(0)
    heavy = [np.minimum(rng.lognormal(-6, 2, 100), 1) for _ in range(11)]
    assert max(_divergence(later, before) for later, before in itertools.pairwise(heavy)) < 0.2


def test_a_constant_that_changed_is_as_far_as_can_be():
    assert _divergence(np.full(50, 0.25), np.full(50, 0.25)) == 0
    assert _divergence(np.full(50, 0.25), np.full(50, 0.5)) == 1


def test_a_feature_that_was_not_measured_is_named():
    with pytest.raises(ValueError, match=r"^clip/motion: expected a divergence measured by TFDV, received none$"):
        compare(_statistics([0.1, 0.2]), _statistics([0.1, 0.2]), {_MEAN: 0.0, "clip/motion": 0.0})


def test_a_threshold_is_the_largest_divergence_that_passes():
    comparison = SpanDrift(
        2, 9, 1, 9, divergences={"a": 0.3, "b": 0.31, "c": 0.9}, thresholds=dict.fromkeys("abc", 0.3)
    )
    assert comparison.drifted == ["c", "b"]
    assert comparison.describe() == "span 2 drifted from span 1: c 0.9 > 0.3, b 0.31 > 0.3"
