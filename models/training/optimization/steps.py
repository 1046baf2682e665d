"""Computes one step of training or validation over all replicas.

step = TrainStep(model, optimizer, objective, strategy, dataset.element_spec)
sums = step([batch], number)
loss = objective.combine(sums.totals, sums.counts)
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from framecast.models.training import distribution
from framecast.models.training.objectives import Objective

Batch = dict[str, tf.Tensor]


class StepSums(NamedTuple):
    """What a step summed over its batches.

    Args:
        totals: `(parts,)`, see `Objective.totals`.
        counts: `(parts,)`, see `Objective.counts`.
        added: The losses that the model adds, such as those of regularizers.
        norm: Global norm of the gradients before clipping.
    """

    totals: np.ndarray
    counts: np.ndarray
    added: float = 0.0
    norm: float = 0.0


class TrainStep:
    """Updates the weights once from one or several batches, with the gradient of the loss over all of them.

    The loss is the objective's plus the losses that the model adds. Batches are accumulated here, because Keras'
    optimizers average the gradients of batches regardless of how much each counts.

    Args:
        model: A built model.
        optimizer: A built optimizer.
        objective: The loss.
        strategy: The replicas.
        spec: Of a batch.
        accumulate: Batches of a step.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        objective: Objective,
        strategy: tf.distribute.Strategy,
        spec: Any,
        accumulate: int = 1,
    ):
        self._model = model
        self._optimizer = optimizer
        self._objective = objective
        self._strategy = strategy
        self._accumulate = accumulate
        number, counts = tf.TensorSpec([], tf.int64), tf.TensorSpec([len(objective.weights)], tf.float32)
        self._count = tf.function(lambda batch: objective.counts(model, batch), input_signature=[spec], autograph=False)
        self._whole = tf.function(self._whole_step, input_signature=[spec, counts, number], autograph=False)
        self._part = tf.function(self._part_step, input_signature=[spec, counts, number], autograph=False)
        self._last = tf.function(self._last_step, autograph=False)

    def __call__(self, batches: Sequence[Batch], number: int) -> StepSums:
        """Takes a step; `number` counts steps from 0."""
        step = tf.constant(number, tf.int64)
        counts = tf.add_n([self._count(batch) for batch in batches])
        if len(batches) == 1:
            sums, norm = self._whole(batches[0], counts, step)
        else:
            parts = [self._part(batch, counts, step) for batch in batches]
            gradients, sums = tf.nest.map_structure(lambda *values: tf.add_n(values), *parts)
            norm = self._last(gradients)
        *totals, added = sums.numpy().tolist()
        return StepSums(np.array(totals), counts.numpy().astype(np.float64), added, float(norm))

    def _whole_step(self, batch: Batch, counts: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def replica_step(share, weight):
            gradients, sums = self._gradients(share, weight, counts, number)
            return sums, self._apply(gradients)

        return self._run(replica_step, *distribution.share_out(self._strategy, batch))

    def _part_step(self, batch: Batch, counts: tf.Tensor, number: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        def replica_step(share, weight):
            return self._gradients(share, weight, counts, number)

        return self._run(replica_step, *distribution.share_out(self._strategy, batch))

    def _last_step(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        return self._run(self._apply, gradients)

    def _run(self, function, *arguments):
        local = self._strategy.experimental_local_results
        results = self._strategy.run(function, arguments)
        return tf.nest.map_structure(lambda value: local(value)[0], results)

    def _gradients(
        self, share: Batch, weight: tf.Tensor, counts: tf.Tensor, number: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Returns the gradients, scaled as the optimizer expects, and `[*totals, added]`, summed over the replicas."""
        variables = [variable.value for variable in self._model.trainable_variables]
        with tf.GradientTape() as tape:
            totals = self._objective.totals(self._model, share, number, True) * weight
            added = self._added_loss()
            scaled = self._optimizer.scale_loss(self._objective.combine(totals, counts) + added)
        gradients = tape.gradient(scaled, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, (gradients, tf.concat([totals, added[None]], axis=0)))

    def _added_loss(self) -> tf.Tensor:
        """Returns this replica's part of the losses that the model's last call added."""
        total = tf.zeros([])
        for loss in self._model.losses:
            total += tf.reduce_sum(tf.cast(loss, tf.float32))
        return total / (self._strategy.num_replicas_in_sync * self._accumulate)

    def _apply(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        """Updates the weights and returns the norm of the gradients."""
        # Before the gradients are applied, because that may change the loss scale.
        norm = tf.linalg.global_norm(gradients) / self._optimizer.scale_loss(tf.ones([]))
        # Keras clips each replica's gradients, and checks them for overflow, before it sums them. So every replica
        # passes an equal part of the sum.
        parts = [gradient / self._strategy.num_replicas_in_sync for gradient in gradients]
        self._optimizer.apply_gradients(zip(parts, self._model.trainable_variables))
        return norm


class ValStep:
    """Sums the errors of a batch, without changing the model.

    Args:
        model: A built model.
        objective: The loss.
        strategy: The replicas.
        spec: Of a batch.
    """

    def __init__(self, model: keras.Model, objective: Objective, strategy: tf.distribute.Strategy, spec: Any):
        self._model = model
        self._objective = objective
        self._strategy = strategy
        self._step = tf.function(self._sums, input_signature=[spec], autograph=False)

    def __call__(self, batch: Batch) -> StepSums:
        """Returns the sums of a batch."""
        totals, counts = self._step(batch)
        return StepSums(totals.numpy().astype(np.float64), counts.numpy().astype(np.float64))

    def _sums(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        def replica_step(share, weight):
            totals = self._objective.totals(self._model, share, tf.zeros([], tf.int64), False) * weight
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, totals)

        totals = self._strategy.run(replica_step, distribution.share_out(self._strategy, batch))
        return self._strategy.experimental_local_results(totals)[0], self._objective.counts(self._model, batch)
