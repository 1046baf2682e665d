import keras
import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import structural_similarity

from framecast.models.training.losses import class_sums, next_frame_count, next_frame_sums, number_sums

LENGTH = np.array([5, 3, 1], "int32")


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    frames = rng.uniform(size=(3, 5, 4, 3, 2)).astype("float32")
    predictions = rng.uniform(size=(3, 6, 4, 3, 2)).astype("float32")
    known = rng.uniform(size=frames.shape) < 0.8
    return frames, predictions, known


def counted_mask(known):
    """`next_frame_sums`'s argument: which pixels of the next frames count."""
    return known[:, 1:] & (np.arange(1, 5) < LENGTH[:, None])[..., None, None, None]


def value_and_gradient(frames, predictions, known):
    predictions = tf.convert_to_tensor(predictions)
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        value = next_frame_sums("mse", frames[:, 1:], predictions[:, :4], counted_mask(known))
    return value.numpy(), tape.gradient(value, predictions).numpy()


def counted_pixels(known):
    """`(clip, frame, row, column, channel)` of every truth pixel that counts, by an explicit loop."""
    return [i for i in np.ndindex(known.shape) if 1 <= i[1] < LENGTH[i[0]] and known[i]]


def test_mse_and_gradient_equal_numpy_loop(batch):
    frames, predictions, known = batch
    counted = counted_pixels(known)
    errors = [float(predictions[b, t - 1, y, x, c]) - float(frames[b, t, y, x, c]) for b, t, y, x, c in counted]
    value, gradient = value_and_gradient(*batch)
    np.testing.assert_allclose(value, np.sum(np.square(errors)), rtol=1e-6)
    expected = np.zeros_like(predictions)
    for (b, t, y, x, c), error in zip(counted, errors, strict=True):
        expected[b, t - 1, y, x, c] = 2 * error
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_padding_and_missing_pixels_change_nothing(batch, value):
    frames, predictions, known = batch
    expected = value_and_gradient(*batch)
    counted = np.zeros(frames.shape, bool)
    counted[tuple(np.transpose(counted_pixels(known)))] = True
    dirty_frames = np.where(counted, frames, value).astype("float32")
    dirty = np.full_like(predictions, value)
    dirty[:, :4][counted[:, 1:]] = predictions[:, :4][counted[:, 1:]]
    loss, gradient = value_and_gradient(dirty_frames, dirty, known)
    np.testing.assert_array_equal(loss, expected[0])
    np.testing.assert_array_equal(gradient, expected[1])


def test_loss_without_counted_pixels_is_zero(batch):
    frames, predictions, known = batch
    value, gradient = value_and_gradient(frames, predictions, np.zeros_like(known))
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize(
    ("kind", "error_of"),
    [
        ("mae", lambda error, truth: abs(error)),
        ("weighted", lambda error, truth: error**2 * (1 + 300 * max(truth - 0.3, 0) ** 2)),
    ],
)
def test_other_losses_equal_numpy_loop(batch, kind, error_of):
    frames, predictions, known = batch
    errors = [
        error_of(float(predictions[b, t - 1, y, x, c]) - float(frames[b, t, y, x, c]), float(frames[b, t, y, x, c]))
        for b, t, y, x, c in counted_pixels(known)
    ]
    value = next_frame_sums(kind, frames[:, 1:], predictions[:, :4], counted_mask(known))
    np.testing.assert_allclose(value, np.sum(errors), rtol=1e-5)


def test_class_loss_equals_keras_over_counted_labels():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 5, (4, 6)), rng.normal(size=(4, 6, 5)).astype("float32")
    counted = rng.uniform(size=(4, 6)) < 0.6
    expected = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True).numpy()[counted].sum()
    dirty = np.where(counted[..., None], logits, np.nan).astype("float32")
    np.testing.assert_allclose(
        class_sums("cross_entropy", np.where(counted, labels, -1), dirty, counted), expected, rtol=1e-5
    )


def test_number_loss_equals_standardised_squared_error():
    rng = np.random.default_rng(0)
    labels, estimates = (rng.normal(size=(2, 7, 3)).astype("float32") for _ in range(2))
    counted, spread = rng.uniform(size=(2, 7)) < 0.6, np.array([1.0, 10.0, 0.5], "float32")
    expected = np.square((labels - estimates) / spread).mean(axis=-1)[counted].sum()
    dirty = np.where(counted[..., None], labels, np.nan).astype("float32")
    np.testing.assert_allclose(
        number_sums("mse", dirty, estimates, counted, np.full(3, 7.0, "float32"), spread), expected, rtol=1e-4
    )


@pytest.mark.parametrize("shape", [(4,), (4, 3)])
def test_number_loss_refuses_to_broadcast(shape):
    labels, estimates = np.zeros((4, 1), "float32"), np.zeros(shape, "float32")
    with pytest.raises(ValueError, match=r"expected one estimate for each label, \(4, 1\), received \(4,"):
        number_sums("mse", labels, estimates, np.ones(4, bool), 0.0, 1.0)


def test_ssim_loss_equals_scikit_image():
    rng = np.random.default_rng(0)
    truth, predictions = (rng.random((2, 3, 12, 14, 1), "float32") for _ in range(2))
    known = np.ones(truth.shape, bool)
    known[1, 2] = False
    known[0, 0, :, :4] = False
    windows = []
    for clip, time in np.ndindex(2, 3):
        columns = slice(4 if (clip, time) == (0, 0) else 0, None)
        if known[clip, time].any():
            _, field = structural_similarity(
                truth[clip, time, :, columns, 0], predictions[clip, time, :, columns, 0], data_range=1, full=True
            )
            windows.append((1 - field[3:-3, 3:-3]).ravel())
    dirty = np.where(known, predictions, np.nan).astype("float32")
    windows = np.concatenate(windows)
    np.testing.assert_allclose(next_frame_sums("ssim", truth, dirty, known), windows.sum(), rtol=1e-4)
    assert float(next_frame_count("ssim", known)) == len(windows)


def test_focal_and_class_weights_equal_keras():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 3, 8), rng.normal(size=(8, 3)).astype("float32")
    counted, weights = np.arange(8) < 6, np.array([1, 5, 0.5])
    focal = keras.losses.CategoricalFocalCrossentropy(alpha=1, gamma=2, from_logits=True, reduction=None)
    own = focal(np.eye(3)[labels], logits).numpy()
    np.testing.assert_allclose(class_sums("focal", labels, logits, counted), own[:6].sum(), rtol=1e-4)
    weighted = class_sums("focal", labels, logits, counted, tuple(weights))
    np.testing.assert_allclose(weighted, (own * weights[labels])[:6].sum(), rtol=1e-4)


@pytest.mark.parametrize(
    "function",
    [
        lambda truth, predictions: tf.square(truth - predictions),
        keras.losses.mean_squared_error,
        lambda truth, predictions: tf.reduce_mean(tf.square(truth - predictions), [2, 3, 4]),
    ],
    ids=["each value", "mean over channels", "mean over frames"],
)
def test_functions_of_any_axes_equal_mse(batch, function):
    frames, predictions, known = batch
    compared = (frames[:, 1:], predictions[:, :4], counted_mask(known))
    expected = next_frame_sums("mse", *compared)
    np.testing.assert_allclose(next_frame_sums("a:b", *compared, function), expected, rtol=1e-5)


def test_function_of_wrong_shape_is_rejected(batch):
    frames, predictions, known = batch
    with pytest.raises(ValueError, match=r"train.loss: a:b: expected an error for each value of .* received \(\)"):
        next_frame_sums("a:b", frames[:, 1:], predictions[:, :4], counted_mask(known), lambda *both: tf.zeros([]))
    zeros = np.zeros((4, 1), "float32")
    with pytest.raises(ValueError, match=r"expected an error for each label, \(4,\), received \(4, 1\)"):
        number_sums("a:b", zeros, zeros, np.ones(4, bool), 0.0, 1.0, lambda truth, estimates: truth - estimates)
