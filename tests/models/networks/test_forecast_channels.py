"""Forecasts of some channels: the others are input only, and after the context the model sees their last frame."""

import keras
import numpy as np
import pytest

from framecast.models.networks import builders
from framecast.models.networks.frame_forecaster import FrameForecaster
from framecast.models.spec import ModelSpec, parse_task
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from tests.models.networks import brought_models

_CLIP = ClipSpec(channels=3, frames=FrameRange(min=1, max=12), height=16, width=16)
_TASK = parse_task({"horizon": 3, "context": {"min": 4}, "channels": [1]})


@pytest.fixture
def frames():
    return np.random.default_rng(0).random((2, 9, 16, 16, 3), "float32")


@pytest.mark.parametrize("predict", ["frame", "change", "advected"])
def test_other_channels_hold_their_last_frame(frames, predict):
    """Feeds each forecast back with the last frame of the other channels, by calls without own rollout."""
    keras.utils.set_random_seed(0)
    options = {"channels": 3, "filters": (4,), "kernel_size": 3, "patch": 2, "predict": predict}
    model = FrameForecaster(**options, forecast_channels=(1,))
    predictions = np.asarray(model(frames, np.array([5, 4]), steps=7))
    assert predictions.shape == (2, 7, 16, 16, 1)
    changed = frames.copy()
    changed[0, 5:], changed[1, 4:] = np.nan, np.nan
    np.testing.assert_array_equal(model(changed, np.array([5, 4]), steps=7), predictions)
    changed[:, 3, ..., 2] = 0.5
    assert np.abs(np.asarray(model(changed, np.array([5, 4]), steps=7))[1, 5] - predictions[1, 5]).max() > 1e-6
    if predict != "advected":  # Its rollout depends on the lead time.
        seen = frames[:1, :5]
        for lead in range(3):
            following = np.asarray(model(seen, np.array([5 + lead]), steps=5 + lead))[:, -1:]
            np.testing.assert_allclose(predictions[:1, 4 + lead], following[:, 0], atol=1e-5)
            held = seen[:, -1:].copy()
            held[..., 1] = following[..., 0]
            seen = np.concatenate([seen, held], axis=1)


def test_all_channels_equal_no_selection(frames):
    outputs = []
    for channels in (None, (0, 1, 2)):
        keras.utils.set_random_seed(0)
        model = FrameForecaster(channels=3, filters=(4,), kernel_size=3, patch=2, forecast_channels=channels)
        outputs.append(np.asarray(model(frames, np.array([5, 4]), steps=7)))
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("name", ["some_channels_next_frame", "some_channels_horizon"])
def test_plain_models_predict_chosen_channels(frames, name):
    spec = ModelSpec(builder=f"{brought_models.__name__}:{name}")
    model = builders.build(spec, _TASK, _CLIP, keras.DTypePolicy("float32"))
    predictions = np.asarray(model(frames, np.array([5, 4]), steps=7))
    seen = frames[:1, :5]
    if name == "some_channels_horizon":
        np.testing.assert_allclose(predictions[:1, 4:7], model.model(seen[:, -4:]), atol=1e-6)
        return
    for lead in range(3):
        following = np.asarray(model.model(seen))[:, -1:]
        np.testing.assert_allclose(predictions[:1, 4 + lead], following[:, 0], atol=1e-5)
        held = seen[:, -1:].copy()
        held[..., 1] = following[..., 0]
        seen = np.concatenate([seen, held], axis=1)


def test_wrong_number_of_channels_is_refused():
    spec = ModelSpec(builder=f"{brought_models.__name__}:some_channels_next_frame", arguments={"outputs": 3})
    with pytest.raises(
        ValueError, match=r"expected an output of shape \(2, 4, 16, 16, 1\), .* received \(2, 4, 16, 16, 3"
    ):
        builders.build(spec, _TASK, _CLIP, keras.DTypePolicy("float32"))


@pytest.mark.parametrize("channels", [[], [1, 0], [0, 0], [-1]])
def test_channels_must_ascend_from_zero(channels):
    with pytest.raises(ValueError, match=r"channels"):
        parse_task({"horizon": 3, "channels": channels})
