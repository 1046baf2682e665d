"""Power spectra against NumPy's transform, Parseval's theorem, white noise and pure waves."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from framecast.evaluation.metrics.forecast import FORECASTS, REFERENCES
from framecast.evaluation.metrics.spectrum import OUTPUTS, WAVELENGTHS
from framecast.evaluation.sums.forecast import forecast_sums
from framecast.evaluation.sums.spectrum import frame_spectra

_FRAME = tf.TensorSpec([None, None, None], tf.float32)
_KNOWN = tf.TensorSpec([None, None, None], tf.bool)


@tf.function(input_signature=[_FRAME, _KNOWN, dict.fromkeys(FORECASTS, _FRAME)])
def _spectra(truth, known, forecasts):
    return frame_spectra(truth, known, forecasts)


def spectra_of(truth, known=None, **forecasts):
    """The spectra of the truth and of every forecast; forecasts that are not given are 0."""
    known = np.ones(truth.shape, bool) if known is None else known
    named = {name: forecasts.get(name.removeprefix("_") or "model", np.zeros_like(truth)) for name in FORECASTS}
    return {name: value.numpy() for name, value in _spectra(truth, known, named).items()}


def noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape).astype("float32")


def power_of(frame, known):
    """NumPy's power of each wave of one channel, `(height, width)`, and the band of each, -1 outside of all bands."""
    transform = np.fft.fft2(np.where(known, frame, 0).astype("float64"))
    frequencies = np.hypot(*np.meshgrid(*(np.fft.fftfreq(size) for size in frame.shape), indexing="ij"))
    bands = np.full(frame.shape, -1)
    for band, wavelength in enumerate(WAVELENGTHS):
        longest, shortest = wavelength * 2**0.25, wavelength / 2**0.25
        bands[(frequencies > 1 / longest) & (frequencies < 1 / shortest)] = band
    return np.abs(transform) ** 2 / known.sum(), bands


def expected(frame, known):
    """The sum over channels of the mean power in each band, and the number of channels that have it."""
    total, counts = np.zeros(len(WAVELENGTHS)), np.zeros(len(WAVELENGTHS))
    for channel in range(frame.shape[2]):
        power, bands = power_of(frame[..., channel], known[..., channel])
        for band in set(bands.ravel()) - {-1}:
            total[band] += power[bands == band].mean()
            counts[band] += 1
    return total, counts


@pytest.mark.parametrize(
    "shape", [(64, 64, 1), (33, 50, 3), (51, 7, 1), (160, 128, 1), (1, 9, 1), (9, 1, 2), (2, 2, 1)]
)
def test_power_is_numpys_over_known_pixels(shape):
    truth, forecast, known = noise(shape), noise(shape, 1), noise(shape, 2) < 0.8
    result = spectra_of(truth, known, model=forecast, persistence_blurred=truth)
    for name, frame in (("power_truth", truth), ("power", forecast), ("power_persistence_blurred", truth)):
        total, counts = expected(frame, known)
        np.testing.assert_allclose(result[name], total, rtol=1e-9)
        np.testing.assert_array_equal(result["spectra"], counts)
    assert tuple(result) == OUTPUTS
    assert not result["power_black"].any()


def test_one_pixel_frame_has_no_waves():
    result = spectra_of(noise((1, 1, 2)))
    assert not any(value.any() for value in result.values())


def test_total_power_is_the_variance_by_parseval():
    """The frame has only its mean and waves that are in a band."""
    frame = noise((48, 48, 1))
    frequencies = np.hypot(np.fft.fftfreq(48)[:, None], np.fft.fftfreq(48))
    transform = np.where((frequencies > 0) & (frequencies < 0.55), np.fft.fft2(frame[..., 0]), 0)
    frame = (0.5 + np.fft.ifft2(transform).real[..., None]).astype("float32")
    _, bands = power_of(frame[..., 0], np.ones((48, 48), bool))
    waves = np.array([(bands == band).sum() for band in range(len(WAVELENGTHS))])
    assert spectra_of(frame)["power_truth"] @ waves / 48**2 == pytest.approx(frame.var(), rel=1e-6)


def test_white_noise_has_its_variance_at_every_wavelength():
    frames = [0.5 + np.random.default_rng(seed).normal(0, 0.1, (128, 96, 1)).astype("float32") for seed in range(12)]
    known = noise(frames[0].shape) < 0.7
    for mask in (np.ones_like(known), known):
        # The mean is subtracted, because missing pixels count as 0.
        found = [spectra_of(frame - 0.5, mask) for frame in frames]
        power = sum(result["power_truth"] for result in found) / len(found)
        np.testing.assert_allclose(power[:7], 0.01, rtol=0.12)


@pytest.mark.parametrize(("rows", "columns"), [(0, 16), (16, 0), (3, 0), (9, 12), (32, 0), (0, 32), (0, 1), (1, 1)])
def test_wave_has_power_in_its_band(rows, columns):
    r, c = np.mgrid[:64, :64]
    wave = (0.5 + 0.4 * np.cos(2 * np.pi * (rows * r + columns * c) / 64))[..., None].astype("float32")
    power = spectra_of(wave)["power_truth"]
    length = 64 / np.hypot(rows, columns)
    assert np.argmax(power) == np.argmin(np.abs(np.log(np.array(WAVELENGTHS) / length)))
    # Rounding to float32 leaves next to nothing at other wavelengths.
    assert np.sort(power)[-2] < 1e-12 * power.max()


def test_blur_removes_short_waves_and_keeps_long():
    truth = noise((96, 96, 1))
    blurred = gaussian_filter(truth, 1.5, axes=(0, 1), mode="wrap")
    result = spectra_of(truth, model=blurred)
    ratio = result["power"][:10] / result["power_truth"][:10]
    # A Gaussian multiplies a wave by exp(-2 * (pi * sigma / length)**2), and its power by the square.
    for band in range(2, 8):
        length = WAVELENGTHS[band]
        shortest, longest = (np.exp(-((2 * np.pi * 1.5 / length / 2**end) ** 2)) for end in (-0.25, 0.25))
        assert shortest < ratio[band] < longest
    assert ratio[0] < 1e-4
    assert ratio[9] > 0.9


def test_constant_frame_has_exactly_zero_power():
    for value in (0.0, 0.3, 1.0):
        assert not spectra_of(np.full((100, 77, 1), value, "float32"))["power_truth"].any()


def test_unknown_pixels_and_channels_never_change_power():
    truth, known = noise((20, 24, 2)), noise((20, 24, 2), 1) < 0.5
    known[..., 1] = False
    with_nan = np.where(known, truth, np.nan).astype("float32")
    clean, result = spectra_of(truth, known, model=truth), spectra_of(with_nan, known, model=with_nan)
    for name in OUTPUTS:
        np.testing.assert_array_equal(result[name], clean[name])
    np.testing.assert_array_equal(clean["spectra"][:4], 1)
    np.testing.assert_allclose(clean["power"], expected(truth[..., :1], known[..., :1])[0], rtol=1e-9)


def test_forecast_is_clipped_and_nan_stays_nan():
    truth = noise((16, 16, 1))
    beyond = (3 * truth - 1).astype("float32")
    result = spectra_of(truth, model=beyond)
    np.testing.assert_allclose(result["power"], spectra_of(np.clip(beyond, 0, 1))["power_truth"], rtol=1e-9)
    beyond[3, 4] = np.nan
    result = spectra_of(truth, model=beyond)
    assert np.isnan(result["power"][result["spectra"] > 0]).all()
    assert np.isfinite(result["power_truth"]).all()


def test_clips_are_summed_by_lead_time():
    shape = (3, 2, 24, 17, 2)
    truth, known = noise(shape), noise(shape, 1) < 0.9
    known[0, 1] = False
    forecasts = {name: noise(shape, seed) for seed, name in enumerate(("model", *REFERENCES), start=2)}
    forecasts["model"][1] = np.nan
    result = tf.function(forecast_sums)(truth, known, np.array([True, False, True]), forecasts)
    result = {name: result[name].numpy() for name in OUTPUTS}
    assert all(value.dtype == np.float32 and value.shape == (3, 2, 13) for value in result.values())
    for clip, lead in np.ndindex(3, 2):
        mask = known[clip, lead] & (clip != 1)
        for name, fields in {"_truth": truth, "": forecasts["model"], "_black": forecasts["black"]}.items():
            total, counts = expected(fields[clip, lead], mask) if mask.any() else (0, 0)
            np.testing.assert_allclose(result[f"power{name}"][clip, lead], total, rtol=1e-6)
            np.testing.assert_array_equal(result["spectra"][clip, lead], counts)
