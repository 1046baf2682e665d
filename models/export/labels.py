"""Exports a model of classes or numbers: its outputs, and the sums of its errors against the labels."""

import abc
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from framecast.evaluation.metrics.labels import REGRESS_OUTPUTS
from framecast.models.export.module import ExportModule
from framecast.models.networks.plain_models import StandardisedRegressor
from framecast.models.spec import LabelTask
from framecast.models.tensors import normalise
from framecast.schemas.clip_spec import ClipSpec


class LabelModule(ExportModule):
    """What classification and regression share.

    Args:
        model: Keras model with the call contract of `framecast.models.networks.labeller.Labeller`.
        transform: As for `ExportModule`.
        clip: The clip contract.
        task: A `ClassifyTask` or a `RegressTask`.
    """

    def __init__(
        self,
        model: keras.Model,
        transform: Callable[[dict[str, Any]], dict[str, tf.Tensor]],
        clip: ClipSpec,
        task: LabelTask,
    ):
        super().__init__(model, transform, clip, task)

    @abc.abstractmethod
    def outputs(self, estimates: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the outputs of the model's estimates `(..., outputs)`."""

    @abc.abstractmethod
    def label_sums(self, estimates: tf.Tensor, label: tf.Tensor, counted: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the sums over time of estimates `(batch, time, outputs)` where `counted` `(batch, time)`."""

    def answer(self, frames: tf.Tensor, length: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns float32 outputs per clip, or per frame with 0 after the clip's length."""
        outputs = self.outputs(self._estimate(frames, length))
        if self._task.per == "clip":
            return outputs
        return {name: _masked(value, length) for name, value in outputs.items()}

    def sums(
        self, frames: tf.Tensor, length: tf.Tensor, counted: tf.Tensor, label: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        """Returns the clip's sums over its labels."""
        assert label is not None
        estimates = self._estimate(frames, length)
        if self._task.per == "clip":
            return self.label_sums(estimates[:, None], label[:, None], counted[:, None])
        within = tf.sequence_mask(length, tf.shape(label)[1])
        return self.label_sums(estimates, label, tf.logical_and(within, counted[:, None]))

    def _estimate(self, frames: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        pixels, _ = normalise(frames, length, self._clip)
        return self.call_model(pixels, length)


class ClassifyModule(LabelModule):
    """Exports a classifier. Its output is `probabilities`, `(batch, classes)` or `(batch, time, classes)`."""

    def outputs(self, estimates: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.nn.softmax(estimates)}

    def sums_spec(self) -> dict[str, tf.TensorSpec]:
        """Returns the specs of `framecast.evaluation.metrics.labels.CLASSIFY_OUTPUTS`, per clip."""
        scalar = tf.TensorSpec([], tf.float32)
        square = tf.TensorSpec([self._task.classes, self._task.classes], tf.float32)
        return {"labels": scalar, "cross_entropy": scalar, "confusion": square}

    def label_sums(self, estimates: tf.Tensor, label: tf.Tensor, counted: tf.Tensor) -> dict[str, tf.Tensor]:
        weights = tf.cast(counted, tf.float32)
        true = tf.one_hot(tf.where(counted, label, 0), self._task.classes) * weights[..., None]
        estimated = tf.one_hot(tf.argmax(estimates, -1), self._task.classes)
        return {
            "labels": tf.reduce_sum(weights, axis=1),
            "cross_entropy": -tf.reduce_sum(true * tf.nn.log_softmax(estimates), [1, 2]),
            "confusion": tf.einsum("bti,btj->bij", true, estimated),
        }


class RegressModule(LabelModule):
    """Exports a regressor, a `StandardisedRegressor`.

    Its output is `value`, `(batch,)`, `(batch, numbers)` with several numbers, or `(batch, time)`.
    """

    def __init__(self, model: StandardisedRegressor, *args: Any, **kwargs: Any):
        super().__init__(model, *args, **kwargs)
        self._mean = tf.constant(model.mean.numpy())

    def outputs(self, estimates: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"value": estimates if self._task.numbers > 1 else estimates[..., 0]}

    def sums_spec(self) -> dict[str, tf.TensorSpec]:
        """Returns the specs of `framecast.evaluation.metrics.labels.REGRESS_OUTPUTS`, per clip."""
        by_number = tf.TensorSpec([self._task.numbers], tf.float32)
        return {**dict.fromkeys(REGRESS_OUTPUTS, by_number), "labels": tf.TensorSpec([], tf.float32)}

    def label_sums(self, estimates: tf.Tensor, label: tf.Tensor, counted: tf.Tensor) -> dict[str, tf.Tensor]:
        label = tf.reshape(label, tf.shape(estimates))
        used = counted[..., None]
        error = tf.where(used, estimates - label, 0.0)
        # From the mean of the train split, because squares of numbers far from 0 cancel in float32.
        label = tf.where(used, label - self._mean, 0.0)
        terms = {
            "labels": tf.cast(counted, tf.float32),
            "squared_error": tf.square(error),
            "absolute_error": tf.abs(error),
            "number": label,
            "squared_number": tf.square(label),
        }
        return {name: tf.reduce_sum(value, axis=1) for name, value in terms.items()}


def _masked(values: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    within = tf.sequence_mask(length, tf.shape(values)[1])
    within = tf.reshape(within, tf.concat([tf.shape(within), tf.ones([tf.rank(values) - 2], tf.int32)], 0))
    return tf.where(within, values, tf.zeros_like(values))
