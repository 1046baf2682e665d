"""Preprocessing: clips are padded to the boundary of their bucket."""

import io

import numpy as np
import tensorflow as tf
from PIL import Image

from framecast.models.preprocessing import preprocess
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec, FrameRange


def _png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def test_clips_are_padded_to_bucket_boundary():
    clips = [np.full((count, 4, 4), count, np.uint8) for count in (2, 3, 5, 7)]
    inputs = {
        features.ENCODED: tf.ragged.constant([[[_png(frame)] for frame in clip] for clip in clips], ragged_rank=1),
        features.HEIGHT: tf.zeros(4, tf.int64),
        features.WIDTH: tf.zeros(4, tf.int64),
        features.FRAME_RATE: tf.zeros(4),
    }
    outputs = preprocess(inputs, ClipSpec(frames=FrameRange(min=1, max=24)), tf.constant([3, 6], tf.int64))
    assert outputs[features.FRAME_COUNT].numpy().tolist() == [2, 3, 5, 7]
    decoded = [tf.io.parse_tensor(clip, tf.uint8).numpy() for clip in outputs[features.FRAMES]]
    # The last is longer than any training clip, as a served clip may be, so it is not padded.
    assert [len(clip) for clip in decoded] == [3, 3, 6, 7]
    np.testing.assert_array_equal(decoded[0][..., 0], np.concatenate([clips[0], np.zeros((1, 4, 4))]))
