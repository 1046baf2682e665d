"""Tests that encoding is lossless and that Pillow and TensorFlow read the same pixels."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from framecast.clips import image_codec
from framecast.clips.codec import decode_frames, encode_clip
from framecast.schemas.clip_spec import ClipSpec, FrameRange

_RANGE = FrameRange(min=1, max=24)


def _random(dtype, channels, size=(7, 5)):
    rng = np.random.default_rng(channels)
    shape = (3, *size, channels)
    if dtype == "float32":
        return rng.random(shape, np.float32)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def _encode(frames, **arguments):
    return encode_clip(frames, **{"example_id": "a-0", "media_id": "a", "frame_rate": 10.0, **arguments})


def _encoded(example):
    return [feature.bytes_list.value[0] for feature in example.feature_lists.feature_list["image/encoded"].feature]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_round_trip_is_lossless(dtype, channels):
    frames = _random(dtype, channels)
    decoded = decode_frames(_encode(frames), ClipSpec(channels=channels, dtype=dtype, frames=_RANGE))
    assert decoded.dtype == frames.dtype
    np.testing.assert_array_equal(decoded, frames)


@pytest.mark.parametrize("channels", [1, 3])
def test_pillow_reads_same_8_bit_pixels(channels):
    frames = _random("uint8", channels)
    for data, frame in zip(_encoded(_encode(frames)), frames, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), frame.squeeze())


@pytest.mark.parametrize(
    ("dtype", "channels"), [("uint8", 2), ("uint8", 4), ("uint16", 1), ("uint16", 3), ("uint16", 4)]
)
def test_tensorflow_reads_same_png_pixels(dtype, channels):
    frames = _random(dtype, channels)
    for data, frame in zip(_encoded(_encode(frames)), frames, strict=True):
        np.testing.assert_array_equal(tf.io.decode_png(data, dtype=tf.as_dtype(dtype)), frame)


def _picture(kind, dtype, channels, size):
    """Returns smooth, flat or one-row pixels, which PNG encoders filter differently."""
    y, x = np.mgrid[: size[0], : size[1]]
    smooth = 100 + 50 * np.sin(y / 9) + 30 * np.cos(x / 5)
    flat = 200 * ((y > 20) & (x > 20))
    values = {"smooth": smooth, "flat": flat, "noise": _random("uint8", 1, size)[0, ..., 0]}[kind]
    return np.stack([values * (1 + channel % 2) for channel in range(channels)], -1).astype(dtype)


@pytest.mark.parametrize("kind", ["smooth", "flat", "noise"])
@pytest.mark.parametrize("size", [(150, 71), (1, 64), (64, 1)])
@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 1), ("uint8", 3), ("uint16", 1), ("uint16", 4)])
def test_every_png_filter_is_lossless(kind, size, dtype, channels):
    pixels = _picture(kind, dtype, channels, size)
    np.testing.assert_array_equal(tf.io.decode_png(image_codec.encode_png(pixels), dtype=tf.as_dtype(dtype)), pixels)


@pytest.mark.parametrize("kind", ["smooth", "flat", "noise"])
def test_png_size_is_near_libpng(kind):
    pixels = _picture(kind, "uint8", 1, (256, 256))
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(buffer, "PNG", compress_type=zlib.Z_RLE)
    assert len(image_codec.encode_png(pixels)) < 1.2 * len(buffer.getvalue())


def test_tensorflow_reads_same_raw_pixels():
    frames = _random("float32", 7)
    for data, frame in zip(_encoded(_encode(frames)), frames, strict=True):
        np.testing.assert_array_equal(tf.reshape(tf.io.decode_raw(data, tf.float32), frame.shape), frame)


def test_big_endian_arrays_are_written_little_endian():
    frames = _random("uint16", 6)
    assert _encoded(_encode(frames.astype(">u2"))) == _encoded(_encode(frames))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (16, 17)])
def test_interlaced_png_decodes(size):
    frame = np.random.default_rng(0).integers(0, 256, (*size, 1), np.uint8)
    data = _adam7(frame[..., 0])
    np.testing.assert_array_equal(tf.io.decode_png(data), frame)
    example = _encode(frame[None])
    example.feature_lists.feature_list["image/encoded"].feature[0].bytes_list.value[0] = data
    np.testing.assert_array_equal(decode_frames(example, ClipSpec(frames=_RANGE))[0], frame)


def _adam7(frame):
    """Returns an interlaced gray PNG; Pillow cannot write one."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(
        b"\0" + row.tobytes() for top, left, down, right in passes for row in frame[top::down, left::right] if row.size
    )
    header = struct.pack(">IIBBBBB", frame.shape[1], frame.shape[0], 8, 0, 0, 0, 1)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    packed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_jpeg_decodes_like_pillow(example, spec):
    ramp = np.linspace(0, 255, 30).reshape(6, 5).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "JPEG", quality=90)
    example.context.feature["image/format"].bytes_list.value[0] = b"JPEG"
    for feature in example.feature_lists.feature_list["image/encoded"].feature:
        feature.bytes_list.value[0] = buffer.getvalue()
    decoded = decode_frames(example, spec)
    np.testing.assert_array_equal(decoded[0, ..., 0], np.asarray(Image.open(buffer)))
    assert np.abs(decoded[0, ..., 0].astype(int) - ramp).max() < 16


def test_tensorflow_parses_mediasequence_features():
    example = _encode(_random("uint8", 3), frame_rate=4.0, label_index=[2, 5], label_string=["rain", "hail"])
    context, sequence = tf.io.parse_single_sequence_example(
        example.SerializeToString(),
        context_features={
            "clip/media_id": tf.io.FixedLenFeature([], tf.string),
            "example/id": tf.io.FixedLenFeature([], tf.string),
            "image/format": tf.io.FixedLenFeature([], tf.string),
            "image/channels": tf.io.FixedLenFeature([], tf.int64),
            "image/colorspace": tf.io.FixedLenFeature([], tf.string),
            "image/height": tf.io.FixedLenFeature([], tf.int64),
            "image/width": tf.io.FixedLenFeature([], tf.int64),
            "image/frame_rate": tf.io.FixedLenFeature([], tf.float32),
            "clip/label/index": tf.io.FixedLenFeature([2], tf.int64),
            "clip/label/string": tf.io.FixedLenFeature([2], tf.string),
        },
        sequence_features={
            "image/encoded": tf.io.FixedLenSequenceFeature([], tf.string),
            "image/timestamp": tf.io.FixedLenSequenceFeature([], tf.int64),
        },
    )
    values = {name: np.asarray(value).tolist() for name, value in context.items()}
    assert values == {
        "clip/media_id": b"a",
        "example/id": b"a-0",
        "image/format": b"PNG",
        "image/channels": 3,
        "image/colorspace": b"RGB",
        "image/height": 7,
        "image/width": 5,
        "image/frame_rate": 4.0,
        "clip/label/index": [2, 5],
        "clip/label/string": [b"rain", b"hail"],
    }
    assert sequence["image/timestamp"].numpy().tolist() == [0, 250_000, 500_000]
    assert sequence["image/encoded"].shape == [3]


@pytest.mark.parametrize(
    ("frames", "arguments", "message"),
    [
        (
            np.zeros((3, 4, 4), np.uint8),
            {},
            r"frames: expected .* \(time, height, width, channel\), received the shape \(3, 4, 4\)",
        ),
        (np.zeros((0, 4, 4, 1), np.uint8), {}, r"frames: expected a non-empty array .* the shape \(0, 4, 4, 1\)"),
        (np.zeros((3, 4, 4, 1), np.int64), {}, r"frames: expected uint8, uint16 or float32, received int64"),
        (np.zeros((3, 4, 4, 1), np.uint8), {"frame_rate": 0.0}, r"frame_rate: expected a positive .* received 0\.0"),
        (
            np.zeros((3, 4, 4, 1), np.uint8),
            {"timestamps": [1]},
            r"timestamps: expected 3 values, one per frame, received 1",
        ),
    ],
)
def test_invalid_argument_is_rejected(frames, arguments, message):
    with pytest.raises(ValueError, match=message):
        _encode(frames, **arguments)
