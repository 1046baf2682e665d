"""Images of forecasts, checked pixel by pixel."""

import numpy as np
import pytest
import tensorflow as tf

from framecast.models.training.tensorboard_images import ForecastImages
from framecast.schemas.clip_spec import ClipSpec, FrameRange, PixelValue

_CLIP = ClipSpec(frames=FrameRange(min=2, max=30))
_SIDE, _CELL = 64, 64 + 2 * 2  # Pixels of a drawn frame, without and with the gap around it.


def model(frames, context_length, steps):
    """Forecasts 0.2 everywhere."""
    size = tf.shape(frames)
    tf.debugging.assert_equal(size[:2], [1, steps + 1])
    return tf.fill([1, steps, *tf.unstack(size[2:])], 0.2)


def recording(seen):
    """The model, which records its arguments."""

    def asked(frames, context_length, steps):
        tf.numpy_function(lambda *values: seen.append(values), [frames, context_length, steps], [])
        return model(frames, context_length, steps)

    return asked


def batch(clips, size=8, padded=12):
    """Clips of constant frames, from lists of their values; the value of padding, 7, must not be drawn."""
    frames = np.full((len(clips), padded, size, size, 1), 7, np.float32)
    for place, values in enumerate(clips):
        frames[place, : len(values)] = np.reshape(values, (-1, 1, 1, 1))
    length = np.array([len(values) for values in clips], np.int32)
    known = np.broadcast_to((np.arange(padded) < length[:, None])[..., None, None, None], frames.shape)
    return {name: tf.constant(value) for name, value in (("frames", frames), ("known", known), ("length", length))}


def cells(image):
    """The middle of each drawn frame as `[row][column]` RGB."""
    middle = 2 + _CELL // 2
    return image[middle::_CELL, middle::_CELL][:3].astype(int)


def test_rows_show_truth_forecast_and_error():
    images = ForecastImages(model, [batch([[0.0, 0.4, 0.6, 0.1, 0.2]])], 3, _CLIP)()
    assert list(images) == ["forecast/0"]
    image = images["forecast/0"]
    assert (image.shape, image.dtype) == ((3 * _CELL + 4, 5 * _CELL + 4, 3), np.uint8)
    truth, forecast, error = cells(image)
    np.testing.assert_array_equal(truth, np.round(255 * np.array([[0.0, 0.4, 0.6, 0.1, 0.2]])).T.repeat(3, axis=1))
    np.testing.assert_array_equal(forecast, [[24] * 3] * 2 + [[51] * 3] * 3)
    np.testing.assert_array_equal(error[:2], [[24] * 3] * 2)
    # Colours saturate at half of the range: 0.8 of blue at -0.4, 0.2 of orange at 0.1.
    np.testing.assert_allclose(
        error[2:], [0.8 * np.array([70, 160, 255]), 0.2 * np.array([255, 150, 40]), [0] * 3], atol=1
    )


def test_without_horizon_every_next_frame_is_forecast():
    seen = []
    image = ForecastImages(recording(seen), [batch([[0.5, 0.6, 0.7, 0.8]])], 0, _CLIP)()["forecast/0"]
    ((_, context_length, steps),) = seen
    assert (context_length.tolist(), steps) == ([4], 3)
    np.testing.assert_array_equal(cells(image)[1], [[24] * 3] + [[51] * 3] * 3)


def test_every_call_draws_the_most_changing_clips():
    moving = [[0.1, 0.1, 0.1, 0.1 + change] for change in (0.0, 0.3, 0.1, 0.5, 0.15)]
    batches = [batch(moving[:2]), batch(moving[2:])]
    draw = ForecastImages(model, batches, 1, _CLIP)
    images = draw()
    last = [cells(image)[0, -1, 0] for image in images.values()]
    assert last == [round(255 * (0.1 + change)) for change in (0.5, 0.3, 0.15)]
    for tag, image in draw().items():
        np.testing.assert_array_equal(image, images[tag])


def test_only_first_clips_and_last_frames_are_drawn():
    ahead = [batch([[0.1, 0.1 + 0.01 * clip]], padded=2) for clip in range(32)]

    def batches():
        yield from ahead
        raise AssertionError("read more batches than needed")

    images = ForecastImages(model, batches(), 1, _CLIP)()
    assert cells(images["forecast/0"])[0, -1, 0] == round(255 * 0.41)
    long = ForecastImages(model, [batch([np.linspace(0, 1, 20)], padded=24)], 6, _CLIP)()["forecast/0"]
    np.testing.assert_array_equal(cells(long)[0, :, 0], np.round(255 * np.linspace(0, 1, 20)[4:]))
    assert (cells(long)[1] == 51).all(-1).sum() == 6


def test_missing_pixels_are_marked_and_enter_as_zero():
    seen = []

    holed = batch([[0.5, 0.5, 0.5]])
    holed["known"] = tf.constant(holed["known"].numpy() & (np.arange(8) >= 4)[:, None, None])
    image = ForecastImages(recording(seen), [holed], 1, _CLIP)()["forecast/0"]
    assert not seen[0][0][:, :, :4].any()
    assert seen[0][0][:, :3, 4:].all()
    for row in (0, 2):  # Truth and error; the forecast is never missing.
        column = image[2 + row * _CELL + 2 :, 2 * _CELL + 4 : 3 * _CELL]
        assert (column[:32] == (70, 60, 60)).all()
        assert not (column[32:_SIDE] == (70, 60, 60)).all(-1).any()


def test_reflectivity_has_radar_colours():
    clip = _CLIP.model_copy(update={"value": PixelValue(unit="dBZ", scale=0.25, offset=-10)})
    image = ForecastImages(model, [batch([[0.9, 0.9]])], 1, clip)()["forecast/0"]
    # 0.9 * 255 / 4 - 10 is 47.4 dBZ, the forecast of 0.2 is 2.75 dBZ, below the first colour.
    assert cells(image)[:2, 1].tolist() == [[250, 120, 20], [0, 0, 0]]


@pytest.mark.parametrize(("size", "drawn"), [(5, 65), (40, 80), (100, 100), (128, 64), (256, 64)])
def test_small_frames_are_enlarged_and_large_subsampled(size, drawn):
    image = ForecastImages(model, [batch([[0.1, 0.9]], size=size)], 1, _CLIP)()["forecast/0"]
    assert image.shape == (3 * (drawn + 4) + 4, 2 * (drawn + 4) + 4, 3)
