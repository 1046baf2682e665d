"""Conversion of event thresholds to pixels."""

import pydantic
import pytest

from framecast.evaluation.events_spec import EventsSpec
from framecast.schemas.clip_spec import ClipSpec, FrameRange, PixelValue


def _clip(dtype="uint8", **value):
    value = PixelValue(**value) if value else None
    return ClipSpec(frames=FrameRange(min=1, max=2), dtype=dtype, value=value)


_DBZ = _clip(unit="dBZ", scale=70 / 255, offset=-10)


def test_thresholds_without_physical_value_are_pixels():
    assert EventsSpec(thresholds=[0.25, 1]).in_pixels(_clip()) == (0.25, 1)


@pytest.mark.parametrize("unit", [None, "dBZ"])
def test_thresholds_are_in_the_clips_unit(unit):
    assert EventsSpec(thresholds=[25, 60], unit=unit).in_pixels(_DBZ) == pytest.approx((0.5, 1))


def test_rain_rates_become_reflectivity():
    # 10 log10(200 R**1.6): 23.0103 dBZ at 1 mm/h and 39.0103 at 10.
    expected = ((23.0103 + 10) / 70, (39.0103 + 10) / 70)
    assert EventsSpec(thresholds=[1, 10], unit="mm/h").in_pixels(_DBZ) == pytest.approx(expected, abs=1e-6)


def test_largest_pixel_depends_on_dtype():
    for dtype, largest in (("uint8", 255), ("uint16", 65535), ("float32", 1)):
        clip = _clip(dtype, unit="K", scale=100 / largest, offset=200)
        assert EventsSpec(thresholds=[250]).in_pixels(clip) == pytest.approx((0.5,))


@pytest.mark.parametrize(
    ("spec", "clip", "message"),
    [
        ({"unit": "K"}, _DBZ, r"unit: expected dBZ \(clip.value.unit\) or mm/h, received K"),
        ({"unit": "mm/h"}, _clip(unit="K"), r"unit: expected K \(clip.value.unit\), received mm/h"),
        ({"unit": "dBZ"}, _clip(unit="mm/h"), r"unit: expected mm/h \(clip.value.unit\), received dBZ"),
        ({"unit": "mm/h"}, _clip(), r"unit: expected none, because without clip.value .* received mm/h"),
        ({"thresholds": [2]}, _clip(), r"thresholds: expected values above 0, up to 1, because .*, received 2$"),
        ({"thresholds": [0]}, _clip(), r"thresholds: expected values above 0, .*, received 0$"),
        ({"thresholds": [-10]}, _DBZ, r"thresholds: expected values above -10 dBZ, up to 60 .*, received -10$"),
        ({"thresholds": [300], "unit": "mm/h"}, _DBZ, r"above -10 dBZ, up to 60 .*, received 300 mm/h$"),
        ({"thresholds": [0, 1], "unit": "mm/h"}, _DBZ, r"thresholds: expected values above 0 mm/h, received 0$"),
        ({}, _clip(unit="K", scale=-1.0), r"expected clip.value.scale above 0, received -1"),
    ],
)
def test_value_that_does_not_fit_clips_is_named(spec, clip, message):
    with pytest.raises(ValueError, match=message):
        EventsSpec(**{"thresholds": [0.5], **spec}).in_pixels(clip)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"thresholds": []}, "at least 1 item"),
        ({"thresholds": [2, 1]}, "expected ascending values, received 2, 1"),
        ({"thresholds": [2, 2]}, "expected ascending values, received 2, 2"),
        ({"thresholds": [1, 1.0000001]}, "expected values that differ in 6 digits, received 1.0 and 1.0000001"),
        ({"thresholds": [float("inf")]}, "finite number"),
        ({"scales": [1, 4]}, "expected odd numbers of pixels, received 4"),
        ({"scales": [5, 1]}, "expected ascending values, received 5, 1"),
        ({"scales": [-1]}, "greater than or equal to 1"),
        ({"scales": []}, "at least 1 item"),
        ({"threshold": [1]}, "Extra inputs"),
    ],
)
def test_invalid_thresholds_and_scales_are_rejected(spec, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        EventsSpec(**{"thresholds": [0.5], **spec})
