"""Tests that valid clips pass and that each broken clip raises BadClip with reason, clip and frame."""

import pathlib
import pickle

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from framecast.clips.codec import encode_clip
from framecast.clips.image_codec import read_header
from framecast.clips.records import read_records
from framecast.clips.validation import BadClip, check_clip
from framecast.schemas.clip_spec import MAX_FRAME_PIXELS, ClipSpec, FrameRange
from tests.broken_clips import (
    GRAY,
    add_second_value,
    context,
    damage_png,
    encode_image,
    png,
    remove_feature_lists,
    remove_frames,
    remove_last_timestamp,
    replace_png_with_jpeg,
    set_context,
    set_frame,
    set_time,
    truncate,
    truncate_png,
)

_RADAR = pathlib.Path(__file__).parents[2] / "examples" / "radar"


_BROKEN = {
    "no feature lists": (
        remove_feature_lists,
        "missing-key",
        None,
        r"image/timestamp: feature list is missing; the clip has none",
    ),
    "missing id": (
        lambda e: e.context.feature.pop("example/id"),
        "missing-key",
        None,
        r"example/id: this context feature is missing",
    ),
    "missing recording": (
        lambda e: e.context.feature.pop("clip/media_id"),
        "missing-key",
        None,
        r"clip/media_id: this .* is missing",
    ),
    "empty recording": (
        set_context("clip/media_id", "bytes_list", b""),
        "missing-key",
        None,
        r"clip/media_id: this context feature is empty",
    ),
    "number as id": (
        set_context("clip/media_id", "int64_list", 7),
        "wrong-type",
        None,
        r"clip/media_id: expected a bytes_list, received int64_list",
    ),
    "integer frame rate": (
        set_context("image/frame_rate", "int64_list", 10),
        "wrong-type",
        None,
        r"image/frame_rate: expected a float_list, received int64_list",
    ),
    "no timestamps": (
        lambda e: e.feature_lists.feature_list.pop("image/timestamp"),
        "missing-key",
        None,
        r"image/timestamp: feature list is missing; the clip has \['image/encoded'\]",
    ),
    "two values in a frame": (add_second_value, "wrong-type", 1, r"image/encoded: expected 1 value, received 2"),
    "no frames": (remove_frames, "empty-clip", None, r"image/encoded: expected 2 to 8 frames, received 0"),
    "too few frames": (lambda e: truncate(e, 1), "frame-count", None, r"expected 2 to 8 frames, received 1"),
    "missing timestamp": (
        remove_last_timestamp,
        "timestamp-count",
        3,
        r"image/timestamp: expected 4 values, one per frame, received 3",
    ),
    "unsupported format": (
        set_context("image/format", "bytes_list", b"GIF"),
        "image-format",
        None,
        r"image/format: expected PNG or JPEG for 1 channels of uint8, received GIF",
    ),
    "unexpected RAW": (
        set_context("image/format", "bytes_list", b"RAW"),
        "image-format",
        None,
        r"received RAW",
    ),
    "mixed formats": (
        replace_png_with_jpeg,
        "image-format",
        2,
        r"expected PNG \(image/format\), received JPEG",
    ),
    "not an image": (
        set_frame(2, b"not an image"),
        "unreadable-frame",
        2,
        r"expected a PNG or JPEG image, received 12 bytes",
    ),
    "empty frame": (set_frame(2, b""), "unreadable-frame", 2, r"expected a PNG or JPEG image, received 0 bytes"),
    "damaged PNG": (damage_png, "unreadable-frame", 1, r"checksum mismatch in the PNG's b'IDAT' chunk"),
    "truncated PNG": (
        truncate_png,
        "unreadable-frame",
        3,
        r"expected an IEND chunk .*, received a file truncated at \d+ bytes",
    ),
    "PNG with too few rows": (
        set_frame(1, png(6, 5, b"\0" * 12)),
        "unreadable-frame",
        1,
        r"cannot decode the PNG image: expected 36 bytes of rows, received 12",
    ),
    "palette PNG": (
        set_frame(0, encode_image(Image.fromarray(GRAY).convert("P"))),
        "unreadable-frame",
        0,
        r"expected a gray, RGB or RGBA PNG, received colour type 3",
    ),
    "size differs from first frame": (
        set_frame(2, png(5, 6)),
        "frame-size",
        2,
        r"expected 6x5 pixels .*, received 5x6",
    ),
    "size differs from context": (
        set_context("image/width", "int64_list", 9),
        "frame-size",
        0,
        r"expected 6x9 pixels \(height x width in image/height, image/width\), received 6x5",
    ),
    "decompression bomb": (set_frame(1, png(50_000, 60_000)), "frame-size", 1, r"received 50000x60000"),
    "wrong declared channels": (
        set_context("image/channels", "int64_list", 3),
        "channels",
        None,
        r"image/channels: expected 1 channels, received 3",
    ),
    "RGB frame": (
        set_frame(1, encode_image(np.zeros((6, 5, 3), np.uint8))),
        "channels",
        1,
        r"image/encoded: expected 1 channels, received 3",
    ),
    "16 bits": (
        set_frame(1, encode_image(np.zeros((6, 5), np.uint16))),
        "bit-depth",
        1,
        r"expected 8 bits per channel \(uint8\), received 16",
    ),
    "1 bit": (set_frame(1, encode_image(Image.new("1", (5, 6)))), "bit-depth", 1, r"received 1$"),
    "repeated time": (set_time(2, 100_000), "timestamp-order", 2, r"expected more than 100000 us, received 100000 us"),
    "decreasing time": (set_time(3, 5), "timestamp-order", 3, r"expected more than 200000 us, received 5 us"),
    "gap": (
        set_time(3, 400_000),
        "timestamp-gap",
        3,
        r"expected 100000 us \(\+-1 %, image/frame_rate 10\) after the previous frame, received 200000 us",
    ),
    "negative frame rate": (set_context("image/frame_rate", "float_list", -1.0), "frame-rate", None, r"received -1\.0"),
    "frame rate NaN": (set_context("image/frame_rate", "float_list", np.nan), "frame-rate", None, r"received nan"),
}


@pytest.mark.parametrize(("change", "reason", "frame", "message"), _BROKEN.values(), ids=_BROKEN.keys())
def test_broken_clip_names_clip_frame_and_reason(example, spec, change, reason, frame, message):
    change(example)
    with pytest.raises(BadClip, match=message) as caught:
        check_clip(example.SerializeToString(), spec)
    assert (caught.value.reason, caught.value.frame) == (reason, frame)
    if "example/id" in example.context.feature:
        place = "clip storm-0: " if frame is None else f"clip storm-0, frame {frame}: "
        assert str(caught.value).startswith(place)
    else:
        assert str(caught.value).startswith("clip without example/id: ")


@pytest.mark.parametrize("record", [b"", b"\xff\xff\xff", b"any bytes", tf.train.Example().SerializeToString()])
def test_non_sequence_example_is_rejected(record, spec):
    with pytest.raises(BadClip, match=r"expected a tf\.train\.SequenceExample, received \d+ bytes") as caught:
        check_clip(record, spec)
    assert caught.value.reason == "not-sequence-example"


def test_plain_example_is_named_in_error(spec):
    record = tf.train.Example()
    record.features.feature["image/encoded"].bytes_list.value.append(png(6, 5))
    with pytest.raises(BadClip, match=r"received a tf\.train\.Example"):
        check_clip(record.SerializeToString(), spec)


def test_clip_above_maximum_length_is_rejected(example):
    with pytest.raises(BadClip, match=r"expected 1 to 3 frames, received 4"):
        check_clip(example.SerializeToString(), ClipSpec(frames=FrameRange(min=1, max=3)))


def test_configured_size_is_enforced(example, spec):
    fixed = spec.model_copy(update={"height": 8, "width": 8})
    with pytest.raises(
        BadClip, match=r"frame 0: .*expected 8x8 pixels \(height x width in the configuration\), received 6x5"
    ):
        check_clip(example.SerializeToString(), fixed)


def test_decompression_bomb_is_rejected_before_decoding(example, spec, monkeypatch):
    side = 2**14
    assert side * side > MAX_FRAME_PIXELS
    set_frame(0, png(side, side))(example)
    for name in ("image/height", "image/width"):
        set_context(name, "int64_list", side)(example)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(
        BadClip, match=r"frame 0: .*expected at most \d+ pixels per frame, received 16384x16384"
    ) as caught:
        check_clip(example.SerializeToString(), spec)
    assert caught.value.reason == "frame-too-large"


def test_clip_without_optional_features_passes(example, spec):
    for name in (
        "image/format",
        "image/height",
        "image/width",
        "image/channels",
        "image/frame_rate",
        "image/colorspace",
    ):
        del example.context.feature[name]
    assert context(check_clip(example.SerializeToString(), spec), "clip/length").int64_list.value == [4]


def test_median_spacing_replaces_missing_frame_rate(example, spec):
    del example.context.feature["image/frame_rate"]
    set_time(3, 400_000)(example)
    with pytest.raises(BadClip, match=r"frame 3: .*expected 100000 us \(\+-1 %, median of the clip\)"):
        check_clip(example.SerializeToString(), spec)


def test_timestamps_rounded_to_microseconds_pass(frames, spec):
    example = encode_clip(frames, example_id="a-0", media_id="a", frame_rate=300_000.0, timestamps=[0, 3, 7, 10])
    check_clip(example.SerializeToString(), spec)


def test_jpeg_header_is_validated(example, spec):
    set_context("image/format", "bytes_list", b"JPEG")(example)
    for index in range(4):
        set_frame(index, encode_image(GRAY, "JPEG"))(example)
    check_clip(example.SerializeToString(), spec)
    for data, reason, message in (
        (
            encode_image(np.zeros((6, 5, 3), np.uint8), "JPEG", progressive=True),
            "channels",
            r"expected 1 channels, received 3",
        ),
        (encode_image(np.zeros((7, 5), np.uint8), "JPEG"), "frame-size", r"expected 6x5 pixels .* received 7x5"),
        (encode_image(Image.new("CMYK", (5, 6)), "JPEG"), "unreadable-frame", r"JPEG with 1 or 3 channels, received 4"),
        (
            encode_image(GRAY, "JPEG")[:40],
            "unreadable-frame",
            r"no JPEG frame header found in 40 bytes",
        ),
        (encode_image(GRAY, "JPEG")[:-30], "unreadable-frame", r"cannot decode the JPEG image"),
    ):
        set_frame(2, data)(example)
        with pytest.raises(BadClip, match=f"frame 2: .*{message}") as caught:
            check_clip(example.SerializeToString(), spec)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("image_format", "mode"),
    [("PNG", "L"), ("PNG", "LA"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "I;16"), ("JPEG", "L"), ("JPEG", "RGB")],
)
def test_header_matches_pillow(image_format, mode):
    image = Image.new(mode, (11, 3))
    header = read_header(encode_image(image, image_format))
    assert (header.format, header.width, header.height) == (image_format, *image.size)
    assert (header.channels, header.depth) == (len(image.getbands()), 16 if mode == "I;16" else 8)


def test_radar_clips_written_by_mediapipe_pass():
    spec = ClipSpec(channels=1, dtype="uint8", frames=FrameRange(min=8, max=24))
    recordings = {"train": set(), "eval": set()}
    clips = {"train": 0, "eval": 0}
    for split in recordings:
        for path in sorted((_RADAR / split).glob("*.tfrecord.gz")):
            for _, record in read_records(path):
                checked = check_clip(record, spec)
                recordings[split].add(context(checked, "clip/media_id").bytes_list.value[0])
                clips[split] += 1
    assert clips == {"train": 28, "eval": 12}
    assert not recordings["train"] & recordings["eval"]


def test_bad_clip_survives_pickling():
    error = BadClip("gap", "expected 1, received 2", clip="a", frame=3)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.reason, copy.clip, copy.frame) == (str(error), "gap", "a", 3)
