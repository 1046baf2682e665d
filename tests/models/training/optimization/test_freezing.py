"""`train.freeze`: frozen weights and statistics keep their values in training, the others change."""

import keras
import numpy as np
import pytest

from framecast.models.training.optimization.freezing import freeze


def _model():
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Input((3,)),
        keras.layers.Dense(4, name="first"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Dense(1, name="last"),
    ]
    return keras.Sequential([layers[0], keras.Sequential(layers[1:3], name="encoder"), layers[3]], name="whole")


def _changed(patterns):
    """The names of the weights that Keras' own training changes."""
    model = _model()
    freeze(model, patterns)
    before = {weight.path: np.array(weight) for weight in model.weights}
    model.compile("sgd", "mse")
    inputs = np.random.default_rng(0).normal(3, 1, (32, 3))
    model.fit(inputs, inputs.sum(axis=1), epochs=1, verbose=0)
    changed = [weight.path for weight in model.weights if not np.array_equal(weight, before[weight.path])]
    return {"/".join(path.split("/")[-2:]) for path in changed}


def test_frozen_layers_keep_weights_and_statistics():
    assert _changed(["*encoder/*"]) == {"last/kernel", "last/bias"}
    assert len(_changed([])) == 8


def test_single_weight_is_frozen():
    assert _changed(["*first/kernel"]) == _changed([]) - {"first/kernel"}


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["decoder/*"], "received decoder/[*]; names: .*encoder/first/kernel, "),
        (["*"], "expected weights left to train, received [*], which match all"),
    ],
)
def test_wrong_patterns_are_named(patterns, message):
    with pytest.raises(ValueError, match=f"^train.freeze: .*{message}"):
        freeze(_model(), patterns)
