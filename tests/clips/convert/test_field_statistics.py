"""Tests the statistics of physical values, and that a resumed or divided conversion adds them up."""

import numpy as np
import pytest

from framecast.clips.convert import pipeline as conversion
from framecast.clips.convert.field_statistics import FieldStatistics
from framecast.clips.convert.spec import ConvertSpec
from framecast.pipeline.cli.convert_screen import describe

_RNG = np.random.default_rng(0)


def test_merged_statistics_equal_numpy():
    values = _RNG.normal(size=(5, 40))
    total = FieldStatistics()
    for row in values:
        part = FieldStatistics()
        part.add("K", row, missing=2, undetected=8)
        total.merge(part.to_json())
    empty = FieldStatistics()
    empty.add("K", np.zeros(0), missing=0, undetected=0)
    total.merge(empty.to_json())
    expected = {"min": values.min(), "max": values.max(), "mean": pytest.approx(values.mean())}
    assert total.describe() == {"K": expected | {"missing": 10 / 250, "undetected": 40 / 250}}


def _convert(source, to, **value):
    spec = {"read": {"fps": 1}, "value": value, "cut": {"frames": {"min": 2, "max": 8}}}
    return conversion.convert([str(source)], to, ConvertSpec.model_validate(spec))


def test_values_of_all_sources_are_in_source_unit(tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "_UNIT_BYTES", 1)
    stored = _RNG.integers(0, 400, (3, 16, 12, 14)).astype(np.uint16)
    stored[:, :, 0] = 65535
    (tmp_path / "in").mkdir()
    for index, frames in enumerate(stored):
        np.save(tmp_path / "in" / f"{index}.npy", frames)
    value = {"scale": 0.12, "unit": "mm/h", "fill": 65535, "rain_to_dbz": True, "low": -10, "high": 60}
    manifest = _convert(tmp_path / "in", tmp_path / "clips", **value)
    rain = stored[:, :, 1:] * 0.12
    seen = manifest["values"]["mm/h"]
    assert (seen["min"], seen["max"]) == (rain.min(), rain.max())
    assert seen["mean"] == pytest.approx(rain.mean())
    assert seen["missing"] == pytest.approx(1 / 12)
    printed = describe("clips", manifest)
    assert f"values: {rain.min():.6g} to {rain.max():.6g} mm/h, mean {rain.mean():.6g} mm/h, 8.33% missing" in printed


def test_images_without_unit_have_no_values(tmp_path):
    np.save(tmp_path / "a.npy", _RNG.integers(0, 256, (16, 12, 14)).astype(np.uint8))
    manifest = _convert(tmp_path / "a.npy", tmp_path / "clips")
    assert manifest["values"] == {}
    assert "values" not in describe("clips", manifest)
