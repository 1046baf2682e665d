import numpy as np


def randomise(layer):
    """Assigns random weights and returns them by name."""
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(rng.normal(scale=0.3, size=weight.shape).astype("float32"))
    return {
        weight.path.rpartition("/")[2]: np.asarray(value)
        for weight, value in zip(layer.weights, layer.get_weights(), strict=True)
    }
