"""Makes the Keras optimizer of a training, and exchanges weights for their moving averages."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from framecast.models.optimizer_spec import OptimizerSpec
from framecast.models.training import precision
from framecast.models.training.optimization.schedule import Schedule

_LOG = logging.getLogger("framecast.train")
_BETA_2 = (
    0.99  # Squared gradients are averaged over 100 steps, not 1000, because a training has only hundreds of steps.
)
_MOMENTUM = 0.9


def make_optimizer(
    model: keras.Model, train: OptimizerSpec, schedule: Schedule, replicas: int
) -> keras.optimizers.Optimizer:
    """Returns the built optimizer; it scales the loss if a layer computes in float16.

    Args:
        model: A built model.
        train: Optimizer, clipping, weight decay and average.
        schedule: The learning rate.
        replicas: Each passes an equal part of the gradients.
    """
    options: dict[str, Any] = {"global_clipnorm": train.clip_norm / replicas if train.clip_norm else None}
    if train.ema is not None:
        options.update(use_ema=True, ema_momentum=train.ema)
    optimizer: keras.optimizers.Optimizer
    if train.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(schedule, momentum=_MOMENTUM, **options)
    elif train.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=train.decay, beta_2=_BETA_2, **options)
    else:
        optimizer = keras.optimizers.Adam(schedule, beta_2=_BETA_2, **options)
    if layer := precision.find_float16(model):
        _LOG.info("the loss is scaled, because the layer %s computes in float16", layer.path)
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    return optimizer


@contextlib.contextmanager
def averaged(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Gives the model the moving averages of its weights, if the optimizer keeps any, and then its own weights again.

    Keras' callback SwapEMAWeights swaps by additions, whose rounding changes the weights.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if not inner.use_ema:
        yield
        return
    weights = model.trainable_variables
    own = [tf.identity(weight.value) for weight in weights]
    for weight, average in zip(weights, inner._model_variables_moving_average, strict=True):
        weight.assign(average.value)
    try:
        yield
    finally:
        for weight, value in zip(weights, own, strict=True):
            weight.assign(value)
