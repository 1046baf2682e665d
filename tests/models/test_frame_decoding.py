"""Decoding inside the graph: exact pixels, and errors for frames that break the contract."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from framecast.models.frame_decoding import decode_frames
from framecast.schemas.clip_spec import ClipSpec, FrameRange


def _spec(**kwargs):
    return ClipSpec(frames=FrameRange(min=1, max=24), **kwargs)


def _png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def _jpeg(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "JPEG")
    return stream.getvalue()


def _decode(frames, spec, height=0, width=0):
    size = tf.constant(height, tf.int64), tf.constant(width, tf.int64)
    return decode_frames(tf.constant(frames), *size, spec).numpy()


@pytest.mark.parametrize(
    ("dtype", "channels"),
    [("uint8", 1), ("uint8", 2), ("uint8", 3), ("uint16", 1)],
    ids=["gray8", "gray-alpha8", "rgb8", "gray16"],
)
def test_png_pixels_are_exact(dtype, channels):
    shape = (3, 10, 14, channels)
    frames = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    encoded = [_png(frame[..., 0] if channels == 1 else frame) for frame in frames]
    np.testing.assert_array_equal(_decode(encoded, _spec(dtype=dtype, channels=channels)), frames)


@pytest.mark.parametrize(("dtype", "channels"), [("float32", 6), ("float32", 1), ("uint8", 5)])
def test_raw_pixels_are_exact(dtype, channels):
    frames = np.random.default_rng(0).uniform(0, 255, (2, 4, 5, channels)).astype(dtype)
    encoded = [frame.tobytes() for frame in frames]
    np.testing.assert_array_equal(_decode(encoded, _spec(dtype=dtype, channels=channels), 4, 5), frames)


_GRAY = np.zeros((8, 8), np.uint8)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "received an empty clip"),
        ([b""], "expected a PNG or JPEG image"),
        ([b"not an image"], "expected a PNG or JPEG image"),
        ([_png(np.zeros((8, 8, 3), np.uint8))], "channels of a PNG"),
        ([_png(np.zeros((8, 8), np.uint16))], "bit depth of a PNG"),
        ([_jpeg(np.zeros((8, 8, 3), np.uint8))], "channels of a JPEG"),
        ([_png(_GRAY), _png(np.zeros((8, 9), np.uint8))], "every frame in the size of the first"),
        ([_png(_GRAY)[:16] + (100_000).to_bytes(4, "big") * 2 + _png(_GRAY)[24:]], "fewer pixels"),
        ([_png(_GRAY)[:40]], "PNG"),
    ],
    ids=["empty clip", "empty frame", "garbage", "rgb png", "16 bit", "rgb jpeg", "other size", "huge header", "cut"],
)
def test_graph_rejects_frames_that_break_the_contract(frames, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode_frames(tf.constant(frames, tf.string), tf.constant(0, tf.int64), tf.constant(0, tf.int64), _spec())


def test_jpeg_is_rejected_if_16_bits_are_expected():
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected a PNG of 16 bits"):
        _decode([_jpeg(_GRAY)], _spec(dtype="uint16"))
