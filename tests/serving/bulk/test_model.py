"""Bulk model: batches of clips with mixed sizes and lengths, and the outputs of each clip."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from framecast.serving.bulk.model import BulkModel, batches


@pytest.fixture
def save(tmp_path):
    """Saves a model that calls `before()` and returns the sum of each frame and of the clip."""

    def save(before):
        module = tf.Module()

        @tf.function(
            input_signature=[
                tf.TensorSpec((None, None, None, None, 1), tf.uint8, "frames"),
                tf.TensorSpec((None,), tf.int32, "length"),
            ]
        )
        def sums(frames, length):
            with tf.control_dependencies([tf.numpy_function(before, [], tf.int64)]):
                each = tf.reduce_sum(tf.cast(frames, tf.float32), axis=(2, 3, 4))
            known = tf.sequence_mask(length, tf.shape(frames)[1], tf.float32)
            return {"frame_sum": each[..., None], "clip_sum": tf.reduce_sum(each * known, axis=1, keepdims=True)}

        module.sums = sums
        tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": sums})
        return str(tmp_path / "model")

    return save


def test_each_clip_gets_its_outputs(save):
    rng = np.random.default_rng(0)
    sizes = [(8, 8, 1), (8, 16, 1)]
    shapes = [(int(rng.integers(1, 12)), *sizes[rng.integers(2)]) for _ in range(50)]
    clips = [rng.integers(0, 256, shape, np.uint8) for shape in shapes]
    model = BulkModel(save(lambda: 0), batch=4)
    assert model.series == {"frame_sum"}
    for clip, found in zip(clips, model.submit(clips)(), strict=True):
        np.testing.assert_array_equal(found["frame_sum"][:, 0], clip.sum(axis=(1, 2, 3)))
        np.testing.assert_array_equal(found["clip_sum"], [clip.sum()])


def test_two_batches_run_in_parallel(save):
    both = threading.Barrier(2)
    model = BulkModel(save(lambda: both.wait(60)), batch=2)
    assert len(model.submit([np.zeros((3, 8, 8, 1), np.uint8)] * 8)()) == 8


def test_batches_have_one_size_and_similar_lengths():
    rng = np.random.default_rng(0)
    sizes = [(8, 8, 1), (8, 16, 1), (8, 8, 3)]
    shapes = [(int(rng.integers(1, 40)), *sizes[rng.integers(3)]) for _ in range(500)]
    found = list(batches(shapes, 16))
    assert sorted(number for batch in found for number in batch) == list(range(500))
    for batch in found:
        assert len(batch) <= 16
        assert len({shapes[number][1:] for number in batch}) == 1
        lengths = [shapes[number][0] for number in batch]
        assert max(lengths) <= 1.25 * min(lengths)
    assert max(map(len, found)) == 16


def test_clips_of_one_shape_fill_batches():
    assert [len(batch) for batch in batches([(10, 8, 8, 1)] * 35, 16)] == [16, 16, 3]
