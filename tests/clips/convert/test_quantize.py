"""Tests pixel values against NumPy, and gray and resizing against Pillow."""

import collections

import numpy as np
import pytest
from PIL import Image

from framecast.clips.convert.quantize import PixelScale, luminance, resize
from framecast.clips.convert.sources.source import BadSource, ValueEncoding
from framecast.clips.convert.spec import ValueSpec


def _scale(stored, encoding=None, **spec):
    tally = collections.Counter()
    return PixelScale(ValueSpec(**spec), encoding or ValueEncoding(), np.dtype(stored), tally), tally


def test_rain_is_converted_to_reflectivity_pixels():
    rng = np.random.default_rng(0)
    depth = rng.integers(0, 400, (50, 60, 1), np.uint16)
    depth[rng.random(depth.shape) < 0.2] = 65535
    scale, tally = _scale("uint16", scale=0.12, unit="mm/h", fill=65535, rain_to_dbz=True, low=-10, high=60)
    pixels = scale(depth, "here")
    rain = depth * 0.12
    with np.errstate(divide="ignore"):
        dbz = 10 * np.log10(200 * rain**1.6)
    expected = np.where(rain < 0.05, 0, np.rint(255 * (dbz + 10) / 70))
    assert np.array_equal(pixels, np.where(depth == 65535, 255, expected))
    assert (scale.dtype, scale.missing) == (np.uint8, 255)
    assert (scale.value.unit, scale.value.offset) == ("dBZ", -10)
    assert scale.value.scale == pytest.approx(70 / 255)
    assert tally["missing values"] == np.count_nonzero(depth == 65535)


def test_values_never_use_missing_pixel():
    scale, tally = _scale("float32", low=0, high=1, missing=255, fill=-9)
    values = np.array([0, 0.5, 1.0, 1.5, -1, -9, np.nan], np.float32).reshape(1, 7, 1)
    assert scale(values, "here").ravel().tolist() == [0, 128, 254, 254, 0, 255, 255]
    assert tally == {"missing values": 2, "values beyond the range": 2, "values moved off the pixel for missing": 2}
    scale, _ = _scale("float32", low=0, high=1, missing=0)
    assert scale(values[:, :1], "here").ravel().tolist() == [1]


@pytest.mark.parametrize("stored", ["uint8", "uint16", "int16", "int64"])
def test_integers_are_unchanged(stored):
    scale, _ = _scale(stored)
    values = np.array([0, 1, 100, 127]).astype(stored).reshape(1, -1, 1)
    pixels = scale(values, "here")
    assert np.array_equal(pixels, values)
    assert pixels.dtype == (np.uint8 if stored in ("uint8", "bool") else np.uint16)
    assert (scale.value, scale.missing) == (None, None)


def test_16_bit_fill_value_is_unchanged():
    scale, _ = _scale("uint16", ValueEncoding(0.01, 0.0, "mm", (65535.0,)))
    values = np.array([0, 7, 65535], np.uint16).reshape(1, 3, 1)
    assert np.array_equal(scale(values, "here"), values)
    assert scale.missing == 65535
    assert (scale.value.unit, scale.value.scale) == ("mm", 0.01)


def test_floats_are_unchanged_and_nan_is_missing():
    scale, _ = _scale("float32")
    values = np.array([0, 0.1, 1, np.nan], np.float32).reshape(1, 4, 1)
    assert scale(values, "here").ravel().tolist() == [0, np.float32(0.1), 1, -1]
    assert scale.missing == -1


@pytest.mark.parametrize(
    ("values", "spec", "message"),
    [
        (np.array([-1], np.int16), {}, r"here: expected values from 0 to 65535 \(uint16\), received -1; .*--range"),
        (np.array([300], np.uint16), {"dtype": "uint8"}, r"expected values from 0 to 255 \(uint8\).* received 300"),
        (np.array([1.5], np.float32), {}, r"expected values from 0 to 1 \(float32\).* received 1\.5"),
        (np.array([np.inf], np.float32), {}, r"received inf"),
        (np.array([0.5], np.float32), {"dtype": "uint8"}, r"expected integers, received float32; set the range"),
        (np.array([np.nan], np.float32), {"low": 0, "high": 1}, r"1 pixels have no data; set .* \(--missing\)"),
        (np.array([9], np.uint8), {"missing": 9}, r"the pixel for no data, 9, is also a value; .*\(--missing\)"),
    ],
)
def test_value_outside_pixel_range_is_rejected(values, spec, message):
    scale, _ = _scale(values.dtype, **spec)
    with pytest.raises(BadSource, match=message):
        scale(values.reshape(1, 1, 1), "here")


def test_fill_value_outside_dtype_needs_missing_pixel():
    with pytest.raises(ValueError, match=r"missing: expected a uint16 pixel, received -9999 \(--missing\)"):
        _scale("int16", fill=-9999)
    scale, _ = _scale("int16", fill=-9999, missing=65535)
    assert scale(np.array([[[-9999], [3]]], np.int16), "here").ravel().tolist() == [65535, 3]


def test_gray_matches_pillow():
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    expected = np.asarray(Image.fromarray(values).convert("L"))
    assert np.abs(luminance(values, "here")[..., 0].astype(int) - expected).max() <= 1
    with pytest.raises(BadSource, match="here: expected 1, 3 or 4 channels \(--gray\), received 2"):
        luminance(values[..., :2], "here")


@pytest.mark.parametrize("size", [(7, 9), (40, 50)])
def test_resize_matches_pillow(size):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR))
    assert np.abs(resize(pixels, size, None).astype(int) - expected).max() <= 1


def test_missing_pixels_do_not_affect_resized_values():
    pixels = np.full((40, 40, 1), 100, np.uint8)
    pixels[:20] = 255
    small = resize(pixels, (9, 9), 255)
    assert set(np.unique(small)) == {100, 255}
    assert (small[:4] == 255).all()
    assert (small[5:] == 100).all()
    # Without `missing`, means of values and the no-data pixel count as values.
    assert len(np.unique(resize(pixels, (9, 9), None))) > 2


def test_interpolated_values_avoid_missing_pixel():
    pixels = np.zeros((8, 8, 1), np.uint8)
    pixels[:, ::2] = 254
    assert 127 not in resize(pixels, (8, 4), 127)
    assert 127 in resize(pixels, (8, 4), None)


@pytest.mark.parametrize(
    "options", [{}, {"dtype": "uint16"}, {"dtype": "float32"}, {"low": 0, "high": 1}, {"unit": "m"}]
)
def test_true_is_the_largest_pixel(options):
    mask = np.random.default_rng(0).random((4, 5, 1)) < 0.5
    scale, tally = _scale("bool", **options)
    pixels = scale(mask, "here")
    largest = 1 if scale.dtype == np.float32 else np.iinfo(scale.dtype).max
    assert np.array_equal(pixels, mask * np.float64(largest))
    if scale.value is not None:
        assert np.allclose(pixels * scale.value.scale + scale.value.offset, mask)
    assert not +tally
