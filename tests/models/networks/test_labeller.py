import keras
import numpy as np
import pytest
import tensorflow as tf

from framecast.models.networks.labeller import Labeller

LENGTH = np.array([5, 2, 3], "int32")


@pytest.fixture
def frames():
    return np.random.default_rng(0).random((3, 5, 13, 10, 2), "float32")


def labeller(per, dtype="float32"):
    keras.utils.set_random_seed(0)
    return Labeller(channels=2, outputs=4, per=per, filters=(5, 6), recurrent_filters=7, dtype=dtype)


@pytest.mark.parametrize(("per", "shape"), [("clip", (3, 4)), ("frame", (3, 5, 4))])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_output_shape_and_dtype(frames, per, shape, dtype):
    output = labeller(per, dtype)(frames, LENGTH)
    assert output.shape == shape
    assert output.dtype == tf.float32


@pytest.mark.parametrize("per", ["clip", "frame"])
def test_nan_padding_changes_no_output_or_gradient(frames, per):
    model = labeller(per)
    padding = (np.arange(5)[None] >= LENGTH[:, None])[..., None, None, None]

    def output_and_gradients(frames):
        with tf.GradientTape() as tape:
            output = model(frames, LENGTH)
            if per == "frame":
                output = tf.boolean_mask(output, np.arange(5)[None] < LENGTH[:, None])
            loss = tf.reduce_sum(tf.square(output))
        return output, tape.gradient(loss, model.trainable_variables)

    clean, gradients = output_and_gradients(np.where(padding, 0, frames).astype("float32"))
    dirty, same = output_and_gradients(np.where(padding, np.nan, frames).astype("float32"))
    np.testing.assert_array_equal(dirty, clean)
    for one, other in zip(gradients, same, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("per", ["clip", "frame"])
def test_padded_clip_equals_clip_alone(frames, per):
    model = labeller(per)
    whole = model(frames, LENGTH)
    for clip, length in enumerate(LENGTH):
        alone = model(frames[clip : clip + 1, :length], LENGTH[clip : clip + 1])[0]
        expected = whole[clip] if per == "clip" else whole[clip, :length]
        np.testing.assert_allclose(alone, expected, atol=1e-5)


def test_frame_output_ignores_later_frames(frames):
    model = labeller("frame")
    later = frames.copy()
    later[:, 3:] = 0.5
    full = np.full(3, 5, "int32")
    np.testing.assert_array_equal(model(later, full)[:, :3], model(frames, full)[:, :3])


def test_config_round_trip_keeps_outputs(frames):
    model = labeller("frame")
    copy = Labeller.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(copy(frames, LENGTH), model(frames, LENGTH))


def test_wrong_channels_error_names_frames(frames):
    with pytest.raises(ValueError, match=r"frames: expected shape .*, 2\), received .*1\)"):
        labeller("clip")(frames[..., :1], LENGTH)
