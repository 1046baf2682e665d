"""Models that users bring: which are accepted, what they forecast, and what is said of the others."""

import pathlib

import keras
import numpy as np
import pytest

from framecast.models.networks import builders
from framecast.models.networks.plain_models import HorizonForecaster, NextFrameForecaster, PlainLabeller
from framecast.models.spec import ModelSpec, parse_task
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from tests.models.networks import brought_models

_CLIP = ClipSpec(frames=FrameRange(min=1, max=12), height=16, width=16)
_FORECAST = {"horizon": 3, "context": {"min": 4}}


def _build(name, task=_FORECAST, clip=_CLIP, dtype="float32", **arguments):
    spec = ModelSpec(builder=f"{brought_models.__name__}:{name}", arguments=arguments)
    return builders.build(spec, parse_task(task), clip, keras.DTypePolicy(dtype))


@pytest.fixture
def frames():
    return np.random.default_rng(0).random((2, 9, 16, 16, 1), "float32")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "expected a keras.Model, received NoneType"),
        ("one_frame", r"expected an output of shape \(2, 8, 16, 16, 1\), .* received \(2, 1, 16, 16, 1\)"),
        ("half", r"expected an output of shape \(2, 8, 16, 16, 1\), .* received \(2, 8, 8, 8, 1\)"),
        ("several", r"expected an output of shape .* received a dict of mean, spread"),
        ("leaky", "sees frames that it is to forecast: its predictions change with frames after context_length"),
        ("smoothing", "its predictions change with later frames of the context.* predicts_context = False"),
        ("loops_over_steps", r"cannot be interpreted as an integer.* loop to N, .* return `predictions\[:, :steps\]`"),
    ],
)
def test_wrong_model_is_refused_with_reason(name, message):
    with pytest.raises(ValueError, match=rf"^model.builder {brought_models.__name__}:{name}: .*{message}"):
        _build(name)


def test_dtype_of_output_is_checked():
    with pytest.raises(ValueError, match=r"expected an output of dtype float32, received bfloat16; give the last"):
        _build("half_precision", dtype="mixed_bfloat16")


@pytest.mark.parametrize("name", ["rollout", "forecast_only"])
def test_model_with_contract_is_used_itself(name):
    assert type(_build(name)).__module__ == brought_models.__name__


@pytest.mark.parametrize(("name", "kind"), [("unet", "HorizonForecaster"), ("rollout", "Rollout")])
def test_builders_of_the_template_fit(name, kind):
    template = pathlib.Path(__file__).parents[3] / "examples" / "forecaster_template.py"
    task = parse_task({"horizon": 5, "context": {"min": 4}})
    clip = ClipSpec(channels=2, frames=FrameRange(min=1, max=12))
    model = builders.build(ModelSpec(builder=f"{template}:{name}"), task, clip, keras.DTypePolicy("mixed_bfloat16"))
    assert type(model).__name__ == kind


@pytest.mark.parametrize("name", ["horizon", "free_horizon"])
def test_plain_model_forecasts_from_last_frames(name, frames):
    model = _build(name)
    assert type(model) is HorizonForecaster
    predictions = np.asarray(model(frames, np.array([6, 4]), steps=8))
    for clip, context in enumerate((6, 4)):
        expected = model.model(frames[clip : clip + 1, context - 4 : context])
        np.testing.assert_allclose(predictions[clip, context - 1 : context + 2], expected[0], atol=1e-6)


def test_plain_model_streams_by_last_frames(frames):
    model = _build("horizon")
    states = model.initial_states(frames)
    for first, last in ((0, 3), (3, 4), (4, 9)):
        forecast, states = model.forecast_next(frames[:, first:last], states, 3)
        if last >= 4:
            np.testing.assert_allclose(forecast, model.model(frames[:, last - 4 : last]), atol=1e-6)
        assert states["past_frames"].shape[1] == min(last, 4)


def test_next_frame_model_receives_its_predictions(frames):
    model = _build("next_frame")
    assert type(model) is NextFrameForecaster
    predictions = np.asarray(model(frames, np.array([5, 4]), steps=8))
    for clip, context in enumerate((5, 4)):
        seen = frames[clip : clip + 1, :context]
        np.testing.assert_allclose(predictions[clip, :context], model.model(seen)[0], atol=1e-5)
        for lead in range(3):
            following = np.asarray(model.model(seen))[:, -1:]
            np.testing.assert_allclose(predictions[clip, context - 1 + lead], following[0, 0], atol=1e-5)
            seen = np.concatenate([seen, following], axis=1)


@pytest.mark.parametrize(
    ("arguments", "task", "clip", "message"),
    [
        ({"context": 6}, _FORECAST, _CLIP, "task.context.min: expected at least 6, .* received 4; clips of fewer"),
        ({"side": 32}, _FORECAST, _CLIP, "clip.height: expected 32, the only height .*, received 16"),
        ({}, _FORECAST, _CLIP.model_copy(update={"height": None, "width": None}), "expected 16, .* received none"),
        ({"horizon": 5}, _FORECAST, _CLIP, r"\(2, 3, 16, 16, 1\), \(batch, task.horizon, .* received \(2, 5, 16,"),
        ({}, {"kind": "anomaly", "context": {"min": 4}}, _CLIP, "expected a next frame for each frame of any number"),
    ],
)
def test_unfit_plain_model_names_the_setting(arguments, task, clip, message):
    with pytest.raises(ValueError, match=message):
        _build("horizon", task, clip, **arguments)


def test_label_models_need_no_length_argument(frames):
    model = _build("labels", {"kind": "classify", "classes": 3})
    assert type(model) is PlainLabeller
    shown = np.where(np.arange(9)[:, None, None, None] < 5, frames, 0)
    np.testing.assert_allclose(model(frames, np.array([5, 5])), model.model(shown), atol=1e-6)


def test_output_without_axis_of_numbers_is_refused():
    with pytest.raises(ValueError, match=r"expected an output of shape \(2, 1\), \(batch, outputs\), received \(2,\)"):
        _build("scalars", {"kind": "regress"})
