"""Freezes parts of a model: `train.freeze`."""

import fnmatch
from collections.abc import Sequence

import keras

from framecast.models.training.warm_start import without_counters


def freeze(model: keras.Model, patterns: Sequence[str]) -> None:
    """Excludes weights from training.

    A layer whose weights are all frozen is frozen as a whole, so that it runs as in inference: BatchNormalization
    keeps its statistics.

    Args:
        model: A built model.
        patterns: Of weights' names, as `fnmatch` takes them; `*` also matches `/`.

    Raises:
        ValueError: If a pattern matches no weight, or no weight is left to train.
    """
    names = {id(weight): without_counters(weight.path) for weight in model.weights}
    for pattern in patterns:
        if not fnmatch.filter(names.values(), pattern):
            known = ", ".join(dict.fromkeys(names.values()))
            raise ValueError(f"train.freeze: expected patterns of weights' names, received {pattern}; names: {known}")
    frozen = {own for own, name in names.items() if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)}
    # Keras has no public way to list the layers inside of layers.
    for layer in model._flatten_layers(include_self=False):
        if layer.weights and all(id(weight) in frozen for weight in layer.weights):
            layer.trainable = False
    for weight in model.trainable_weights:
        if id(weight) in frozen:
            weight.trainable = False
    if patterns and not model.trainable_weights:
        received = ", ".join(patterns)
        raise ValueError(f"train.freeze: expected weights left to train, received {received}, which match all")
