"""Saves and restores the whole state of a training: weights, optimizer, position in the data, best weights so far."""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from framecast.models.training import distribution
from framecast.models.training.optimization.schedule import Schedule

_LOG = logging.getLogger("framecast.train")
_KEPT = 2  # Checkpoints.


class WeightsMetric(Protocol):
    """Chooses the best weights; see `framecast.models.export.val_metric.ValMetric`."""

    @property
    def name(self) -> str:
        """The metric."""

    @property
    def key(self) -> str:
        """Tag of the metric in logs."""

    def cost(self, value: float) -> float:
        """Returns a number that is lower for a better value."""

    def __call__(self, weights: Sequence[np.ndarray]) -> float:
        """Returns the metric of the model with `weights`; nan where it is undefined."""


class TrainState:
    """Holds the model's weights and all other variables that a resumed training needs.

    All of it is in one checkpoint, so that a kill between two writes cannot leave parts of different steps.

    Args:
        model: The model in training.
        optimizer: A built optimizer.
        schedule: Its learning rate.
        batches: Iterator of the training dataset.

    Attributes:
        step: Number of finished optimizer steps.
        best_step: Step of the best weights; 0 if there are none.
        best_val_loss: Val loss at that step.
        best_metric: The metric that chose the weights, at that step; nan if the val loss did.
    """

    def __init__(
        self, model: keras.Model, optimizer: keras.optimizers.Optimizer, schedule: Schedule, batches: Iterator[Any]
    ):
        self._model = model
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.best_step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.best_val_loss = tf.Variable(math.inf, dtype=tf.float64, trainable=False)
        self.best_metric = tf.Variable(math.nan, dtype=tf.float64, trainable=False)
        self._lowest_cost = tf.Variable(math.inf, dtype=tf.float64, trainable=False)
        self._best_weights = [tf.Variable(tf.convert_to_tensor(weight), trainable=False) for weight in model.weights]
        # Variables, not the model, because the tracking of a Keras model misses layers that it holds in a list.
        # Not only the weights: the states of random generators, such as Dropout's, are variables too.
        self._checkpoint = tf.train.Checkpoint(
            variables=model.variables,
            optimizer=optimizer.variables,
            schedule=schedule.variables,
            step=self.step,
            best_step=self.best_step,
            best_val_loss=self.best_val_loss,
            best_metric=self.best_metric,
            lowest_cost=self._lowest_cost,
            best_weights=self._best_weights,
            batches=batches,
        )

    def restore(self, strategy: tf.distribute.Strategy, folder: str, steps: int) -> None:
        """Restores the latest checkpoint in `folder`, if there is one, on all workers.

        Args:
            strategy: The strategy of all workers.
            folder: Folder of the checkpoints.
            steps: Optimizer steps of the training.

        Raises:
            ValueError: If workers find different checkpoints.
        """
        latest = tf.train.latest_checkpoint(folder)
        distribution.require_one_checkpoint(strategy, latest, folder)
        if latest:
            self._checkpoint.restore(latest).assert_existing_objects_matched()
            done = int(self.step.numpy())
            message = "resumed from %s" if done < steps else "already trained on the same clips and settings: %s"
            _LOG.info(message, latest)

    def make_manager(self, folder: str) -> tf.train.CheckpointManager:
        """Returns the manager that saves checkpoints in `folder`."""
        return tf.train.CheckpointManager(self._checkpoint, folder, max_to_keep=_KEPT)

    def keep_if_best(self, cost: float, val_loss: float, metric: float) -> bool:
        """Copies the model's weights if they are the best so far, and returns whether they are.

        Args:
            cost: Lower for better weights; nan is never the best.
            val_loss: At the current step.
            metric: The metric that `cost` is derived from; nan if it is the val loss.
        """
        improved = bool(cost < self._lowest_cost.numpy())
        if improved:
            self._lowest_cost.assign(cost)
            self.best_step.assign(self.step)
            self.best_val_loss.assign(val_loss)
            self.best_metric.assign(metric)
            for kept, weight in zip(self._best_weights, self._model.weights):
                kept.assign(tf.convert_to_tensor(weight))
        return improved

    def load_best(self) -> None:
        """Sets the model's weights to the best."""
        self._model.set_weights([kept.numpy() for kept in self._best_weights])
