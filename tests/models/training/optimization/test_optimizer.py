"""Updates of each optimizer, compared with NumPy, and the exchange of weights for averages."""

import keras
import numpy as np
import pydantic
import pytest
import tensorflow as tf

from framecast.models.optimizer_spec import OptimizerSpec
from framecast.models.training.optimization.optimizer import averaged, make_optimizer
from framecast.models.training.optimization.schedule import Schedule

_START = np.array([[2.0], [-1.0]])
_GRADIENTS = [np.array([[3.0], [4.0]]), np.array([[-0.1], [0.2]])]
_RATE = 0.1


def _dense():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([_START])
    return model


def _updated(model=None, **settings):
    train = OptimizerSpec(steps=9, learning_rate=_RATE, schedule="constant", warm_up=0, **settings)
    model = model or _dense()
    optimizer = make_optimizer(model, train, Schedule(train), replicas=1)
    for gradient in _GRADIENTS:
        scaled = optimizer.scale_loss(tf.constant(gradient, tf.float32))
        optimizer.apply_gradients([(scaled, model.trainable_variables[0])])
    return model, optimizer


def _adam(weights, gradients, decay=0.0):
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step, gradient in enumerate(gradients, 1):
        weights = weights - _RATE * decay * weights
        first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
        update = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.99**step)) + 1e-7)
        weights = weights - _RATE * update
    return weights


def _sgd(weights, gradients):
    velocity = np.zeros_like(weights)
    for gradient in gradients:
        velocity = 0.9 * velocity - _RATE * gradient
        weights = weights + velocity
    return weights


_CLIPPED = [_GRADIENTS[0] / 5, _GRADIENTS[1]]  # The first has the norm 5.


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"optimizer": "adam"}, _adam(_START, _CLIPPED)),
        ({"optimizer": "adam", "clip_norm": None}, _adam(_START, _GRADIENTS)),
        ({"optimizer": "adamw"}, _adam(_START, _CLIPPED, 0.01)),
        ({"optimizer": "adamw", "weight_decay": 0.5}, _adam(_START, _CLIPPED, 0.5)),
        ({"optimizer": "sgd"}, _sgd(_START, _CLIPPED)),
        ({"optimizer": "sgd", "clip_norm": 2.5}, _sgd(_START, [_GRADIENTS[0] / 2, _GRADIENTS[1]])),
    ],
    ids=str,
)
def test_updates_equal_numpy(settings, expected):
    model, _ = _updated(**settings)
    np.testing.assert_allclose(model.get_weights()[0], expected, rtol=1e-4)


@pytest.mark.parametrize("float16", [False, True])
def test_averages_are_exchanged_and_weights_restored(float16):
    model = _dense()
    if float16:
        model.layers[0].dtype_policy = "mixed_float16"
    model, optimizer = _updated(model, optimizer="sgd", ema=0.8)
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer) == float16
    own = model.get_weights()[0]
    with averaged(model, optimizer):
        average = model.get_weights()[0]
    assert not np.allclose(average, own)
    np.testing.assert_array_equal(model.get_weights()[0], own)
    first = _sgd(_START, _CLIPPED[:1])
    np.testing.assert_allclose(average, 0.8 * first + 0.2 * _sgd(_START, _CLIPPED), rtol=1e-5)


def test_weight_decay_needs_adamw():
    with pytest.raises(pydantic.ValidationError, match="weight_decay: expected optimizer: adamw, received sgd"):
        OptimizerSpec(steps=1, optimizer="sgd", weight_decay=0.1)
