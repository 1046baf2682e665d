"""Warm start: reading weights from exported models, and the reasons for a cold start."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from framecast.models.networks.frame_forecaster import FrameForecaster
from framecast.models.spec import ContextSpec, ForecastTask, TrainSpec
from framecast.models.tasks import define_task
from framecast.models.training import loop, warm_start
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from tests.models.export.exporting import make_module, serve_only

_SPEC = ClipSpec(frames=FrameRange(min=1, max=8))
_TASK = ForecastTask(horizon=3, context=ContextSpec(min=2))


def _forecaster(seed, filters=(6, 4), predict="frame", dtype="float32"):
    keras.utils.set_random_seed(seed)
    return FrameForecaster(channels=1, filters=filters, kernel_size=3, patch=4, predict=predict, dtype=dtype)


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    """The parts of a ServingModel artifact that a warm start reads: the model's folder and the note."""
    folder = tmp_path_factory.mktemp("serving")
    serve_only(make_module(_forecaster(seed=1), _TASK, _SPEC), _SPEC, folder / "Format-Serving")
    (folder / warm_start.NOTE).write_text("version 17\n")
    return str(folder / "Format-Serving")


def _batch(seed=0):
    frames = np.random.default_rng(seed).integers(0, 256, (2, 6, 10, 9, 1), np.uint8)
    return {
        "frames": tf.constant(frames / np.float32(255)),
        "known": tf.ones(frames.shape, tf.bool),
        "length": tf.constant([6, 5]),
    }


def _forecasts(model, batch):
    steps = 6 + _TASK.horizon - 1
    predictions = np.asarray(model(batch["frames"], batch["length"], steps=steps))
    return [predictions[clip, length - 1 : length + 2] for clip, length in enumerate(batch["length"].numpy())]


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_warm_model_forecasts_as_the_serving_model(serving, tmp_path, dtype):
    warm = _forecaster(seed=2, dtype=dtype)
    start = warm_start.begin(warm, serving)
    assert start.note == "warm start from version 17"
    batch = _batch()
    # A learning rate of 0 keeps the weights.
    dataset = tf.data.Dataset.from_tensors(batch)
    loop.fit(
        warm,
        dataset.repeat(),
        dataset,
        define_task(_TASK).make_objective(TrainSpec(steps=1)),
        TrainSpec(steps=1, learning_rate=0, eval_every=1),
        state_dir=tmp_path / "state",
        log_dir=tmp_path / "logs",
    )
    exported = _forecaster(seed=3)
    exported.set_weights(warm.get_weights())
    served = tf.saved_model.load(serving).signatures["serving_default"](
        frames=tf.cast(tf.round(batch["frames"] * 255), tf.uint8), length=batch["length"]
    )["forecast"]
    assert np.ptp(served) > 0
    for expected, found in zip(served.numpy(), _forecasts(exported, batch), strict=True):
        np.testing.assert_allclose(np.clip(found, 0, 1), expected, atol=1e-5)


def test_read_weights_equal_exported_weights(serving):
    weights = warm_start.read_weights(serving)
    expected = _forecaster(seed=1)
    assert [weight.path.rpartition("/")[2] for weight in weights] == [weight.name for weight in expected.weights]
    for weight, value in zip(weights, expected.get_weights(), strict=True):
        np.testing.assert_array_equal(weight.value, value)


def test_digest_depends_on_exported_weights_only(serving):
    first, second = (warm_start.begin(_forecaster(seed), serving).digest for seed in (2, 3))
    assert first == second is not None


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        (
            {"filters": (6, 5)},
            "conv_lstm_cell/gates/kernel 3x3x11x20, received {}/conv_lstm_cell/gates/kernel 3x3x10x16",
        ),
        ({"filters": (6, 4, 4)}, "conv_lstm_cell/gates/kernel 3x3x8x16, received {}/conv2d/kernel 1x1x4x16"),
        ({"filters": (6,)}, "conv2d/kernel 1x1x6x16, received {}/conv_lstm_cell/gates/kernel 3x3x10x16"),
        (
            {"predict": "advected"},
            "conv_lstm_cell/gates/kernel 3x3x23x24, received {}/conv_lstm_cell/gates/kernel 3x3x22x24",
        ),
    ],
    ids=["other filters", "one more cell", "one cell less", "other predictions"],
)
def test_other_architecture_starts_cold_and_names_difference(serving, changes, difference):
    model = _forecaster(seed=2, **changes)
    before = model.get_weights()
    start = warm_start.begin(model, serving)
    cell = "rnn/rollout_cell"
    expected = f"cold start: version 17 has another architecture: expected {cell}/{difference.format(cell)}"
    assert (start.note, start.digest) == (expected, None)
    for kept, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, weight)


def test_other_layer_names_are_another_architecture(serving):
    weights = warm_start.read_weights(serving)
    other = [warm_start.Weight(weight.path.replace("gates", "doors"), weight.value) for weight in weights]
    difference = warm_start.describe_difference(_forecaster(seed=2), other)
    assert "gates/kernel 3x3x22x24, received rnn/rollout_cell/conv_lstm_cell/doors/kernel 3x3x22x24" in difference
    assert warm_start.describe_difference(_forecaster(seed=2), weights) == ""
    assert warm_start.describe_difference(_forecaster(seed=2), weights[:-1]) == "expected 6 weights, received 5"


def test_missing_serving_model_starts_cold_with_reason(tmp_path):
    model = _forecaster(seed=2)
    (tmp_path / warm_start.NOTE).write_text("nothing is serving\n")
    assert warm_start.begin(model, str(tmp_path / "Format-Serving")).note == "cold start: nothing is serving"
    assert warm_start.begin(model, None).note == "cold start: no serving model was given"


def test_foreign_model_starts_cold(tmp_path):
    foreign = tf.Module()
    foreign.weight = tf.Variable(1.0)
    tf.saved_model.save(foreign, str(tmp_path))
    start = warm_start.begin(_forecaster(seed=2), str(tmp_path))
    expected = "expected a model exported by Framecast, received one without _variables"
    assert start.note == f"cold start: {tmp_path}: {expected}"
