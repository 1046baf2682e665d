import numpy as np
import pytest
import scipy.ndimage
from keras import ops

from framecast.models.motion import estimate_motion, warp


def field(time, motion, height=64, width=72, seed=0):
    """Returns a smooth random field in uniform motion, `(1, time, height, width, 1)`; the inflow is new."""
    noise = np.random.default_rng(seed).normal(size=(height + 120, width + 120))
    smooth = scipy.ndimage.gaussian_filter(noise, 3)
    smooth = np.clip(0.5 + smooth / (4 * smooth.std()), 0, 1)
    rows, columns = np.mgrid[60 : 60 + height, 60 : 60 + width]
    frames = [
        scipy.ndimage.map_coordinates(smooth, [rows - t * motion[0], columns - t * motion[1]], order=3)
        for t in range(time)
    ]
    return np.stack(frames)[None, ..., None].astype("float32")


@pytest.mark.parametrize("motion", [(0, 0), (3, -2), (-0.5, 0.25), (8, 5)])
def test_uniform_motion_is_estimated(motion):
    found = ops.convert_to_numpy(estimate_motion(field(5, motion)))
    assert found.shape == (1, 5, 64, 72, 2)
    assert not found[:, 0].any()
    inner = found[0, 1:, 8:-8, 8:-8]
    np.testing.assert_allclose(inner.mean((1, 2)), np.tile(motion, (4, 1)), atol=0.2)
    assert np.quantile(np.abs(inner - motion), 0.9) < 0.5


def test_two_motions_are_estimated_where_they_are():
    frames = np.concatenate([field(4, (2, 0), width=80, seed=1), field(4, (-2, 3), width=80, seed=2)], axis=3)
    found = ops.convert_to_numpy(estimate_motion(frames))[0, -1]
    np.testing.assert_allclose(found[10:-10, 5:40].mean((0, 1)), (2, 0), atol=0.3)
    np.testing.assert_allclose(found[10:-10, 120:155].mean((0, 1)), (-2, 3), atol=0.3)


def test_motion_ignores_later_frames():
    frames = field(5, (2, 1))
    later = frames.copy()
    later[:, 3:] = 0
    found = ops.convert_to_numpy(estimate_motion(later))
    np.testing.assert_allclose(found[:, :3], ops.convert_to_numpy(estimate_motion(frames))[:, :3], atol=1e-5)


def test_black_frames_have_no_motion():
    np.testing.assert_allclose(
        ops.convert_to_numpy(estimate_motion(np.zeros((2, 3, 33, 31, 3), "float32"))), 0, atol=1e-5
    )


@pytest.mark.parametrize("motion", [(1, -2), (0.3, 0.6), (-30, 40)])
def test_warp_equals_scipy_linear_interpolation(motion):
    frames = np.random.default_rng(0).random((2, 9, 11, 3), "float32")
    rng = np.random.default_rng(1)
    motions = (np.array(motion) + rng.normal(scale=0.5, size=(2, 9, 11, 2))).astype("float32")
    warped = ops.convert_to_numpy(warp(frames, motions))
    rows, columns = np.mgrid[:9, :11]
    for clip in range(2):
        places = [rows - motions[clip, ..., 0], columns - motions[clip, ..., 1]]
        for channel in range(3):
            expected = scipy.ndimage.map_coordinates(frames[clip, ..., channel], places, order=1, mode="nearest")
            np.testing.assert_allclose(warped[clip, ..., channel], expected, atol=1e-5)
