"""Structural similarity against scikit-image."""

import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import structural_similarity

from framecast.evaluation.metrics.forecast import REFERENCES
from framecast.evaluation.metrics.sums import Sums
from framecast.evaluation.sums.forecast import forecast_sums
from framecast.evaluation.sums.ssim import frame_ssim

DATA_RANGES = {"ssim": 1, "ssim_openstl": 2}


def compare(truth, forecast, known=None):
    known = np.ones(truth.shape, bool) if known is None else known
    return {name: float(value) for name, value in tf.function(frame_ssim)(truth, known, forecast).items()}


def pair(shape, seed=0):
    """A smooth field and a noisy forecast of it, float32 in [0, 1]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    truth = 0.5 + 0.5 * np.sin(rows / 5 + columns / 3)[..., None] * rng.uniform(size=shape[2:])
    return truth.astype("float32"), np.clip(truth + rng.normal(0, 0.1, shape), 0, 1).astype("float32")


@pytest.mark.parametrize("shape", [(32, 32, 1), (7, 7, 1), (40, 9, 3)])
def test_ssim_is_scikit_images(shape):
    truth, forecast = pair(shape)
    result = compare(truth, forecast)
    for name, data_range in DATA_RANGES.items():
        expected = structural_similarity(
            truth.astype("float64"), forecast.astype("float64"), data_range=data_range, channel_axis=-1
        )
        assert result[name] == pytest.approx(expected, abs=1e-9)
    assert result["ssim_frames"] == 1


def test_nearly_equal_bright_frames_keep_precision():
    truth, _ = pair((32, 32, 1))
    truth = (0.99 + 1e-3 * truth).astype("float32")
    forecast = (truth + np.random.default_rng(0).normal(0, 1e-4, truth.shape)).astype("float32")
    for name, data_range in DATA_RANGES.items():
        expected = structural_similarity(
            truth[..., 0].astype("float64"), forecast[..., 0].astype("float64"), data_range=data_range
        )
        assert compare(truth, forecast)[name] == pytest.approx(expected, abs=1e-9)


def test_frame_compared_with_itself_scores_one():
    truth, _ = pair((20, 20, 1))
    assert compare(truth, truth) == {name: pytest.approx(1) for name in (*DATA_RANGES, "ssim_frames")}


def test_windows_with_missing_pixels_are_left_out():
    truth, forecast = pair((25, 21, 2))
    known = np.random.default_rng(1).uniform(size=truth.shape) < 0.99
    found = [
        structural_similarity(
            *(frame[row : row + 7, column : column + 7, channel] for frame in (truth, forecast)), data_range=1
        )
        for row in range(19)
        for column in range(15)
        for channel in range(2)
        if known[row : row + 7, column : column + 7, channel].all()
    ]
    assert 0 < len(found) < 19 * 15 * 2
    assert compare(truth, forecast, known)["ssim"] == pytest.approx(np.mean(found), abs=1e-6)
    with_nan = [np.where(known, frame, np.float32(np.nan)) for frame in (truth, forecast)]
    assert compare(*with_nan, known) == compare(truth, forecast, known)


def test_frame_without_complete_window_is_not_counted():
    truth, forecast = pair((30, 30, 1))
    known = np.ones(truth.shape, bool)
    known[::7, ::7] = False
    assert compare(truth, forecast, known) == dict.fromkeys((*DATA_RANGES, "ssim_frames"), 0)
    assert compare(truth[:6], forecast[:6])["ssim_frames"] == 0


def test_nan_forecast_has_nan_ssim():
    truth, forecast = pair((20, 20, 1))
    forecast[10, 10] = np.nan
    assert np.isnan(compare(truth, forecast)["ssim"])


def test_metric_is_mean_over_clipped_frames():
    frames = [pair((16, 12, 1), seed) for seed in range(4)]
    truth, forecast = (np.stack(part).reshape(2, 2, 16, 12, 1) for part in zip(*frames, strict=True))
    beyond = (forecast - 0.5) * 1.5 + 0.5
    sums = forecast_sums(
        truth, np.ones(truth.shape, bool), np.ones(2, bool), {"model": beyond, **dict.fromkeys(REFERENCES, truth)}
    )
    expected = [
        structural_similarity(a[..., 0], np.clip(b[..., 0], 0, 1), data_range=1)
        for a, b in zip(truth[:, 1], beyond[:, 1], strict=True)
    ]
    found = Sums().update({name: value.numpy() for name, value in sums.items()})
    assert found.compute("ssim", 2) == pytest.approx(np.mean(expected), abs=1e-6)
