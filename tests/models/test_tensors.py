"""Normalising and padding of transformed clips."""

import numpy as np
import pytest
import tensorflow as tf

from framecast.models.tensors import normalise, pad_time
from framecast.schemas.clip_spec import ClipSpec, FrameRange


def test_missing_pixels_are_masked_and_zero():
    spec = ClipSpec(frames=FrameRange(min=1, max=4), missing=255)
    frames = np.array([[[[[255], [51]]], [[[255], [0]]]]], np.uint8)
    pixels, known = normalise(tf.constant(frames), tf.constant([1]), spec)
    np.testing.assert_array_equal(pixels.numpy().ravel(), np.float32([0, 0.2, 0, 0]))
    np.testing.assert_array_equal(known.numpy().ravel(), [False, True, False, False])


@pytest.mark.parametrize("shape", [(3,), (3, 4, 5, 2)])
def test_padding_appends_zeros_in_time(shape):
    values = np.random.default_rng(0).uniform(size=shape).astype("float32")
    padded = pad_time(tf.constant(values), tf.constant(2))
    np.testing.assert_array_equal(padded[:3], values)
    assert padded.shape == (5, *shape[1:])
    assert not padded[3:].numpy().any()
