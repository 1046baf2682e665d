"""What training minimises, by task."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from framecast.models.spec import TrainSpec
from framecast.models.training import losses

# `(model, batch, step, training) -> scalar`; `step` counts optimizer steps from 0, an int64 scalar.
Objective = Callable[[keras.Model, dict[str, tf.Tensor], tf.Tensor, bool], tf.Tensor]


def make_objective(task: Any, train: TrainSpec) -> Objective:
    """Returns the objective of a task, one of the kinds of `TaskSpec`."""
    if task.kind == "forecast":
        return Forecasting(task.horizon, train)
    if task.kind == "anomaly":
        # Every frame is judged by the forecast from all before it: that is what is trained.
        return Forecasting(0, train)
    return _label_objective


def count_errors(batch: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns how many errors the objective of a batch is the mean of, float32; it may be 0."""
    length = batch["length"]
    if "label" in batch:
        per_frame = batch["label"].shape.rank > 1
        return tf.cast(tf.reduce_sum(length) if per_frame else tf.size(length), tf.float32)
    time = tf.shape(batch["frames"])[1]
    within = tf.sequence_mask(length - 1, time - 1)[:, :, None, None, None]
    return tf.reduce_sum(tf.cast(tf.logical_and(batch["known"][:, 1:], within), tf.float32))


def _label_objective(
    model: keras.Model,
    batch: dict[str, tf.Tensor],
    step: tf.Tensor,  # noqa: ARG001 - as every objective is called
    training: bool,
) -> tf.Tensor:
    length, label = batch["length"], batch["label"]
    estimates = model(tf.where(batch["known"], batch["frames"], 0.0), length, training=training)
    counted = tf.ones_like(length, tf.bool) if label.shape.rank == 1 else tf.sequence_mask(length, tf.shape(label)[1])
    return losses.label_loss(label, estimates, counted)


class Forecasting:
    """The error of every next frame, the last `horizon` of them from the model's own predictions.

    Args:
        horizon: Frames at the end of each clip that are forecast.
        train: Loss, sampling and seed.
    """

    def __init__(self, horizon: int, train: TrainSpec):
        self._horizon = horizon
        self._train = train

    def __call__(self, model: keras.Model, batch: dict[str, tf.Tensor], step: tf.Tensor, training: bool) -> tf.Tensor:
        """Returns the loss of a batch."""
        frames, known, length = batch["frames"], batch["known"], batch["length"]
        context = tf.maximum(length - self._horizon, 1)
        shown = tf.where(known, frames, 0.0)
        arguments = {}
        if training and self._train.sampling != "none":
            place = batch.get("place", tf.range(tf.shape(length)[0]))
            arguments["observed"] = self._sample(context, tf.shape(frames)[1], step, place)
            context = length
        predictions = model(shown, context, steps=tf.shape(frames)[1] - 1, **arguments)
        return losses.next_frame_loss(frames, predictions, length, known, self._train.loss)

    def _sample(self, context: tf.Tensor, time: tf.Tensor, step: tf.Tensor, clips: tf.Tensor) -> tf.Tensor:
        """Draws which frames the model sees, `(batch, time)` bool; the first always.

        `clips` is where they stand in the global batch, so that each gets the same draws on whatever replica it is.
        """
        done = tf.cast(step, tf.float32) / self._train.steps
        reverse = self._train.sampling == "reverse"
        in_context = 0.5 + 0.5 * done if reverse else tf.ones([])
        # Slowly at first: what is far ahead is learned when what is near is known.
        after = (1.0 - tf.square(done)) * (0.5 if reverse else 1.0)
        place = tf.range(time)[None]
        share = tf.where(place < context[:, None], in_context, after)
        seed = tf.stack([tf.constant(self._train.seed, tf.int64), step])
        draws = tf.gather(tf.random.stateless_uniform([tf.reduce_max(clips) + 1, time], seed), clips)
        return tf.logical_or(draws < share, place == 0)
