"""A legal clip passes with its facts added; each way to break the contract is refused by name."""

import io
import pathlib
import pickle
import re
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from framecast.clips.codec import encode_clip
from framecast.clips.image_codec import read_header
from framecast.clips.records import read_records
from framecast.clips.validation import BadClip, check_clip
from framecast.schemas.clip_spec import MAX_FRAME_PIXELS, ClipSpec, FrameRange, LabelSpec

_RADAR = pathlib.Path(__file__).parents[2] / "examples" / "radar"


def _context(example, name):
    return example.context.feature[name]


def _frame(example, index):
    return example.feature_lists.feature_list["image/encoded"].feature[index].bytes_list


def _times(example):
    return [feature.int64_list for feature in example.feature_lists.feature_list["image/timestamp"].feature]


def _image(array, image_format="PNG", **options):
    buffer = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(buffer, image_format, **options)
    return buffer.getvalue()


def _png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(height, width, pixels=b"", depth=8, colour=0):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(*chunk) for chunk in chunks)


def _without_lists(example):
    example.ClearField("feature_lists")


def _without_frames(example):
    for name in ("image/encoded", "image/timestamp"):
        del example.feature_lists.feature_list[name].feature[:]


def _cut_frames(example, count):
    for name in ("image/encoded", "image/timestamp"):
        del example.feature_lists.feature_list[name].feature[count:]


def _set(name, kind, *values):
    def change(example):
        _context(example, name).Clear()
        getattr(_context(example, name), kind).value.extend(values)

    return change


def _set_frame(index, data):
    def change(example):
        _frame(example, index).value[0] = data

    return change


def _set_time(index, time):
    def change(example):
        _times(example)[index].value[0] = time

    return change


def _two_values(example):
    _frame(example, 1).value.append(b"second")


def _one_time_less(example):
    del example.feature_lists.feature_list["image/timestamp"].feature[3]


def _jpeg_as_png(example):
    _frame(example, 2).value[0] = _image(np.zeros((6, 5), np.uint8), "JPEG")


def _damaged(example):
    data = bytearray(_frame(example, 1).value[0])
    data[data.index(b"IDAT") + 8] ^= 0xFF
    _frame(example, 1).value[0] = bytes(data)


def _cut(example):
    _frame(example, 3).value[0] = _frame(example, 3).value[0][:-20]


_GRAY = np.zeros((6, 5), np.uint8)

_BROKEN = {
    "no feature lists": (
        _without_lists,
        "missing-key",
        None,
        r"image/timestamp: expected this feature list, received none",
    ),
    "no id": (
        lambda e: e.context.feature.pop("example/id"),
        "missing-key",
        None,
        r"example/id: expected .* received none",
    ),
    "no recording": (lambda e: e.context.feature.pop("clip/media_id"), "missing-key", None, r"clip/media_id: expected"),
    "empty recording": (_set("clip/media_id", "bytes_list", b""), "missing-key", None, r"received an empty one"),
    "number as id": (
        _set("clip/media_id", "int64_list", 7),
        "wrong-type",
        None,
        r"clip/media_id: expected a bytes_list, received int64_list",
    ),
    "integer frame rate": (
        _set("image/frame_rate", "int64_list", 10),
        "wrong-type",
        None,
        r"image/frame_rate: expected a float_list, received int64_list",
    ),
    "no timestamps": (
        lambda e: e.feature_lists.feature_list.pop("image/timestamp"),
        "missing-key",
        None,
        r"image/timestamp: expected this feature list, received \['image/encoded'\]",
    ),
    "two values in a frame": (_two_values, "wrong-type", 1, r"image/encoded: expected 1 value, received 2"),
    "no frames": (_without_frames, "empty-clip", None, r"image/encoded: expected 2 to 8 frames, received 0"),
    "too few frames": (lambda e: _cut_frames(e, 1), "frame-count", None, r"expected 2 to 8 frames, received 1"),
    "fewer timestamps": (_one_time_less, "timestamp-count", 3, r"image/timestamp: expected one a frame, 4, received 3"),
    "other format": (
        _set("image/format", "bytes_list", b"GIF"),
        "image-format",
        None,
        r"image/format: expected PNG or JPEG for 1 channels of uint8, received GIF",
    ),
    "raw where images belong": (_set("image/format", "bytes_list", b"RAW"), "image-format", None, r"received RAW"),
    "frame of another format": (_jpeg_as_png, "image-format", 2, r"expected PNG as image/format says, received JPEG"),
    "no image": (
        _set_frame(2, b"not an image"),
        "unreadable-frame",
        2,
        r"expected a PNG or JPEG image, received 12 bytes",
    ),
    "empty frame": (_set_frame(2, b""), "unreadable-frame", 2, r"expected a PNG or JPEG image, received 0 bytes"),
    "damaged PNG": (_damaged, "unreadable-frame", 1, r"checksum of the PNG's b'IDAT' chunk"),
    "cut PNG": (_cut, "unreadable-frame", 3, r"expected a PNG that ends with IEND, received one cut after \d+ bytes"),
    "PNG without its last rows": (
        _set_frame(1, _png(6, 5, b"\0" * 12)),
        "unreadable-frame",
        1,
        r"expected a whole PNG image, received one that does not decode",
    ),
    "palette PNG": (
        _set_frame(0, _image(Image.fromarray(_GRAY).convert("P"))),
        "unreadable-frame",
        0,
        r"expected a gray, RGB or RGBA PNG, received colour type 3",
    ),
    "other size than the first": (
        _set_frame(2, _png(5, 6)),
        "frame-size",
        2,
        r"expected 6x5 pixels .*, received 5x6",
    ),
    "other size than declared": (
        _set("image/width", "int64_list", 9),
        "frame-size",
        0,
        r"expected 6x9 pixels \(height x width in image/height, image/width\), received 6x5",
    ),
    "bomb": (_set_frame(1, _png(50_000, 60_000)), "frame-size", 1, r"received 50000x60000"),
    "declared channels": (
        _set("image/channels", "int64_list", 3),
        "channels",
        None,
        r"image/channels: expected 1 channels, received 3",
    ),
    "colour frame": (
        _set_frame(1, _image(np.zeros((6, 5, 3), np.uint8))),
        "channels",
        1,
        r"image/encoded: expected 1 channels, received 3",
    ),
    "16 bits": (
        _set_frame(1, _image(np.zeros((6, 5), np.uint16))),
        "bit-depth",
        1,
        r"expected 8 bits a channel \(uint8\), received 16",
    ),
    "1 bit": (_set_frame(1, _image(Image.new("1", (5, 6)))), "bit-depth", 1, r"received 1$"),
    "repeated time": (_set_time(2, 100_000), "timestamp-order", 2, r"expected more than 100000 us, received 100000 us"),
    "time runs back": (_set_time(3, 5), "timestamp-order", 3, r"expected more than 200000 us, received 5 us"),
    "gap": (
        _set_time(3, 400_000),
        "timestamp-gap",
        3,
        r"expected 100000 us \(1 % either way, image/frame_rate 10\) after the frame before, received 200000 us",
    ),
    "negative frame rate": (_set("image/frame_rate", "float_list", -1.0), "frame-rate", None, r"received -1\.0"),
    "frame rate NaN": (_set("image/frame_rate", "float_list", np.nan), "frame-rate", None, r"received nan"),
}


@pytest.mark.parametrize(("change", "reason", "frame", "message"), _BROKEN.values(), ids=_BROKEN.keys())
def test_a_broken_clip_is_refused_by_name(example, spec, change, reason, frame, message):
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
def test_what_is_no_sequence_example_is_refused(record, spec):
    with pytest.raises(BadClip, match=r"expected a tf\.train\.SequenceExample, received \d+ bytes") as caught:
        check_clip(record, spec)
    assert caught.value.reason == "not-sequence-example"


def test_a_plain_example_is_called_one(spec):
    record = tf.train.Example()
    record.features.feature["image/encoded"].bytes_list.value.append(_png(6, 5))
    with pytest.raises(BadClip, match=r"received a tf\.train\.Example"):
        check_clip(record.SerializeToString(), spec)


def test_a_clip_above_the_longest_is_refused(example):
    with pytest.raises(BadClip, match=r"expected 1 to 3 frames, received 4"):
        check_clip(example.SerializeToString(), ClipSpec(frames=FrameRange(min=1, max=3)))


def test_a_configured_size_holds_for_every_frame(example, spec):
    fixed = spec.model_copy(update={"height": 8, "width": 8})
    with pytest.raises(
        BadClip, match=r"frame 0: .*expected 8x8 pixels \(height x width of the configuration\), received 6x5"
    ):
        check_clip(example.SerializeToString(), fixed)


def test_a_bomb_of_any_declared_size_is_refused_before_it_is_decoded(example, spec, monkeypatch):
    side = 2**14
    assert side * side > MAX_FRAME_PIXELS
    _set_frame(0, _png(side, side))(example)
    for name in ("image/height", "image/width"):
        _set(name, "int64_list", side)(example)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(
        BadClip, match=r"frame 0: .*expected at most \d+ pixels a frame, received 16384x16384"
    ) as caught:
        check_clip(example.SerializeToString(), spec)
    assert caught.value.reason == "frame-too-large"


def test_a_clip_without_optional_features_passes(example, spec):
    for name in (
        "image/format",
        "image/height",
        "image/width",
        "image/channels",
        "image/frame_rate",
        "image/colorspace",
    ):
        del example.context.feature[name]
    assert _context(check_clip(example.SerializeToString(), spec), "clip/length").int64_list.value == [4]


def test_without_a_frame_rate_the_median_spacing_shows_a_gap(example, spec):
    del example.context.feature["image/frame_rate"]
    _set_time(3, 400_000)(example)
    with pytest.raises(BadClip, match=r"frame 3: .*expected 100000 us \(1 % either way, the clip's median\)"):
        check_clip(example.SerializeToString(), spec)


def test_times_rounded_to_microseconds_pass(frames, spec):
    example = encode_clip(frames, example_id="a-0", media_id="a", frame_rate=300_000.0, timestamps=[0, 3, 7, 10])
    check_clip(example.SerializeToString(), spec)


def test_jpeg_clips_are_held_to_their_header(example, spec):
    _set("image/format", "bytes_list", b"JPEG")(example)
    for index in range(4):
        _set_frame(index, _image(_GRAY, "JPEG"))(example)
    check_clip(example.SerializeToString(), spec)
    for data, reason, message in (
        (
            _image(np.zeros((6, 5, 3), np.uint8), "JPEG", progressive=True),
            "channels",
            r"expected 1 channels, received 3",
        ),
        (_image(np.zeros((7, 5), np.uint8), "JPEG"), "frame-size", r"expected 6x5 pixels .* received 7x5"),
        (_image(Image.new("CMYK", (5, 6)), "JPEG"), "unreadable-frame", r"JPEG of 1 or 3 channels, received 4"),
        (
            _image(_GRAY, "JPEG")[:40],
            "unreadable-frame",
            r"expected a JPEG with a frame header, received none in 40 bytes",
        ),
        (_image(_GRAY, "JPEG")[:-30], "unreadable-frame", r"expected a whole JPEG image"),
    ):
        _set_frame(2, data)(example)
        with pytest.raises(BadClip, match=f"frame 2: .*{message}") as caught:
            check_clip(example.SerializeToString(), spec)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("image_format", "mode"),
    [("PNG", "L"), ("PNG", "LA"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "I;16"), ("JPEG", "L"), ("JPEG", "RGB")],
)
def test_headers_say_what_pillow_says(image_format, mode):
    image = Image.new(mode, (11, 3))
    header = read_header(_image(image, image_format))
    assert (header.format, header.width, header.height) == (image_format, *image.size)
    assert (header.channels, header.depth) == (len(image.getbands()), 16 if mode == "I;16" else 8)


class TestRaw:
    """RAW clips: float32, or more than 4 channels."""

    _SPEC = ClipSpec(channels=2, dtype="float32", frames=FrameRange(min=1, max=8), missing=-999.0)

    @pytest.fixture
    def raw(self):
        frames = np.random.default_rng(1).random((3, 4, 5, 2), np.float32)
        frames[0, 0, 0, 0] = -999.0
        return frames

    @staticmethod
    def _example(frames):
        return encode_clip(frames, example_id="storm-0", media_id="storm", frame_rate=10.0)

    def test_a_reserved_value_may_lie_outside_of_the_range(self, raw):
        check_clip(self._example(raw).SerializeToString(), self._SPEC)

    @pytest.mark.parametrize(
        ("value", "reason", "message"),
        [
            (np.nan, "not-finite", r"expected a finite value at .* \(3, 4, 1\), received nan"),
            (np.inf, "not-finite", r"received inf"),
            (1.5, "value-range", r"expected a value in \[0, 1\] at .* \(3, 4, 1\), received 1\.5"),
            (-0.25, "value-range", r"received -0\.25"),
        ],
    )
    def test_values_outside_of_the_range_are_refused(self, raw, value, reason, message):
        raw[1, 3, 4, 1] = value
        with pytest.raises(BadClip, match=f"clip storm-0, frame 1: .*{message}") as caught:
            check_clip(self._example(raw).SerializeToString(), self._SPEC)
        assert caught.value.reason == reason

    @pytest.mark.parametrize(
        ("change", "reason", "message"),
        [
            (
                _set("image/format", "bytes_list", b"PNG"),
                "image-format",
                r"expected RAW for 2 channels of float32, received PNG",
            ),
            (
                lambda e: e.context.feature.pop("image/dtype"),
                "dtype",
                r"image/dtype: expected float32, received no such",
            ),
            (_set("image/dtype", "bytes_list", b"float64"), "dtype", r"expected float32, received float64"),
            (
                lambda e: e.context.feature.pop("image/height"),
                "frame-size",
                r"image/height: .*received no such feature",
            ),
            (_set("image/width", "int64_list", 0), "frame-size", r"image/width: .*received 0"),
            (_set_frame(2, b"\0" * 8), "raw-size", r"frame 2: .*expected 160 bytes .*received 8"),
        ],
    )
    def test_a_broken_raw_clip_is_refused_by_name(self, raw, change, reason, message):
        example = self._example(raw)
        change(example)
        with pytest.raises(BadClip, match=message) as caught:
            check_clip(example.SerializeToString(), self._SPEC)
        assert caught.value.reason == reason


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
def test_content_is_the_share_of_known_pixels_that_are_not_zero(nonzero, missing, content):
    pixels = np.zeros(200, np.uint8)
    pixels[: 2 * nonzero] = 3
    pixels[200 - 2 * missing :] = 255
    example = encode_clip(pixels.reshape(2, 10, 10, 1), example_id="a-0", media_id="a", frame_rate=1.0)
    checked = check_clip(example.SerializeToString(), ClipSpec(frames=FrameRange(min=1, max=2), missing=255))
    assert _context(checked, "clip/content").bytes_list.value == [content]


@pytest.mark.parametrize(
    ("step", "movement"), [(0, b"still"), (1, b"still"), (4, b"moving"), (100, b"moving")], ids=str
)
def test_movement_is_what_changes_beside_what_varies(step, movement):
    """Half of the pixels 0 and half 50, all of them `step` brighter in the second frame: a motion of `step`."""
    first = np.repeat(np.array([0, 50], np.uint8), 50).reshape(10, 10, 1)
    frames = np.stack([first, first + np.uint8(step)])
    deviation = frames.std()
    assert (step > 0.1 * deviation) == (movement == b"moving")
    example = encode_clip(frames, example_id="a-0", media_id="a", frame_rate=1.0)
    checked = check_clip(example.SerializeToString(), ClipSpec(frames=FrameRange(min=1, max=2)))
    assert _context(checked, "clip/movement").bytes_list.value == [movement]


@pytest.mark.parametrize(("labels", "name"), [([], b"none"), ([4], b"4"), ([4, 1], b"several")])
def test_the_class_is_the_clips_one_label(labels, name):
    example = encode_clip(
        np.zeros((2, 4, 4, 1), np.uint8), example_id="a-0", media_id="a", frame_rate=1.0, label_index=labels
    )
    checked = check_clip(example.SerializeToString(), ClipSpec(frames=FrameRange(min=1, max=2)))
    assert _context(checked, "clip/class").bytes_list.value == [name]


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1.0)])
def test_facts_of_the_content_are_numpys(dtype, largest):
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
        assert _context(checked, name).float_list.value == [pytest.approx(value, rel=1e-6)]


def test_facts_of_the_content_of_a_clip_without_known_pixels_are_numbers():
    example = encode_clip(np.full((3, 4, 4, 1), 9, np.uint8), example_id="a-0", media_id="a", frame_rate=1.0)
    checked = check_clip(example.SerializeToString(), ClipSpec(frames=FrameRange(min=1, max=9), missing=9))
    values = {name: _context(checked, f"clip/{name}").float_list.value for name in ("mean", "deviation", "motion")}
    assert values == {"mean": [0.0], "deviation": [0.0], "motion": [0.0]}
    assert _context(checked, "clip/empty_share").float_list.value == [1.0]


def test_facts_of_an_earlier_ingest_are_replaced(example, spec):
    _set("clip/length", "int64_list", 99)(example)
    _set("clip/content", "bytes_list", b"old")(example)
    checked = check_clip(example.SerializeToString(), spec)
    assert _context(checked, "clip/length").int64_list.value == [4]
    assert _context(checked, "clip/content").bytes_list.value == [b"dense"]


def test_the_radar_clips_written_by_mediapipe_pass():
    spec = ClipSpec(channels=1, dtype="uint8", frames=FrameRange(min=8, max=24))
    recordings = {"train": set(), "eval": set()}
    clips = {"train": 0, "eval": 0}
    for split in recordings:
        for path in sorted((_RADAR / split).glob("*.tfrecord.gz")):
            for _, record in read_records(path):
                checked = check_clip(record, spec)
                recordings[split].add(_context(checked, "clip/media_id").bytes_list.value[0])
                clips[split] += 1
    assert clips == {"train": 28, "eval": 12}
    assert not recordings["train"] & recordings["eval"]


def test_the_error_survives_the_way_between_processes():
    error = BadClip("gap", "expected 1, received 2", clip="a", frame=3)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.reason, copy.clip, copy.frame) == (str(error), "gap", "a", 3)


_PER_CLIP = LabelSpec(name="clip/label/index", per="clip", classes=3)
_PER_FRAME = LabelSpec(name="image/label/value", per="frame", classes=None)


@pytest.mark.parametrize(
    ("label", "labels", "reason", "frame", "message"),
    [
        (_PER_CLIP, {}, "missing-label", None, "clip/label/index: expected a label for every clip, received none"),
        (_PER_CLIP, {"label_index": [3]}, "label-range", None, "expected a class from 0 to 2, received 3"),
        (_PER_CLIP, {"label_index": [0, 1]}, "wrong-type", None, "expected 1 value, received 2"),
        (_PER_FRAME, {}, "missing-label", None, "image/label/value: expected a label for every frame, received none"),
        (_PER_FRAME, {"frame_label_value": [0, 1, np.nan, 3]}, "label-range", 2, "a finite number, received nan"),
    ],
)
def test_a_clip_without_a_legal_label_is_refused_by_name(label, labels, reason, frame, message):
    example = encode_clip(np.zeros((4, 8, 8, 1), np.uint8), example_id="a", media_id="m", frame_rate=10, **labels)
    with pytest.raises(BadClip, match=re.escape(message)) as caught:
        check_clip(example.SerializeToString(), ClipSpec(frames=FrameRange(min=1, max=9)), label)
    assert (caught.value.reason, caught.value.frame, caught.value.clip) == (reason, frame, "a")


def test_a_label_for_fewer_frames_than_there_are_is_refused_by_name():
    frames = np.zeros((4, 8, 8, 1), np.uint8)
    example = encode_clip(frames, example_id="a", media_id="m", frame_rate=10, frame_label_value=[0, 1, 2, 3])
    del example.feature_lists.feature_list["image/label/value"].feature[2:]
    with pytest.raises(BadClip, match=r"image/label/value: expected one a frame, 4, received 2"):
        check_clip(example.SerializeToString(), ClipSpec(frames=FrameRange(min=1, max=9)), _PER_FRAME)


def test_labels_that_need_not_be_may_be_missing():
    example = encode_clip(np.zeros((4, 8, 8, 1), np.uint8), example_id="a", media_id="m", frame_rate=10)
    optional = _PER_FRAME.model_copy(update={"required": False})
    check_clip(example.SerializeToString(), ClipSpec(frames=FrameRange(min=1, max=9)), optional)
