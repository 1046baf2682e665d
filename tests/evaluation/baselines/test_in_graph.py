"""Reference forecasts against NumPy and SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from framecast.evaluation.baselines import in_graph
from framecast.evaluation.metrics.forecast import REFERENCES

HORIZON = 3
SIGMAS = [0.0, 1.5, 4.0]
BLACK = in_graph.black_climatology(2)


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    shape = (3, 6, 9, 7, 2)
    known = rng.uniform(size=shape) < 0.8
    frames = np.where(known, rng.uniform(size=shape), 0).astype("float32")
    return frames, known, np.array([6, 3, 4], "int32")


def forecasts_of(frames, known, context, climatology=BLACK, sigmas=SIGMAS):
    graph = tf.function(
        lambda *inputs: in_graph.reference_forecasts(
            *inputs, len(sigmas), climatology=tf.constant(climatology), blur_sigmas=sigmas
        ),
        input_signature=[
            tf.TensorSpec([None, None, None, None, 2], tf.float32),
            tf.TensorSpec([None, None, None, None, 2], tf.bool),
            tf.TensorSpec([None], tf.int32),
        ],
    )
    return {name: value.numpy() for name, value in graph(frames, known, context).items()}


def normalised_gaussian(frame, known, sigma):
    """Oracle for `(height, width)`: SciPy's Gaussian of the values over that of the weights."""
    values = gaussian_filter(np.where(known, frame, 0).astype("float64"), sigma, mode="constant")
    return values / gaussian_filter(known.astype("float64"), sigma, mode="constant")


def test_every_reference_has_name_and_shape(clips):
    result = forecasts_of(*clips)
    assert tuple(sorted(result)) == tuple(sorted(REFERENCES))
    assert all(value.shape == (3, HORIZON, 9, 7, 2) and value.dtype == np.float32 for value in result.values())


def test_persistence_repeats_last_frame_with_zeros_where_missing(clips):
    frames, known, context = clips
    result = forecasts_of(frames, known, context)["persistence"]
    for clip, length in enumerate(context):
        for lead in range(HORIZON):
            np.testing.assert_array_equal(result[clip, lead], np.where(known, frames, 0)[clip, length - 1])


def test_black_is_zero(clips):
    np.testing.assert_array_equal(forecasts_of(*clips)["black"], 0)


def test_blurred_persistence_is_scipys_gaussian(clips):
    frames, known, context = clips
    result = forecasts_of(frames, known, context)["persistence_blurred"]
    for clip, lead, channel in np.ndindex(3, HORIZON, 2):
        last, mask = (values[clip, context[clip] - 1, :, :, channel] for values in (frames, known))
        expected = normalised_gaussian(last, mask, SIGMAS[lead]) if SIGMAS[lead] else last
        np.testing.assert_allclose(result[clip, lead, :, :, channel], expected, atol=1e-6)


def test_blur_keeps_a_constant_field():
    known = np.random.default_rng(0).uniform(size=(1, 16, 12, 1)) < 0.5
    result = in_graph.blur(np.full(known.shape, 0.3, "float32"), known, 2.0).numpy()
    np.testing.assert_allclose(result, 0.3, atol=1e-6)


def test_blur_of_unknown_frame_is_zero():
    result = in_graph.blur(tf.fill([1, 8, 8, 1], np.float32(np.nan)), tf.zeros([1, 8, 8, 1], tf.bool), 2.0)
    np.testing.assert_array_equal(result, 0)


def test_missing_pixels_and_later_frames_change_nothing(clips):
    frames, known, context = clips
    late = np.arange(frames.shape[1])[None] >= context[:, None]
    with_nan = np.where(known & ~late[:, :, None, None, None], frames, np.nan)
    expected, result = forecasts_of(frames, known, context), forecasts_of(with_nan, known, context)
    for name in REFERENCES:
        np.testing.assert_array_equal(result[name], expected[name])


def test_wrong_number_of_sigmas_is_rejected(clips):
    frames, known, context = clips
    with pytest.raises(ValueError, match="blur_sigmas: expected one for each of 2 lead times, received 1"):
        in_graph.reference_forecasts(frames, known, context, 2, climatology=BLACK, blur_sigmas=[0.0])


def test_climatology_of_other_size_is_its_mean(clips):
    frames, known, context = clips
    climatology = np.random.default_rng(1).uniform(size=(9, 7, 2)).astype("float32")
    result = forecasts_of(frames, known, context, climatology)["climatology"]
    np.testing.assert_array_equal(result, np.broadcast_to(climatology, result.shape))
    other = forecasts_of(frames[:, :, :, :5], known[:, :, :, :5], context, climatology)["climatology"]
    np.testing.assert_allclose(other, np.broadcast_to(climatology.mean((0, 1)), other.shape), rtol=1e-6)


def test_climatology_by_channel_fits_every_size(clips):
    result = forecasts_of(*clips, np.array([0.25, 0.5], "float32"))["climatology"]
    np.testing.assert_array_equal(result, np.broadcast_to(np.float32([0.25, 0.5]), result.shape))


def batch(frames, known, length):
    return {"frames": frames, "known": known, "length": length}


def test_fitted_climatology_is_numpys_mean(clips):
    frames, known, length = clips
    known[:, :, 2, 3, 1] = False
    result = in_graph.fit_climatology(
        [batch(frames[:2], known[:2], length[:2]), batch(frames[2:], known[2:], length[2:])]
    )
    true = known & (np.arange(6)[None] < length[:, None])[:, :, None, None, None]
    expected = np.ma.masked_array(frames.astype("float64"), ~true)
    by_pixel = expected.mean((0, 1)).filled(np.nan)
    by_pixel[2, 3, 1] = expected[..., 1].mean()
    assert result.shape == (9, 7, 2)
    np.testing.assert_allclose(result, by_pixel, rtol=1e-6)


def test_climatology_of_several_sizes_is_channel_mean(clips):
    frames, known, length = clips
    small = batch(frames[:1, :, :4], known[:1, :, :4], length[:1])
    result = in_graph.fit_climatology([batch(frames, known, length), small, batch(frames, known, length)])
    true = known & (np.arange(6)[None] < length[:, None])[:, :, None, None, None]
    weight = true * 2.0
    weight[:1, :, :4] += true[:1, :, :4]
    expected = np.average(frames.reshape(-1, 2).astype("float64"), axis=0, weights=weight.reshape(-1, 2))
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_fit_climatology_without_batches_is_rejected():
    with pytest.raises(ValueError, match="at least one batch of training frames, received none"):
        in_graph.fit_climatology([])


def test_fitted_blur_has_lowest_error():
    rng = np.random.default_rng(0)
    frames = rng.uniform(size=(2, 7, 24, 24, 1)).astype("float32")
    known = rng.uniform(size=frames.shape) < 0.9
    length = np.array([7, 5], "int32")
    # With a pixel missing from the last frame, any blur would be better than none.
    known[[0, 1], length - 4] = True
    for clip, count in enumerate(length):
        last = frames[clip, count - 4, :, :, 0], known[clip, count - 4, :, :, 0]
        for lead, sigma in enumerate((0.0, 1.0, 3.0)):
            frame = normalised_gaussian(*last, sigma) if sigma else last[0]
            frames[clip, count - 3 + lead, :, :, 0] = frame + rng.normal(0, 0.01, frame.shape)
    frames = np.where(known, frames, np.nan)
    candidates = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0)
    short = batch(frames[:, :3], known[:, :3], np.array([3, 3], "int32"))
    result = in_graph.fit_blur([short, batch(frames, known, length)], 3, 1, candidates)
    assert result == [0.0, 1.0, 3.0]


def test_fit_blur_without_long_clips_is_rejected(clips):
    with pytest.raises(ValueError, match=r"at least context_min \+ horizon = 8 frames, found none"):
        in_graph.fit_blur([batch(*clips)], 4, 4, SIGMAS)
