"""Sums over frames against NumPy and scikit-image."""

import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio

from framecast.evaluation.metrics.forecast import OUTPUTS, REFERENCES
from framecast.evaluation.metrics.registry import outputs_of
from framecast.evaluation.sums.forecast import forecast_sums

SHAPE = (3, 4, 7, 5, 2)
FRAMES = tf.TensorSpec([None] * 5, tf.float32)
KNOWN = tf.TensorSpec([None] * 5, tf.bool)
COUNTED = tf.TensorSpec([None], tf.bool)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=SHAPE).astype("float32")
    known = rng.uniform(size=SHAPE) < 0.7
    forecasts = {name: rng.normal(0.5, 0.5, SHAPE).astype("float32") for name in ("model", *REFERENCES)}
    return truth, known, forecasts


@tf.function(input_signature=[FRAMES, KNOWN, COUNTED, dict.fromkeys(("model", *REFERENCES), FRAMES)])
def traced(truth, known, counted, forecasts):
    return forecast_sums(truth, known, counted, forecasts)


def sums_of(truth, known, forecasts, counted=None):
    counted = np.ones(len(truth), bool) if counted is None else counted
    return {name: value.numpy() for name, value in traced(truth, known, counted, forecasts).items()}


def test_sums_equal_numpy_over_known_pixels(batch):
    truth, known, forecasts = batch
    result = sums_of(*batch)
    assert tuple(sorted(result)) == tuple(sorted(outputs_of("forecast")))
    axes = (2, 3, 4)
    np.testing.assert_array_equal(result["pixels"], known.sum(axes))
    np.testing.assert_array_equal(result["frames"], np.ones(SHAPE[:2]))
    error = {name: np.where(known, value.astype("float64") - truth, 0) for name, value in forecasts.items()}
    np.testing.assert_allclose(result["squared_error"], (error["model"] ** 2).sum(axes), rtol=1e-6)
    np.testing.assert_allclose(result["absolute_error"], np.abs(error["model"]).sum(axes), rtol=1e-6)
    for name in REFERENCES:
        np.testing.assert_allclose(result[f"squared_error_{name}"], (error[name] ** 2).sum(axes), rtol=1e-6)
    assert all(result[name].dtype == np.float32 and result[name].shape == SHAPE[:2] for name in OUTPUTS)


def test_mse_and_psnr_are_scikit_images(batch):
    truth, _, forecasts = batch
    result = sums_of(truth, np.ones(SHAPE, bool), forecasts)
    for clip, lead in np.ndindex(SHAPE[:2]):
        frame, forecast = truth[clip, lead], forecasts["model"][clip, lead]
        mse = result["squared_error"][clip, lead] / result["pixels"][clip, lead]
        np.testing.assert_allclose(mse, mean_squared_error(frame, forecast), rtol=1e-6)
        psnr = peak_signal_noise_ratio(frame, np.clip(forecast, 0, 1), data_range=1)
        np.testing.assert_allclose(result["psnr"][clip, lead], psnr, rtol=1e-6)


def test_unknown_pixels_never_change_sums(batch):
    truth, known, forecasts = batch
    with_nan = {name: np.where(known, value, np.nan) for name, value in forecasts.items()}
    expected, result = sums_of(*batch), sums_of(np.where(known, truth, np.inf), known, with_nan)
    for name in OUTPUTS:
        np.testing.assert_array_equal(result[name], expected[name])


def test_padding_never_changes_sums(batch):
    truth, known, forecasts = batch
    widths = [(0, 5), (0, 0), (0, 40), (0, 33), (0, 0)]
    padded = {name: np.pad(value, widths, constant_values=np.nan) for name, value in forecasts.items()}
    expected = sums_of(*batch)
    result = sums_of(np.pad(truth, widths), np.pad(known, widths), padded)
    for name in OUTPUTS:
        np.testing.assert_array_equal(result[name][: len(truth)], expected[name])
        np.testing.assert_array_equal(result[name][len(truth) :], 0)


def test_clips_left_out_have_zero_sums(batch):
    truth, known, forecasts = batch
    forecasts["model"][1] = np.nan
    expected, result = sums_of(truth, known, forecasts), sums_of(truth, known, forecasts, np.array([True, False, True]))
    for name in OUTPUTS:
        np.testing.assert_array_equal(result[name][1], 0)
        np.testing.assert_array_equal(result[name][[0, 2]], expected[name][[0, 2]])


def test_nan_forecast_makes_every_model_sum_nan(batch):
    truth, known, forecasts = batch
    forecasts["model"][0, 2] = np.nan
    result = sums_of(truth, known, forecasts)
    for name in ("squared_error", "absolute_error", "psnr"):
        assert np.isnan(result[name][0, 2])
        assert np.isfinite(np.delete(result[name].ravel(), 2)).all()


def test_unknown_frame_counts_none_exact_frame_100_db(batch):
    truth, known, forecasts = batch
    known[0, 0] = False
    forecasts["model"][0, 1] = truth[0, 1]
    result = sums_of(truth, known, forecasts)
    assert result["frames"][0, 0] == 0
    assert result["psnr"][0, 0] == 0
    assert result["psnr"][0, 1] == pytest.approx(100)


def test_missing_reference_is_named(batch):
    truth, known, forecasts = batch
    del forecasts["black"]
    with pytest.raises(ValueError, match=r"expected model, persistence, climatology, black.*received climatology, m"):
        forecast_sums(truth, known, np.ones(3, bool), forecasts)
