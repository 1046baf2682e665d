"""Computes the training loss of a batch: of next frames, or of labels.

objective = NextFrameObjective(task.horizon, train)
totals, counts = objective.totals(model, batch, step, True), objective.counts(batch)
loss = objective.combine(totals, counts)
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from framecast.models import loss_spec
from framecast.models.spec import LabelTask, TrainSpec
from framecast.models.training import losses
from framecast.models.user_functions import load_function


class _Part(NamedTuple):
    """A part of a loss: its name, its weight, and the user's function if it is one."""

    name: str
    weight: float
    function: Callable[..., Any] | None


def _load_parts(train: TrainSpec, task: str) -> list[_Part]:
    """Returns the parts of `train.loss`.

    Raises:
        ValueError: If a function cannot be imported.
    """
    return [
        _Part(name, weight, load_function(name, "train.loss") if loss_spec.is_function(name) else None)
        for name, weight in loss_spec.parts_of(train.loss, task).items()
    ]


class Objective(abc.ABC):
    """Computes the loss as sums of errors and their counts, which add up over shares of a batch and over batches.

    A mean of means would depend on how the clips were batched.

    Attributes:
        weights: The weight of each part in the loss.
    """

    weights: tuple[float, ...] = (1.0,)

    @abc.abstractmethod
    def counts(self, model: keras.Model, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns how many errors each part of the loss sums, `(parts,)` float32; they may be 0."""

    @abc.abstractmethod
    def totals(self, model: keras.Model, batch: dict[str, tf.Tensor], step: tf.Tensor, training: bool) -> tf.Tensor:
        """Returns the sum of errors of each part, `(parts,)` float32.

        Args:
            model: Called once, with `training`.
            batch: See `framecast.models.training.input_pipeline.InputPipeline`.
            step: Optimizer steps so far, an int64 scalar.
            training: Whether the call is a training step.
        """

    def combine(self, totals, counts):
        """Returns the loss of summed totals and counts, a scalar; 0 if nothing is counted."""
        return tf.reduce_sum(totals / tf.maximum(counts, 1.0) * self.weights)

    def __call__(self, model: keras.Model, batch: dict[str, tf.Tensor], step: tf.Tensor, training: bool) -> tf.Tensor:
        """Returns the loss of one batch."""
        return self.combine(self.totals(model, batch, step, training), self.counts(model, batch))


class LabelObjective(Objective):
    """Computes the loss of classes or of numbers; numbers are compared in units of their spread.

    Args:
        task: The task, whose label the model estimates.
        train: Loss and weights of the classes.
    """

    def __init__(self, task: LabelTask, train: TrainSpec):
        assert task.label is not None
        self._label = task.label
        assert not isinstance(train.class_weights, str)  # `train_model` replaces `balanced` by numbers.
        self._class_weights = train.class_weights
        self._parts = _load_parts(train, task.kind)
        self.weights = tuple(part.weight for part in self._parts)

    def counts(self, model: keras.Model, batch: dict[str, tf.Tensor]) -> tf.Tensor:  # noqa: ARG002
        return tf.fill([len(self._parts)], tf.reduce_sum(tf.cast(self._counted(batch), tf.float32)))

    def totals(
        self,
        model: keras.Model,
        batch: dict[str, tf.Tensor],
        step: tf.Tensor,  # noqa: ARG002 - every objective takes it
        training: bool,
    ) -> tf.Tensor:
        estimates = model(tf.where(batch["known"], batch["frames"], 0.0), batch["length"], training=training)
        label, counted = batch["label"], self._counted(batch)
        if self._label.classes is not None:
            classes = (label, estimates, counted, self._class_weights)
            return tf.stack([losses.class_sums(part.name, *classes, part.function) for part in self._parts])
        label = label if self._label.numbers > 1 else label[..., None]
        numbers = (label, estimates, counted, model.mean, model.spread)
        return tf.stack([losses.number_sums(part.name, *numbers, part.function) for part in self._parts])

    def _counted(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns which labels count, bool of the shape of `label`."""
        length = batch["length"]
        if self._label.per == "clip":
            return tf.ones_like(length, tf.bool)
        return tf.sequence_mask(length, tf.shape(batch["label"])[1])


class NextFrameObjective(Objective):
    """Computes the error of every next frame; the model predicts the last `horizon` frames from its own predictions.

    Args:
        horizon: Number of forecast frames at the end of each clip.
        train: Loss, sampling and seed.
        channels: Channels that are forecast; all by default.
    """

    def __init__(self, horizon: int, train: TrainSpec, channels: Sequence[int] | None = None):
        self._channels = channels
        self._horizon = horizon
        self._train = train
        self._parts = _load_parts(train, "forecast")
        self.weights = tuple(part.weight for part in self._parts)

    def counts(self, model: keras.Model, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        counted = self._counted(model, batch)
        return tf.stack([losses.next_frame_count(part.name, counted) for part in self._parts])

    def totals(self, model: keras.Model, batch: dict[str, tf.Tensor], step: tf.Tensor, training: bool) -> tf.Tensor:
        frames, known, length = batch["frames"], batch["known"], batch["length"]
        context = self._context(batch)
        inputs = tf.where(known, frames, 0.0)
        arguments = {}
        if training and self._train.sampling != "none":
            place = batch.get("place", tf.range(tf.shape(length)[0]))
            arguments["observed"] = self._sample(context, tf.shape(frames)[1], step, place)
            context = length
        steps = tf.shape(frames)[1] - 1
        predictions = model(inputs, context, steps=steps, training=training, **arguments)
        counted = self._counted(model, batch)
        compared = (self._chosen(frames[:, 1:]), predictions[:, :steps], counted)
        return tf.stack([losses.next_frame_sums(part.name, *compared, part.function) for part in self._parts])

    def _chosen(self, values: tf.Tensor) -> tf.Tensor:
        return values if self._channels is None else tf.gather(values, self._channels, axis=-1)

    def _context(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        return tf.maximum(batch["length"] - self._horizon, 1)

    def _counted(self, model: keras.Model, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns which pixels of the next frames count, bool `(batch, time - 1, height, width, channel)`."""
        known = self._chosen(batch["known"][:, 1:])
        time = tf.shape(known)[1]
        counted = tf.sequence_mask(batch["length"] - 1, time)
        if not getattr(model, "predicts_context", True):
            counted = tf.logical_and(counted, tf.logical_not(tf.sequence_mask(self._context(batch) - 1, time)))
        return tf.logical_and(known, counted[:, :, None, None, None])

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
