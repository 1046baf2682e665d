"""Tests the Marshall-Palmer conversion against published values."""

import numpy as np
import pytest

from framecast.schemas.units import rain_to_dbz


@pytest.mark.parametrize(("rate", "reflectivity"), [(1, 23.0103), (2, 27.8268), (10, 39.0103), (0.1, 7.0103)])
def test_reflectivity_matches_marshall_and_palmer(rate, reflectivity):
    assert rain_to_dbz(rate) == pytest.approx(reflectivity, abs=1e-4)


def test_array_shape_is_kept():
    assert rain_to_dbz(np.ones((2, 3), np.float32)).shape == (2, 3)
