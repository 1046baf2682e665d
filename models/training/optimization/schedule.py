"""Computes the learning rate of a step."""

import math

import keras
import tensorflow as tf

from framecast.models.optimizer_spec import OptimizerSpec

_PLATEAU_EVALUATIONS = 3
_PLATEAU_FACTOR = 0.5
# PyTorch's OneCycleLR: the first rate is a 25th of the peak, the last a 10,000th of the first.
_ONE_CYCLE_FIRST = 1 / 25
_ONE_CYCLE_LAST = _ONE_CYCLE_FIRST / 1e4


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of `OptimizerSpec.schedule`.

    Args:
        train: Peak, schedule, warm-up and steps.

    Attributes:
        variables: The state, which a resumed training needs.
    """

    def __init__(self, train: OptimizerSpec):
        self._train = train
        self._factor = tf.Variable(1.0, dtype=tf.float32, trainable=False)
        self._waited = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.variables = [self._factor, self._waited]

    def __call__(self, step):
        """Returns the learning rate, float32; `step` counts from 0."""
        train = self._train
        step, steps = tf.cast(step, tf.float32), float(train.steps)
        if train.schedule == "one-cycle":
            top = max(train.warm_up * steps - 1.0, 1e-6)
            rising = _anneal(_ONE_CYCLE_FIRST, 1.0, step / top)
            falling = _anneal(1.0, _ONE_CYCLE_LAST, (step - top) / max(steps - 1.0 - top, 1e-6))
            return train.learning_rate * tf.where(step < top, rising, falling)
        warm_up = max(1.0, train.warm_up * steps) if train.warm_up else 0.0
        share = tf.minimum((step + 1.0) / max(warm_up, 1.0), 1.0)
        after = self._factor
        if train.schedule == "cosine":
            after = _anneal(1.0, 0.0, (step - warm_up) / max(1.0, steps - warm_up))
        return train.learning_rate * tf.where(step < warm_up, share, after)

    def observe(self, improved: bool) -> None:
        """Takes the outcome of an evaluation: whether its weights are the best so far."""
        if self._train.schedule != "plateau":
            return
        self._waited.assign(0 if improved else self._waited + 1)
        if int(self._waited.numpy()) >= _PLATEAU_EVALUATIONS:
            self._factor.assign(self._factor * _PLATEAU_FACTOR)
            self._waited.assign(0)


def _anneal(start: float, end: float, share: tf.Tensor) -> tf.Tensor:
    """Moves from `start` to `end` along half a cosine while `share` goes from 0 to 1."""
    return end + (start - end) * (0.5 + 0.5 * tf.cos(math.pi * tf.clip_by_value(share, 0.0, 1.0)))
