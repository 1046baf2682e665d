"""Extrapolation of patterns that move by whole pixels; `make test-backends` runs it, because it needs pySTEPS."""

import numpy as np
import pytest

from framecast.evaluation.baselines import extrapolation

pytestmark = pytest.mark.skipif(
    not extrapolation.available(), reason="pySTEPS is in the benchmarks' peers environment: make test-backends"
)

_HORIZON = 3
_SIDE = 96


def _moved(down, right, frames, channels=1):
    """Smooth blobs `(time, height, width, channel)` that move by so many pixels per frame, some from outside."""
    rng = np.random.default_rng(0)
    margin = 60
    rows, columns = np.mgrid[: _SIDE + 2 * margin, : _SIDE + 2 * margin]
    field = np.zeros(rows.shape)
    for y, x in rng.uniform(0, _SIDE + 2 * margin, size=(90, 2)):
        field += np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 50)
    field /= field.max()
    places = [(margin - down * step, margin - right * step) for step in range(frames)]
    moved = np.stack([field[y : y + _SIDE, x : x + _SIDE] for y, x in places])[..., None].astype("float32")
    return np.concatenate([moved / (1 + channel) for channel in range(channels)], axis=-1)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -3), (-4, 1)])
def test_moving_field_is_forecast_where_it_starts_inside(down, right):
    frames = _moved(down, right, 4 + _HORIZON, channels=2)
    forecast, reached = extrapolation.extrapolate(frames[:4], np.ones(frames[:4].shape, bool), _HORIZON)
    truth = frames[4:]
    assert forecast.shape == reached.shape == truth.shape
    assert forecast.dtype == np.float32
    assert np.abs(forecast - truth)[reached].mean() < 0.005
    if down or right:
        assert np.abs(frames[3] - truth)[reached].mean() > 0.05  # Persistence's.
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    for lead in range(1, _HORIZON + 1):
        start = np.stack([rows - down * lead, columns - right * lead])
        depth = np.minimum(start, _SIDE - 1 - start).min(axis=0)
        # Within two pixels of the edge, the result depends on rounding.
        assert reached[lead - 1][depth >= 2].all()
        assert not reached[lead - 1][depth <= -2].any()


def test_missing_pixels_move_and_are_not_reached():
    frames = _moved(0, 3, 4 + _HORIZON)
    known = np.ones(frames[:4].shape, bool)
    known[:, 40:50, 30:40] = False
    context = np.where(known, frames[:4], np.nan)
    forecast, reached = extrapolation.extrapolate(context, known, _HORIZON)
    assert np.isfinite(forecast).all()
    for lead in range(1, _HORIZON + 1):
        assert not reached[lead - 1, 41:49, 31 + 3 * lead : 39 + 3 * lead].any()
        assert reached[lead - 1, 10:30, 20:80].all()
    assert np.abs(forecast - frames[4:])[reached].mean() < 0.01


def test_unknown_frame_is_ignored_for_motion():
    frames = _moved(2, -3, 4 + _HORIZON)
    known = np.ones(frames[:4].shape, bool)
    known[1] = False
    forecast, reached = extrapolation.extrapolate(frames[:4], known, _HORIZON)
    assert reached.mean() > 0.8
    assert np.abs(forecast - frames[4:])[reached].mean() < 0.005


@pytest.mark.parametrize("shown", [1, 2])
def test_still_or_single_frame_does_not_move(shown):
    context = np.full((shown, 32, 32, 1), 0.5, "float32")
    forecast, reached = extrapolation.extrapolate(context, np.ones(context.shape, bool), 2)
    assert reached.all()
    assert (forecast == 0.5).all()


def test_unknown_last_frame_reaches_no_pixel():
    context = _moved(1, 1, 4)
    known = np.ones(context.shape, bool)
    known[-1] = False
    forecast, reached = extrapolation.extrapolate(context, known, 2)
    assert not reached.any()
    assert (forecast == 0).all()


def test_pysteps_prints_nothing(capsys):
    extrapolation.extrapolate(_moved(1, 0, 4), np.ones((4, _SIDE, _SIDE, 1), bool), 1)
    assert capsys.readouterr() == ("", "")
