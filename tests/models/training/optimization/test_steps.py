"""One training step, compared with Keras' own `train_on_batch`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from framecast.models.spec import TrainSpec, parse_task
from framecast.models.tasks import define_task
from framecast.models.training.optimization.steps import TrainStep

_TIME = 5
_L = keras.layers


class Brought(keras.Model):
    """A user's model with everything that depends on training: a regularizer, normalisation, dropout, an added loss."""

    mean, spread = 0.0, 1.0  # Of the numbers of a regression.

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        outputs = {"classify": 3}.get(kind, 1)
        self.conv = _L.TimeDistributed(
            _L.Conv2D(outputs, 3, padding="same", kernel_regularizer=keras.regularizers.L2(0.5))
        )
        self.norm = _L.BatchNormalization(momentum=0.5)
        self.activity = _L.ActivityRegularization(l2=0.1)
        self.drop = _L.Dropout(0.5, seed=3)

    def call(self, frames, length, steps=None, training=None):
        x = self.drop(self.activity(self.norm(self.conv(frames), training=training)), training=training)
        return keras.ops.mean(x, [1, 2, 3]) if steps is None else x[:, :steps]


class AsKerasExpects(keras.Model):
    """Passes the lengths, and the steps of a forecast."""

    def __init__(self, model, length, steps):
        super().__init__()
        self.model, self.length, self.steps = model, length, steps

    def call(self, frames, training=None):
        arguments = {} if self.steps is None else {"steps": self.steps}
        return self.model(frames, self.length, training=training, **arguments)


def _batch(kind):
    rng = np.random.default_rng(0)
    frames = rng.random((4, _TIME, 6, 6, 1), "float32")
    batch = {"frames": frames, "known": np.ones_like(frames, bool), "length": np.full(4, _TIME, "int32")}
    label = {"classify": rng.integers(0, 3, 4), "regress": rng.random(4, "float32")}.get(kind)
    return batch if label is None else {**batch, "label": label}


def _built(kind):
    keras.utils.set_random_seed(1)
    model = Brought(kind)
    steps = {} if kind in ("classify", "regress") else {"steps": _TIME - 1}
    model(np.zeros((1, _TIME, 6, 6, 1), "float32"), np.full(1, _TIME, "int32"), **steps)
    return model


def _step(model, optimizer, task, batches):
    optimizer.build(model.trainable_variables)
    spec = {name: tf.TensorSpec([None, *value.shape[1:]], value.dtype) for name, value in batches[0].items()}
    objective = define_task(parse_task(task)).make_objective(TrainSpec(steps=1))
    step = TrainStep(model, optimizer, objective, tf.distribute.get_strategy(), spec, len(batches))
    return step([{name: tf.constant(value) for name, value in batch.items()} for batch in batches], 0)


@pytest.mark.parametrize(
    "task",
    [
        {"kind": "forecast", "horizon": 2},
        {"kind": "anomaly"},
        {"kind": "classify", "classes": 3},
        {"kind": "regress"},
    ],
    ids=lambda task: task["kind"],
)
def test_step_of_every_task_equals_keras(task):
    kind, batch = task["kind"], _batch(task["kind"])
    ours = _built(kind)
    before = ours.get_weights()
    sums = _step(ours, keras.optimizers.SGD(0.1), task, [batch])
    model = _built(kind)
    labelled = "label" in batch
    theirs = AsKerasExpects(model, batch["length"], None if labelled else _TIME - 1)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    theirs.compile(keras.optimizers.SGD(0.1), cross_entropy if kind == "classify" else "mse")
    truth = batch["label"].reshape(-1, 1) if labelled else batch["frames"][:, 1:]
    loss = theirs.train_on_batch(batch["frames"], truth)
    np.testing.assert_allclose(sums.totals[0] / sums.counts[0] + sums.added, loss, rtol=1e-5)
    assert sums.added > 0.1
    for old, expected, weight in zip(before, model.get_weights(), ours.weights, strict=True):
        np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-4, atol=1e-6)
        assert not np.array_equal(weight.numpy(), old), weight.path


class Forecaster(keras.Model):
    """One regularised convolution, and a layer that its output does not depend on."""

    def __init__(self):
        super().__init__()
        self.conv = _L.Conv3D(1, 3, padding="same", kernel_regularizer=keras.regularizers.L2(0.5))
        self.unused = _L.Dense(2)
        self.unused.build((None, 3))

    def call(self, frames, context_length, steps):
        return self.conv(frames)[:, :steps]


def test_accumulated_batches_equal_one_batch():
    batch = _batch("forecast")
    batch["length"] = np.array([5, 3, 4, 3], "int32")  # So that the batches do not count equally.
    parts = [{name: value[take] for name, value in batch.items()} for take in (slice(0, 1), slice(1, 4))]

    def learned(batches):
        keras.utils.set_random_seed(1)
        model = Forecaster()
        model(batch["frames"], batch["length"], steps=4)
        optimizer = keras.optimizers.Adam(0.1, global_clipnorm=0.1)
        sums = _step(model, optimizer, {"horizon": 1}, batches)
        np.testing.assert_array_equal(model.unused.bias, [0, 0])
        return model.get_weights(), sums, int(optimizer.iterations)

    (expected, whole, _), (found, summed, updates) = learned([batch]), learned(parts)
    assert updates == 1
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    for left, right in zip(summed, whole, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5)
