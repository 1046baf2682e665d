"""Comparison of a model with extrapolation over the pixels that it reaches; for pySTEPS see test_extrapolation.py."""

import types

import numpy as np
import pytest
import tensorflow as tf

from framecast.clips.codec import encode_clip
from framecast.evaluation.baselines import extrapolation
from framecast.evaluation.events_spec import EventsSpec
from framecast.models.spec import ForecastTask
from framecast.schemas.clip_spec import ClipSpec
from framecast.serving.predictions import extrapolation_comparison

_SPEC = ClipSpec(frames={"min": 2, "max": 9}, missing=255)
_TASK = ForecastTask(horizon=2, context={"min": 3})
_EVENTS = EventsSpec(thresholds=[0.5], scales=[1])
_LENGTHS = (5, 4, 7, 6)  # The second is too short.
_BIAS = 0.25


@pytest.fixture(scope="module")
def clips():
    """Clips `(time, height, width, channel)` uint8 with missing pixels, and no pixel that overflows with the bias."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 180, size=(length, 12, 10, 1), dtype=np.uint8) for length in _LENGTHS] + [
        np.where(rng.uniform(size=(5, 12, 10, 1)) < 0.2, 255, 90).astype(np.uint8)
    ]


@pytest.fixture(scope="module")
def compared(clips):
    """Compares a model (last frame plus a bias) with an extrapolation that is black and reaches the left."""

    def extrapolate(context, known, horizon):
        reached = np.zeros((horizon, *context.shape[1:]), bool)
        reached[:, :, :4] = True
        return np.zeros(reached.shape, np.float32), reached

    def serve(frames, length):
        last = tf.gather(frames, length - 1, batch_dims=1)
        last = tf.where(last == 255, tf.zeros_like(last), last)
        return {"forecast": tf.repeat(tf.cast(last, tf.float32)[:, None] / 255 + _BIAS, _TASK.horizon, axis=1)}

    model = types.SimpleNamespace(signatures={"serving_default": serve})
    examples = [encode_clip(frames, example_id=str(n), media_id="a", frame_rate=1.0) for n, frames in enumerate(clips)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extrapolation, "extrapolate", extrapolate)
        yield extrapolation_comparison.compare({"model": model}, examples, _SPEC, _TASK, _EVENTS)


def _errors(clips, lead, forecast):
    """Returns the errors over the known pixels on the left, of all clips that are long enough."""
    found = []
    for frames in clips:
        if len(frames) < _TASK.min_frames:
            continue
        pixels = np.where(frames == 255, 0, frames) / 255
        context, truth = pixels[: -_TASK.horizon], pixels[-_TASK.horizon + lead - 1]
        known = frames[-_TASK.horizon + lead - 1] != 255
        found.append((forecast(context[-1]) - truth)[:, :4][known[:, :4]])
    return np.concatenate(found)


def test_sums_cover_known_pixels_that_extrapolation_reaches(compared, clips):
    assert compared.clips == 4
    figures = compared.figures()
    assert list(figures) == ["model", "extrapolation"]
    for lead in (1, 2):
        model = np.square(_errors(clips, lead, lambda last: last + _BIAS)).mean()
        black = np.square(_errors(clips, lead, np.zeros_like)).mean()
        assert figures["model"][f"mse/lead_{lead}"] == pytest.approx(model, rel=1e-5)
        assert figures["extrapolation"][f"mse/lead_{lead}"] == pytest.approx(black, rel=1e-5)
        assert figures["model"][f"skill/lead_{lead}"] == pytest.approx(1 - model / black, rel=1e-5)


def test_events_are_counted_over_the_same_pixels(compared, clips):
    hits = misses = alarms = 0
    for lead in (1, 2):
        truth = -_errors(clips, lead, np.zeros_like)
        forecast = truth + _errors(clips, lead, lambda last: last + _BIAS)
        hits += ((forecast >= 0.5) & (truth >= 0.5)).sum()
        misses += ((forecast < 0.5) & (truth >= 0.5)).sum()
        alarms += ((forecast >= 0.5) & (truth < 0.5)).sum()
    figures = compared.figures()
    assert figures["model"]["csi_0.5"] == pytest.approx(hits / (hits + misses + alarms))
    assert figures["extrapolation"]["pod_0.5"] == 0
    assert figures["extrapolation"]["far_0.5"] is None  # It forecasts no event.


def test_figures_leave_out_baselines_and_extrapolation_skill(compared):
    figures = compared.figures()
    assert not any("persistence" in key for key in figures["model"])
    assert set(figures["model"]) - set(figures["extrapolation"]) == {"skill", "skill/lead_1", "skill/lead_2"}


def test_clips_are_read_only_as_needed(clips, monkeypatch, compared):
    monkeypatch.setattr(extrapolation_comparison, "CLIPS", 1)
    taken = iter([encode_clip(clips[0], example_id="0", media_id="a", frame_rate=1.0)] * 3)
    assert extrapolation_comparison.compare({}, taken, _SPEC, _TASK, None).clips == 1
    assert len(list(taken)) == 2
