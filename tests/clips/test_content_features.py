"""Tests the features that validation adds to the context, against NumPy."""

import numpy as np
import pytest

from framecast.clips.codec import encode_clip
from framecast.clips.validation import check_clip
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from tests.broken_clips import context, set_context


@pytest.mark.parametrize(
    ("nonzero", "missing", "content"),
    [
        (0, 0, b"empty"),
        (1, 0, b"sparse"),
        (19, 0, b"sparse"),
        (20, 0, b"dense"),
        (1, 50, b"sparse"),
        (10, 50, b"dense"),
    ],
)
def test_content_is_share_of_nonzero_known_pixels(nonzero, missing, content):
    pixels = np.zeros(200, np.uint8)
    pixels[: 2 * nonzero] = 3
    pixels[200 - 2 * missing :] = 255
    example = encode_clip(pixels.reshape(2, 10, 10, 1), example_id="a-0", media_id="a", frame_rate=1.0)
    checked = check_clip(example.SerializeToString(), ClipSpec(frames=FrameRange(min=1, max=2), missing=255))
    assert context(checked, "clip/content").bytes_list.value == [content]


@pytest.mark.parametrize(
    ("step", "movement"), [(0, b"still"), (1, b"still"), (4, b"moving"), (100, b"moving")], ids=str
)
def test_movement_compares_motion_with_deviation(step, movement):
    """Half of the pixels are 0, half 50; all are `step` brighter in the second frame, so the motion is `step`."""
    first = np.repeat(np.array([0, 50], np.uint8), 50).reshape(10, 10, 1)
    frames = np.stack([first, first + np.uint8(step)])
    deviation = frames.std()
    assert (step > 0.1 * deviation) == (movement == b"moving")
    example = encode_clip(frames, example_id="a-0", media_id="a", frame_rate=1.0)
    checked = check_clip(example.SerializeToString(), ClipSpec(frames=FrameRange(min=1, max=2)))
    assert context(checked, "clip/movement").bytes_list.value == [movement]


@pytest.mark.parametrize(("labels", "name"), [([], b"none"), ([4], b"4"), ([4, 1], b"several")])
def test_class_is_the_only_label(labels, name):
    example = encode_clip(
        np.zeros((2, 4, 4, 1), np.uint8), example_id="a-0", media_id="a", frame_rate=1.0, label_index=labels
    )
    checked = check_clip(example.SerializeToString(), ClipSpec(frames=FrameRange(min=1, max=2)))
    assert context(checked, "clip/class").bytes_list.value == [name]


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1.0)])
def test_content_features_match_numpy(dtype, largest):
    rng = np.random.default_rng(0)
    frames = (rng.random((5, 6, 7, 1)) * largest).astype(dtype)
    frames[rng.random(frames.shape) < 0.3] = 0
    missing = dtype(largest)
    frames[rng.random(frames.shape) < 0.2] = missing
    example = encode_clip(frames, example_id="a-0", media_id="a", frame_rate=1.0)
    spec = ClipSpec(frames=FrameRange(min=1, max=9), dtype=np.dtype(dtype).name, missing=float(missing))
    checked = check_clip(example.SerializeToString(), spec)
    shares = np.ma.masked_array(frames / largest, frames == missing)
    expected = {
        "clip/mean": shares.mean(),
        "clip/deviation": shares.std(),
        "clip/empty_share": (shares == 0).mean(),
        "clip/motion": abs(shares[1:] - shares[:-1]).mean(),
    }
    for name, value in expected.items():
        assert context(checked, name).float_list.value == [pytest.approx(value, rel=1e-6)]


def test_content_features_without_known_pixels_are_finite():
    example = encode_clip(np.full((3, 4, 4, 1), 9, np.uint8), example_id="a-0", media_id="a", frame_rate=1.0)
    checked = check_clip(example.SerializeToString(), ClipSpec(frames=FrameRange(min=1, max=9), missing=9))
    values = {name: context(checked, f"clip/{name}").float_list.value for name in ("mean", "deviation", "motion")}
    assert values == {"mean": [0.0], "deviation": [0.0], "motion": [0.0]}
    assert context(checked, "clip/empty_share").float_list.value == [1.0]


def test_features_of_earlier_ingest_are_replaced(example, spec):
    set_context("clip/length", "int64_list", 99)(example)
    set_context("clip/content", "bytes_list", b"old")(example)
    checked = check_clip(example.SerializeToString(), spec)
    assert context(checked, "clip/length").int64_list.value == [4]
    assert context(checked, "clip/content").bytes_list.value == [b"dense"]
