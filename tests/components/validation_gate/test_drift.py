"""The divergence of two spans: equal to TFDV's drift comparator; large only if the content changed."""

import itertools

import numpy as np
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from scipy.spatial.distance import jensenshannon
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from framecast.components.validation_gate.drift import SpanDrift, compare

_MEAN = "clip/mean"


def _statistics(values, name=_MEAN):
    values = np.asarray(values)
    frame = pd.DataFrame({name: values.astype(np.float32) if values.dtype == float else values})
    return tfdv.generate_statistics_from_dataframe(frame).datasets[0]


def _divergence(values, before, name=_MEAN):
    return compare(_statistics(values, name), _statistics(before, name), {name: 0.0})[name]


def _tfdv_divergence(values, before, name=_MEAN):
    """Returns the divergence that TFDV's drift comparator measures over quantiles."""
    later, earlier = (
        statistics_pb2.DatasetFeatureStatisticsList(datasets=[_statistics(part, name)]) for part in (values, before)
    )
    schema = tfdv.infer_schema(later, infer_feature_shape=False)
    comparator = schema.feature[0].drift_comparator.jensen_shannon_divergence
    comparator.threshold = 0.0
    comparator.source.type = schema_pb2.HistogramSelection.QUANTILES
    (info,) = tfdv.validate_statistics(later, schema, previous_statistics=earlier).drift_skew_info
    return info.drift_measurements[0].value


def _quantile_buckets(statistics):
    (histogram,) = (part for part in statistics.features[0].num_stats.histograms if part.type == part.QUANTILES)
    edges = [histogram.buckets[0].low_value, *(bucket.high_value for bucket in histogram.buckets)]
    counts = [bucket.sample_count for bucket in histogram.buckets]
    return np.array(edges), np.array(counts)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.2])
def test_divergence_of_numbers_equals_scipy(shift):
    rng = np.random.default_rng(0)
    values, before = rng.normal(0.3 + shift, 0.1, 200), rng.normal(0.3, 0.1, 150)
    histograms = [_quantile_buckets(_statistics(part)) for part in (values, before)]
    edges = np.unique(np.concatenate([edges for edges, _ in histograms]))
    shares = [
        np.diff(np.interp(edges, own, np.concatenate([[0], np.cumsum(counts)]))) / counts.sum()
        for own, counts in histograms
    ]
    assert _divergence(values, before) == pytest.approx(jensenshannon(*shares, base=2) ** 2, abs=1e-4)


_SAMPLES = {
    "continuous": lambda rng, count: rng.normal(0.3, 0.1, count),
    "many zeros": lambda rng, count: rng.normal(0.3, 0.1, count) * (rng.random(count) < 0.6),
    "few values": lambda rng, count: np.round(rng.normal(0.3, 0.1, count), 1),
    "long tail": lambda rng, count: np.minimum(rng.lognormal(-6, 2, count), 1) * (rng.random(count) < 0.7),
}


@pytest.mark.parametrize(("later", "before"), itertools.combinations_with_replacement(_SAMPLES, 2))
def test_divergence_of_numbers_equals_tfdv(later, before):
    rng = np.random.default_rng(0)
    values, earlier = _SAMPLES[later](rng, 150), _SAMPLES[before](rng, 100)
    assert _divergence(values, earlier) == pytest.approx(_tfdv_divergence(values, earlier), abs=1e-9)


def test_divergence_of_strings_equals_tfdv():
    values, before = np.repeat(["empty", "sparse", "dense"], [5, 20, 75]), np.repeat(["empty", "sparse"], [10, 40])
    received = _divergence(values, before, "clip/content")
    assert received == pytest.approx(_tfdv_divergence(values, before, "clip/content"), abs=1e-9)
    assert received == pytest.approx(jensenshannon([0.05, 0.2, 0.75], [0.2, 0.8, 0], base=2) ** 2, abs=1e-9)


def test_one_outlier_is_no_drift():
    assert _divergence(np.r_[np.zeros(99), 0.001], np.zeros(100)) < 0.05
    rng = np.random.default_rng(0)
    heavy = [np.minimum(rng.lognormal(-6, 2, 100), 1) for _ in range(11)]
    assert max(_divergence(later, before) for later, before in itertools.pairwise(heavy)) < 0.2


def test_changed_constant_has_largest_divergence():
    assert _divergence(np.full(50, 0.25), np.full(50, 0.25)) == 0
    assert _divergence(np.full(50, 0.25), np.full(50, 0.5)) == 1


def test_error_names_missing_feature():
    with pytest.raises(ValueError, match=r"^clip/motion: expected statistics of both spans, received none$"):
        compare(_statistics([0.1, 0.2]), _statistics([0.1, 0.2]), {_MEAN: 0.0, "clip/motion": 0.0})


def test_threshold_is_the_largest_accepted_divergence():
    comparison = SpanDrift(
        2, 9, 1, 9, divergences={"a": 0.3, "b": 0.31, "c": 0.9}, thresholds=dict.fromkeys("abc", 0.3)
    )
    assert comparison.drifted == ["c", "b"]
    assert comparison.describe() == "span 2 drifted from span 1: c 0.9 > 0.3, b 0.31 > 0.3"
