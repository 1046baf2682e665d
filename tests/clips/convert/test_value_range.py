"""Tests the range that a first pass finds for gridded values."""

import numpy as np
import pandas as pd
import pytest
import xarray

from framecast.clips.convert.pipeline import convert
from framecast.clips.convert.spec import ConvertSpec
from framecast.clips.convert.value_range import round_outward

_RNG = np.random.default_rng(0)


def _convert(folder, values, encoding=None, **spec):
    times = pd.date_range("2020", periods=len(values), freq="h")
    data = xarray.Dataset({"p": (("time", "y", "x"), values, {"units": "K"})}, coords={"time": times})
    (folder / "in").mkdir()
    data.to_netcdf(folder / "in/a.nc", engine="netcdf4", encoding={"p": encoding or {}})
    return convert([str(folder / "in")], folder / "out", ConvertSpec.model_validate(spec))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-31.4, 62.3, (-32, 63)), (260.13, 301.7, (260, 302)), (0.0012, 0.0831, (0.001, 0.084)), (5, 5, (5, 6))],
)
def test_range_is_rounded_outward(low, high, expected):
    assert round_outward(low, high) == expected


def test_random_ranges_hold_their_values():
    for low, high in np.sort(_RNG.normal(0, 10 ** _RNG.uniform(-6, 9, (500, 1)), (500, 2))):
        found = round_outward(low, high)
        assert found[0] <= low < high <= found[1]
        assert found[1] - found[0] <= 1.2 * (high - low)


@pytest.mark.parametrize(
    "encoding", [None, {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32767}]
)
def test_values_that_are_no_pixels_get_their_range(tmp_path, encoding):
    values = _RNG.uniform(250.5, 299.5, (9, 6, 8)).astype("f4")
    values[:, 0, 0] = np.nan
    manifest = _convert(tmp_path, values, encoding)
    assert manifest["found_range"] == [250.0, 300.0, "uint16"]
    clip = manifest["clip"]
    assert (clip["dtype"], clip["missing"]) == ("uint16", 65535)
    assert clip["value"] == {"unit": "K", "scale": 50 / 65535, "offset": 250.0}
    assert "values beyond the range" not in manifest["left_out"]


def test_range_is_that_of_the_crop(tmp_path):
    values = _RNG.uniform(10, 30, (9, 6, 8)).astype("f4")
    values[:, 5] = 1000
    manifest = _convert(tmp_path, values, cut={"crop": (0, 0, 5, 8)}, value={"dtype": "uint8"})
    assert manifest["found_range"] == [10.0, 30.0, "uint8"]


@pytest.mark.parametrize(
    ("values", "encoding"),
    [
        (_RNG.uniform(0, 1, (9, 6, 8)).astype("f4"), {}),
        (_RNG.integers(0, 256, (9, 6, 8)).astype("u1"), {}),
        (_RNG.integers(0, 30_000, (9, 6, 8)).astype("i2"), {}),
    ],
)
def test_values_that_are_pixels_get_none(tmp_path, values, encoding):
    assert "found_range" not in _convert(tmp_path, values, encoding)


def test_finished_conversion_with_range_is_not_repeated(tmp_path):
    manifest = _convert(tmp_path, _RNG.uniform(250, 300, (9, 6, 8)))
    assert convert([str(tmp_path / "in")], tmp_path / "out", ConvertSpec()) == manifest
