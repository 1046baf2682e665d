"""Tests the validation of RAW clips: float32, or more than 4 channels."""

import numpy as np
import pytest

from framecast.clips.codec import encode_clip
from framecast.clips.validation import BadClip, check_clip
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from tests.broken_clips import set_context, set_frame

_SPEC = ClipSpec(channels=2, dtype="float32", frames=FrameRange(min=1, max=8), missing=-999.0)


@pytest.fixture
def raw():
    frames = np.random.default_rng(1).random((3, 4, 5, 2), np.float32)
    frames[0, 0, 0, 0] = -999.0
    return frames


def _example(frames):
    return encode_clip(frames, example_id="storm-0", media_id="storm", frame_rate=10.0)


def test_missing_value_may_be_out_of_range(raw):
    check_clip(_example(raw).SerializeToString(), _SPEC)


@pytest.mark.parametrize(
    ("value", "reason", "message"),
    [
        (np.nan, "not-finite", r"expected a finite value at .* \(3, 4, 1\), received nan"),
        (np.inf, "not-finite", r"received inf"),
        (1.5, "value-range", r"expected a value in \[0, 1\] at .* \(3, 4, 1\), received 1\.5"),
        (-0.25, "value-range", r"received -0\.25"),
    ],
)
def test_out_of_range_value_is_rejected(raw, value, reason, message):
    raw[1, 3, 4, 1] = value
    with pytest.raises(BadClip, match=f"clip storm-0, frame 1: .*{message}") as caught:
        check_clip(_example(raw).SerializeToString(), _SPEC)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("change", "reason", "message"),
    [
        (
            set_context("image/format", "bytes_list", b"PNG"),
            "image-format",
            r"expected RAW for 2 channels of float32, received PNG",
        ),
        (
            lambda e: e.context.feature.pop("image/dtype"),
            "dtype",
            r"image/dtype: expected float32, received no value",
        ),
        (set_context("image/dtype", "bytes_list", b"float64"), "dtype", r"expected float32, received float64"),
        (
            lambda e: e.context.feature.pop("image/height"),
            "frame-size",
            r"image/height: .*received no value",
        ),
        (set_context("image/width", "int64_list", 0), "frame-size", r"image/width: .*received 0"),
        (set_frame(2, b"\0" * 8), "raw-size", r"frame 2: .*expected 160 bytes .*received 8"),
    ],
)
def test_broken_raw_clip_names_feature(raw, change, reason, message):
    example = _example(raw)
    change(example)
    with pytest.raises(BadClip, match=message) as caught:
        check_clip(example.SerializeToString(), _SPEC)
    assert caught.value.reason == reason
