"""Missing pixels: the reserved value changes no loss, gradient, statistic, baseline, forecast or metric."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from framecast.clips.codec import encode_clip
from framecast.evaluation.baselines import in_graph
from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics.sums import Sums
from framecast.models.export.forecast import ForecastModule, ReferenceConstants
from framecast.models.networks import presets
from framecast.models.preprocessing import preprocess
from framecast.models.spec import ContextSpec, ForecastTask, TrainSpec
from framecast.models.tensors import normalise
from framecast.models.training.objectives import NextFrameObjective
from framecast.schemas.clip_spec import ClipSpec, FrameRange

_EVENTS = EventsSpec(thresholds=[0.1, 0.9], scales=[1, 5])
_TASK = ForecastTask(horizon=3, context=ContextSpec(min=2))


def _results(missing):
    """Everything that training and export derive from two clips whose missing pixels have the value `missing`."""
    spec = ClipSpec(frames=FrameRange(min=1, max=8), missing=missing)
    rng = np.random.default_rng(0)
    clips = rng.integers(1, 250, (2, 8, 12, 12, 1), np.uint8)
    absent = rng.uniform(size=clips.shape) < 0.2
    absent[1, :, 5:] = False  # So that some windows of 7x7 have no missing pixel.
    clips[absent] = missing
    clips[0, :, :3, :3] = missing
    lengths = np.array([6, 8], np.int32)
    frames, known = normalise(tf.constant(clips), tf.constant(lengths), spec)
    batch = {"frames": frames, "known": known, "length": tf.constant(lengths)}
    constants = ReferenceConstants(in_graph.fit_climatology([batch]), in_graph.fit_blur([batch], 3, 2, (0.0, 1.0, 2.0)))
    keras.utils.set_random_seed(0)
    model = presets.build("convlstm-tiny", channels=1, dtype="float32")
    with tf.GradientTape() as tape:
        loss = NextFrameObjective(3, TrainSpec(steps=1))(model, batch, tf.zeros([], tf.int64), True)
    boundaries = tf.constant([8], tf.int64)
    module = ForecastModule(model, lambda inputs: preprocess(inputs, spec, boundaries), spec, _TASK, constants, _EVENTS)
    examples = tf.constant(
        [
            encode_clip(clip[:length], example_id=str(length), media_id="m", frame_rate=1.0).SerializeToString()
            for clip, length in zip(clips, lengths, strict=True)
        ]
    )
    return {
        "climatology": constants.climatology,
        "sigmas": constants.blur_sigmas,
        "loss": loss,
        "gradients": tape.gradient(loss, model.trainable_variables),
        "forecast": module.serve(tf.constant(clips), tf.constant(lengths))["forecast"],
        "metrics": module.evaluate(examples),
    }


@pytest.fixture(scope="module")
def marked_alike():
    return _results(255), _results(251)


@pytest.mark.parametrize("name", ["climatology", "sigmas", "loss", "gradients", "forecast", "metrics"])
def test_reserved_value_changes_no_result(marked_alike, name):
    one, other = (tf.nest.flatten(results[name]) for results in marked_alike)
    assert len(one) == len(other) > 0
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


def test_missing_pixels_are_not_counted(marked_alike):
    pixels = marked_alike[0]["metrics"]["pixels"].numpy()
    assert pixels.shape == (2, 3)
    assert pixels.max() < 0.97 * 12 * 12
    assert pixels.min() > 0


def test_missing_pixels_are_not_counted_as_events(marked_alike):
    sums = {name: value.numpy() for name, value in marked_alike[0]["metrics"].items()}
    for ending in ("", "_persistence", "_black"):
        counts = [sums[f"{name}{ending}"] for name in ("hits", "misses", "false_alarms", "correct_negatives")]
        np.testing.assert_array_equal(np.sum(counts, axis=0), np.repeat(sums["pixels"][..., None], 2, axis=-1))


def test_reserved_value_changes_no_metric(marked_alike):
    # Counted, pixels of 255 and 251 would be events at every threshold, and pixels of 0 at none.
    figures = [Sums(events=_EVENTS).update(results["metrics"]).figures() for results in (*marked_alike, _results(0))]
    for name in ("csi_0.1", "fss_0.1_5px", "csi_0.9_persistence", "fss_0.9_5px_persistence"):
        assert 0 < figures[0][name] < 1
    assert np.isfinite(figures[0]["ssim"])
    for other in figures[1:]:
        assert figures[0] == pytest.approx(other, rel=0, abs=0, nan_ok=True)
