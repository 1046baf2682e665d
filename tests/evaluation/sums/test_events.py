"""Counts of events against NumPy, and shares of events in windows against SciPy's uniform filter."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import uniform_filter

from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics import events as event_metrics
from framecast.evaluation.metrics.forecast import REFERENCES
from framecast.evaluation.metrics.sums import Sums
from framecast.evaluation.sums.forecast import forecast_sums

SHAPE = (3, 2, 23, 19, 2)
THRESHOLDS = (0.3, 0.7)
SCALES = (1, 5, 17)
FORECASTS = ("model", *REFERENCES)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=SHAPE).astype("float32")
    known = rng.uniform(size=SHAPE) < 0.8
    known[0, 0, :, :9] = False
    return truth, known, {name: rng.normal(0.5, 0.4, SHAPE).astype("float32") for name in FORECASTS}


@functools.cache  # Tracing takes seconds.
def traced(thresholds):
    frames, known = (tf.TensorSpec([None] * 5, dtype) for dtype in (tf.float32, tf.bool))

    @tf.function(input_signature=[frames, known, tf.TensorSpec([None], tf.bool), dict.fromkeys(FORECASTS, frames)])
    def sums(*arguments):
        return forecast_sums(*arguments, thresholds, SCALES)

    return sums


@pytest.fixture(scope="module", autouse=True)
def untraced():
    """Frees the graphs, because TensorFlow prints errors when it frees them at exit."""
    yield
    traced.cache_clear()


def sums_of(truth, known, forecasts, counted=(True, True, True), thresholds=THRESHOLDS):
    result = traced(tuple(thresholds))(truth, known, np.array(counted), forecasts)
    return {name: value.numpy() for name, value in result.items()}


def ending(name):
    return "" if name == "model" else f"_{name}"


def test_counts_are_numpys_for_every_forecast(batch):
    truth, known, forecasts = batch
    result = sums_of(*batch)
    for name in FORECASTS:
        for place, threshold in enumerate(THRESHOLDS):
            came, forecast = truth >= threshold, forecasts[name] >= threshold
            expected = {
                "hits": came & forecast,
                "misses": came & ~forecast,
                "false_alarms": ~came & forecast,
                "correct_negatives": ~came & ~forecast,
            }
            for count, pixels in expected.items():
                measured = result[f"{count}{ending(name)}"]
                assert measured.dtype == np.float32
                np.testing.assert_array_equal(measured[..., place], (pixels & known).sum((2, 3, 4)))


def test_fractions_are_scipys_in_windows_of_known_pixels(batch):
    truth, known, forecasts = batch
    result = sums_of(*batch)
    for name in FORECASTS:
        for place, threshold in enumerate(THRESHOLDS):
            for number, scale in enumerate(SCALES):
                window = (1, 1, scale, scale, 1)
                came, forecast = (
                    uniform_filter(((field >= threshold) & known).astype("float64"), window, mode="constant") * known
                    for field in (truth, forecasts[name])
                )
                measured = {
                    part: result[f"{part}{ending(name)}"][..., place, number] for part in ("fss_error", "fss_worst")
                }
                error, worst = ((came - forecast) ** 2).sum((2, 3, 4)), (came**2 + forecast**2).sum((2, 3, 4))
                np.testing.assert_allclose(measured["fss_error"], error, rtol=1e-6)
                np.testing.assert_allclose(measured["fss_worst"], worst, rtol=1e-6)


def test_scores_of_whole_clips_are_numpys(batch):
    truth, _, forecasts = batch
    known = np.ones(SHAPE, bool)
    # Threshold 3 of 0 to 10 is the pixel 0.3.
    sums = Sums(events=EventsSpec(thresholds=[3, 7])).update(sums_of(truth, known, forecasts))
    came, forecast = truth[:, 1] >= 0.7, forecasts["persistence"][:, 1] >= 0.7
    assert sums.compute("csi_7_persistence", 2) == pytest.approx((came & forecast).sum() / (came | forecast).sum())
    came, forecast = (
        uniform_filter((field >= 0.3).astype("float64"), (1, 1, 5, 5, 1), mode="constant")
        for field in (truth, forecasts["model"])
    )
    fss = 1 - ((came - forecast) ** 2).sum() / ((came**2).sum() + (forecast**2).sum())
    assert sums.compute("fss_3_5px") == pytest.approx(fss, abs=1e-7)


def test_fss_in_one_pixel_windows_counts_hits(batch):
    sums = Sums(events=EventsSpec(thresholds=THRESHOLDS)).update(sums_of(*batch))
    hits, misses, false_alarms = (sums.values[name][:, 0].sum() for name in ("hits", "misses", "false_alarms"))
    assert sums.compute("fss_0.3_1px") == pytest.approx(2 * hits / (2 * hits + misses + false_alarms), rel=1e-12)


@pytest.mark.parametrize(
    ("dtype", "scale", "offset"), [("uint8", 0.5, -32.0), ("uint8", 0.1, 0.0), ("uint16", 0.01, -30.0)]
)
def test_pixel_at_the_threshold_is_an_event(dtype, scale, offset):
    """Also when graph rewriting turns the division by the largest pixel into a product with its reciprocal."""
    largest = np.iinfo(dtype).max
    pixels = np.unique(np.linspace(1, largest, 255).astype(int))
    thresholds = [float(pixel * scale + offset) for pixel in pixels]
    shares = [(threshold - offset) / (largest * scale) for threshold in thresholds]
    for frame in (pixels.astype("float32") / np.float32(largest), pixels.astype("float32") * np.float32(1 / largest)):
        truth = frame.reshape(1, 1, 1, -1, 1)
        forecasts = dict.fromkeys(FORECASTS, truth)
        result = sums_of(truth, np.ones(truth.shape, bool), forecasts, counted=[True], thresholds=shares)
        np.testing.assert_array_equal(result["hits"][0, 0], len(pixels) - np.arange(len(pixels)))


def test_unknown_pixels_never_change_sums(batch):
    truth, known, forecasts = batch
    with_nan = {name: np.where(known, value, np.nan) for name, value in forecasts.items()}
    expected = sums_of(*batch)
    for value in (np.inf, np.nan):
        result = sums_of(np.where(known, truth, value), known, with_nan)
        for name in event_metrics.outputs(2, 3):
            np.testing.assert_array_equal(result[name], expected[name])


def test_padding_never_changes_sums(batch):
    truth, known, forecasts = batch
    widths = [(0, 2), (0, 0), (0, 12), (0, 7), (0, 0)]
    padded = {name: np.pad(value, widths, constant_values=0.9) for name, value in forecasts.items()}
    expected = sums_of(*batch)
    result = sums_of(np.pad(truth, widths), np.pad(known, widths), padded, [True] * 5)
    for name in event_metrics.outputs(2, 3):
        np.testing.assert_array_equal(result[name][:3], expected[name])
        np.testing.assert_array_equal(result[name][3:], 0)


def test_clips_left_out_have_zero_sums(batch):
    expected, result = sums_of(*batch), sums_of(*batch, counted=[True, False, True])
    for name in event_metrics.outputs(2, 3):
        np.testing.assert_array_equal(result[name][1], 0)
        np.testing.assert_array_equal(result[name][[0, 2]], expected[name][[0, 2]])


def test_no_thresholds_count_no_events(batch):
    assert not set(sums_of(*batch, thresholds=())) & set(event_metrics.outputs(2, 3))
