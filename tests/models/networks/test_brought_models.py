"""The Trainer's training of models that users bring: regularisers, statistics of batches, and dropout."""

import numpy as np
import pytest
import tensorflow as tf

from framecast.models.spec import ContextSpec, ForecastTask, ModelSpec, TrainSpec
from framecast.models.training import train_model
from framecast.models.training.input_pipeline import InputPipeline
from framecast.models.training.training_log import read_curves
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from tests.models.networks import brought_models
from tests.models.transformed import write_transformed

_CLIP = ClipSpec(frames=FrameRange(min=4, max=6), height=8, width=8)
_TASK = ForecastTask(horizon=2, context=ContextSpec(min=2))
_FRAMES = np.random.default_rng(0).integers(0, 256, (8, 6, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clips.gz"
    write_transformed(path, [(clip, 6) for clip in _FRAMES])
    return [str(path)]


@pytest.fixture(scope="module")
def train(clips, tmp_path_factory):
    def train(name, steps, learning_rate, **arguments):
        """The model, its weights before training, and the last losses; each batch has all clips."""
        settings = TrainSpec(steps=steps, learning_rate=learning_rate, eval_every=steps, batch_frames=48)
        pipeline, strategy = InputPipeline(_CLIP, _TASK, settings), tf.distribute.get_strategy()
        spec = ModelSpec(builder=f"{brought_models.__name__}:{name}", arguments=arguments)
        model, _ = train_model.build_model(strategy, spec, pipeline, clips)
        before = model.get_weights()
        folder, val = tmp_path_factory.mktemp(name), pipeline.evaluation(clips)
        train_model.fit_model(strategy, model, pipeline, clips, val, state_dir=folder / "state", log_dir=folder)
        curves = read_curves(folder)
        return model, before, {key: curves[key][-1][1] for key in ("loss", "val_loss")}

    return train


@pytest.fixture(scope="module")
def normalised(train):
    """A step without an update, with dropout."""
    return train("normalised", steps=1, learning_rate=0.0)


def test_regulariser_shrinks_kernel(train):
    norms = {}
    for name in ("regularised", "rollout"):
        model, before, _ = train(name, steps=40, learning_rate=2e-2)
        norms[name] = [float(np.linalg.norm(kernel)) for kernel in (before[0], model.rnn.cell.kernel)]
    assert norms["regularised"][0] == norms["rollout"][0] < norms["rollout"][1]
    assert norms["regularised"][1] < norms["regularised"][0] / 4


def test_batch_statistics_are_learned(normalised):
    model, _, _ = normalised
    context = np.zeros((8, 5, 8, 8, 1), "float32")
    context[:, :4] = _FRAMES[:, :4] / np.float32(255)
    batch_mean = np.mean(model.rnn(context) * 10 + 3, axis=(0, 1, 2, 3))
    np.testing.assert_allclose(model.norm.moving_mean, (1 - model.norm.momentum) * batch_mean, rtol=1e-4)


def test_dropout_acts_in_training_only(train, normalised):
    _, _, dropped = normalised
    _, _, kept = train("normalised", steps=1, learning_rate=0.0, rate=0.0)
    assert dropped["val_loss"] == kept["val_loss"]
    assert dropped["loss"] > 1.1 * kept["loss"]
