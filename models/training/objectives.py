"""Computes the training loss of a batch: of next frames, or of labels.

objective = NextFrameObjective(task.horizon, train)
loss = objective(model, batch, step, True)
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from framecast.models.spec import TrainSpec
from framecast.models.training import losses
from framecast.schemas.clip_spec import LabelSpec

# `(model, batch, step, training) -> scalar`; `step` counts optimizer steps from 0, an int64 scalar.
Objective = Callable[[keras.Model, dict[str, tf.Tensor], tf.Tensor, bool], tf.Tensor]


def count_errors(batch: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns the number of errors that the objective averages over, float32; it may be 0."""
    length = batch["length"]
    if "label" in batch:
        per_frame = batch["label"].shape.rank > 1
        return tf.cast(tf.reduce_sum(length) if per_frame else tf.size(length), tf.float32)
    time = tf.shape(batch["frames"])[1]
    within = tf.sequence_mask(length - 1, time - 1)[:, :, None, None, None]
    return tf.reduce_sum(tf.cast(tf.logical_and(batch["known"][:, 1:], within), tf.float32))


class LabelObjective:
    """Computes the mean cross-entropy of classes, or the mean squared error of numbers in units of their spread.

    Args:
        label: The label that the model estimates; it decides the loss.
    """

    def __init__(self, label: LabelSpec):
        self._label = label

    def __call__(
        self,
        model: keras.Model,
        batch: dict[str, tf.Tensor],
        step: tf.Tensor,  # noqa: ARG002 - every objective takes it
        training: bool,
    ) -> tf.Tensor:
        """Returns the loss of a batch."""
        length, label = batch["length"], batch["label"]
        estimates = model(tf.where(batch["known"], batch["frames"], 0.0), length, training=training)
        counted = tf.ones_like(length, tf.bool)
        if self._label.per == "frame":
            counted = tf.sequence_mask(length, tf.shape(label)[1])
        if self._label.classes is not None:
            return losses.class_loss(label, estimates, counted)
        return losses.number_loss(label[..., None], estimates, counted, model.spread)


class NextFrameObjective:
    """Computes the error of every next frame; the model predicts the last `horizon` frames from its own predictions.

    Args:
        horizon: Number of forecast frames at the end of each clip.
        train: Loss, sampling and seed.
    """

    def __init__(self, horizon: int, train: TrainSpec):
        self._horizon = horizon
        self._train = train

    def __call__(self, model: keras.Model, batch: dict[str, tf.Tensor], step: tf.Tensor, training: bool) -> tf.Tensor:
        """Returns the loss of a batch."""
        frames, known, length = batch["frames"], batch["known"], batch["length"]
        context = tf.maximum(length - self._horizon, 1)
        inputs = tf.where(known, frames, 0.0)
        arguments = {}
        if training and self._train.sampling != "none":
            place = batch.get("place", tf.range(tf.shape(length)[0]))
            arguments["observed"] = self._sample(context, tf.shape(frames)[1], step, place)
            context = length
        elif not getattr(model, "predicts_context", True):
            in_context = tf.sequence_mask(context, tf.shape(frames)[1])[:, :, None, None, None]
            known = tf.logical_and(known, tf.logical_not(in_context))
        predictions = model(inputs, context, steps=tf.shape(frames)[1] - 1, **arguments)
        return losses.next_frame_loss(frames, predictions, length, known, self._train.loss)

    def _sample(self, context: tf.Tensor, time: tf.Tensor, step: tf.Tensor, clips: tf.Tensor) -> tf.Tensor:
        """Draws which frames the model observes, `(batch, time)` bool; always the first.

        `clips` holds each clip's index in the global batch, so that a clip gets the same draws on every replica.
        """
        done = tf.cast(step, tf.float32) / self._train.steps
        reverse = self._train.sampling == "reverse"
        in_context = 0.5 + 0.5 * done if reverse else tf.ones([])
        # Slow at first, because long lead times are learned after short ones.
        after = (1.0 - tf.square(done)) * (0.5 if reverse else 1.0)
        place = tf.range(time)[None]
        share = tf.where(place < context[:, None], in_context, after)
        seed = tf.stack([tf.constant(self._train.seed, tf.int64), step])
        draws = tf.gather(tf.random.stateless_uniform([tf.reduce_max(clips) + 1, time], seed), clips)
        return tf.logical_or(draws < share, place == 0)
