"""Training of numbers far from 0, on a machine-independent number of steps."""

import keras
import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

from framecast.models.spec import ModelSpec, TrainSpec, parse_task
from framecast.models.tasks import measure_numbers
from framecast.models.training import train_model
from framecast.models.training.input_pipeline import InputPipeline
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from tests.models.transformed import write_transformed


def test_moments_equal_numpy_far_from_zero():
    clips = [np.random.default_rng(seed).normal(1e6, (0.5, 50), (seed + 1, 2)) for seed in range(9)]
    mean, spread = measure_numbers(clips)
    np.testing.assert_allclose(mean, np.concatenate(clips).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(spread, np.concatenate(clips).std(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(measure_numbers([np.full((3, 1), 7.0)])[1], [1])


@pytest.fixture
def temperatures(tmp_path):
    """Clips whose brightness is their temperature, 280 to 290 K, and falls with their pressure, 1000 to 900 hPa."""
    rng = np.random.default_rng(0)
    clips = []
    for _ in range(32):
        level = rng.uniform()
        frames = (255 * level * rng.uniform(0.8, 1, (4, 8, 8, 1))).astype("uint8")
        clips.append((frames, 4, np.float32([280 + 10 * level, 1000 - 100 * level])))
    path = tmp_path / "clips.gz"
    write_transformed(path, clips)
    return str(path), clips


def test_temperatures_are_learned_in_their_unit(temperatures, tmp_path):
    path, clips = temperatures
    clip = ClipSpec(frames=FrameRange(min=1, max=4))
    train = TrainSpec(steps=60, batch_frames=64, learning_rate=1e-2, eval_every=60)
    pipeline = InputPipeline(clip, parse_task({"kind": "regress", "numbers": 2}), train)
    strategy = tf.distribute.get_strategy()
    model, _ = train_model.build_model(strategy, ModelSpec(preset="cnn-convlstm-small"), pipeline, [path])
    val = pipeline.evaluation([path])
    folders = {"state_dir": str(tmp_path / "state"), "log_dir": str(tmp_path / "log")}
    train_model.fit_model(strategy, model, pipeline, [path], val, **folders)
    frames = np.stack([frames for frames, _, _ in clips]) / np.float32(255)
    truth = [label for _, _, label in clips]
    estimates = keras.ops.convert_to_numpy(model(frames, np.full(len(clips), 4, "int32")))
    assert min(sklearn.metrics.r2_score(truth, estimates, multioutput="raw_values")) > 0.5
