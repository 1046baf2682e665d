"""Sums of windows against SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import uniform_filter

from framecast.evaluation.sums.windows import window_sums


@pytest.mark.parametrize("side", [1, 3, 17])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_window_sums_are_scipys(side, dtype):
    fields = np.random.default_rng(0).uniform(size=(2, 20, 9, 3)).astype(dtype)
    expected = uniform_filter(fields.astype("float64"), (0, side, side, 0), mode="constant") * side**2
    tolerance = 1e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(window_sums(tf.constant(fields), side), expected, rtol=tolerance, atol=tolerance)


def test_integers_are_summed_exactly():
    fields = np.ones((1, 40, 40, 1), "float32")
    np.testing.assert_array_equal(window_sums(tf.constant(fields), 17)[0, 8:-8, 8:-8], np.full((24, 24, 1), 289))


def test_nan_stays_in_its_windows():
    fields = np.zeros((1, 9, 9, 1), "float32")
    fields[0, 4, 4] = np.nan
    seen = np.isnan(window_sums(tf.constant(fields), 3)[0, ..., 0])
    assert seen.sum() == seen[3:6, 3:6].sum() == 9
