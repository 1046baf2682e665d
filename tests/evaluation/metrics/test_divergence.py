"""The Jensen-Shannon divergence of counts."""

import numpy as np
import pytest

from framecast.evaluation.metrics.divergence import jensen_shannon


def test_jensen_shannon_of_disjoint_and_equal_counts():
    assert jensen_shannon({"a": 3}, {"b": 5}) == 1
    assert jensen_shannon({"a": 3, "b": 6}, {"b": 2, "a": 1}) == pytest.approx(0, abs=1e-15)


def test_jensen_shannon_follows_its_definition():
    p, q = np.array([0.05, 0.2, 0.75]), np.array([0.2, 0.3, 0.5])
    middle = (p + q) / 2
    expected = (np.sum(p * np.log2(p / middle)) + np.sum(q * np.log2(q / middle))) / 2
    received = jensen_shannon({"x": 5, "y": 20, "z": 75}, {"z": 25, "y": 15, "x": 10})
    assert received == pytest.approx(expected, rel=1e-12)


def test_nearly_equal_distributions_never_give_nan():
    rng = np.random.default_rng(0)
    for _ in range(200):
        counts = dict(enumerate(rng.random(11)))
        assert 0 <= jensen_shannon(counts, {key: value * (1 + 1e-16) * 3 for key, value in counts.items()}) < 1e-12
