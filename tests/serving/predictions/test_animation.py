"""The animated GIF of forecast, truth and persistence or error."""

import numpy as np
import pytest
from PIL import Image

from framecast.schemas.clip_spec import PixelValue
from framecast.serving.predictions.animation import AnimationRow, write_gif


def row(
    context: int = 3, horizon: int = 2, size: tuple[int, int] = (32, 48), pixel: int = 255, **fields
) -> AnimationRow:
    return AnimationRow(
        context=np.full((context, *size, 1), pixel, np.uint8),
        truth=np.full((horizon, *size, 1), pixel, np.uint8),
        forecast=np.full((horizon, *size, 1), pixel / 255, np.float32),
        **fields,
    )


def frames_of(path) -> list[np.ndarray]:
    frames = []
    with Image.open(path) as image:
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGB")))
    return frames


def share_of(frame: np.ndarray, colour: tuple[int, int, int]) -> float:
    """Returns the share of pixels within a GIF palette's rounding of `colour`."""
    return float(np.mean(np.all(np.abs(frame.astype(int) - colour) <= 8, axis=-1)))


def test_gif_has_all_frames_and_three_readable_panels(tmp_path):
    write_gif(tmp_path / "a.gif", [row()])
    frames = frames_of(tmp_path / "a.gif")
    assert len(frames) == 3 + 2
    height, width = frames[0].shape[:2]
    # 32 x 48 is enlarged six times, to three panels of 192 x 288.
    assert height >= 192
    assert width >= 3 * 288
    assert 3 * 192 * 288 / (height * width) > 0.6
    assert share_of(frames[0], (255, 255, 255)) == pytest.approx(3 * 192 * 288 / (height * width), abs=0.02)


def test_shorter_contexts_start_later(tmp_path):
    write_gif(tmp_path / "a.gif", [row(context=4), row(context=1, size=(40, 40))])
    frames = frames_of(tmp_path / "a.gif")
    assert len(frames) == 4 + 2
    white = [share_of(frame, (255, 255, 255)) for frame in frames]
    np.testing.assert_allclose(white[:3], white[0], atol=0.01)
    assert white[3] > 1.5 * white[0]


def test_forecast_frames_have_coloured_borders(tmp_path):
    write_gif(tmp_path / "a.gif", [row(pixel=0)])
    coloured = [float(np.mean(np.ptp(frame.astype(int), axis=-1) > 60)) for frame in frames_of(tmp_path / "a.gif")]
    assert max(coloured[:3]) < 0.001
    assert min(coloured[3:]) > 0.01


def test_reflectivity_is_coloured_and_other_units_are_grey(tmp_path):
    pixel = 200  # 0.2745 * 200 - 10 = 44.9 dBZ: the colour from 40 dBZ, amber.
    for unit, colour in (("dBZ", (245, 180, 30)), ("mm/h", (200, 200, 200))):
        write_gif(tmp_path / "a.gif", [row(pixel=pixel)], value=PixelValue(unit=unit, scale=0.2745, offset=-10))
        for frame in frames_of(tmp_path / "a.gif"):
            assert share_of(frame, colour) > 0.55


def test_missing_pixels_have_a_separate_colour(tmp_path):
    write_gif(tmp_path / "a.gif", [row(pixel=255)], missing=255)
    first, *_, last = frames_of(tmp_path / "a.gif")
    assert share_of(first, (255, 255, 255)) < 0.01
    assert 0.2 < share_of(last, (255, 255, 255)) < 0.4  # Only the forecast.


def test_unknown_truth_leaves_an_empty_panel(tmp_path):
    known = row()
    write_gif(tmp_path / "a.gif", [AnimationRow(context=known.context, forecast=known.forecast)])
    *_, context, first, last = frames_of(tmp_path / "a.gif")
    for frame in (first, last):
        assert share_of(frame, (255, 255, 255)) == pytest.approx(2 / 3 * share_of(context, (255, 255, 255)), abs=0.02)


def test_rows_of_wrong_shape_are_named(tmp_path):
    good = row()
    bad = AnimationRow(context=good.context, truth=good.truth, forecast=good.forecast[:, :10])
    with pytest.raises(ValueError, match=r"row 1, forecast: expected shape \(2, 32, 48, 1\), received \(2, 10, 48"):
        write_gif(tmp_path / "a.gif", [good, bad])
    with pytest.raises(ValueError, match="at least one row"):
        write_gif(tmp_path / "a.gif", [])


def test_errors_are_blue_below_orange_above_truth(tmp_path):
    truth = np.zeros((1, 32, 32, 1), np.uint8)
    truth[:, :, :16] = 255
    forecast = np.zeros((1, 32, 32, 1), np.float32)
    forecast[:, :, 24:] = 1
    write_gif(tmp_path / "a.gif", [AnimationRow(context=truth, truth=truth, forecast=forecast)], third="error")
    context, panel = (frame[:, 2 * frame.shape[1] // 3 + 12 :] for frame in frames_of(tmp_path / "a.gif"))
    assert share_of(context, (255, 255, 255)) < 0.01  # The context has no error.
    low, high = (
        np.argwhere(np.abs(panel.astype(int) - colour).max(-1) <= 8) for colour in ((70, 160, 255), (255, 150, 40))
    )
    assert len(low) == pytest.approx(2 * len(high), rel=0.05)
    assert low[:, 1].max() < high[:, 1].min()
