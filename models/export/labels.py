"""What a model of labels answers, and what is summed of it against the true labels."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from framecast.models.export.module import ExportModule
from framecast.models.spec import ClassifyTask, RegressTask
from framecast.models.training.input_pipeline import normalise
from framecast.schemas.clip_spec import ClipSpec


class LabelModule(ExportModule):
    """The labeller.

    Args:
        model: Keras model with the call contract of `framecast.models.networks.labeller.Labeller`.
        transform: As for `ExportModule`.
        clip: The clip contract.
        task: What is labelled, and with what.
    """

    def __init__(
        self,
        model: keras.Model,
        transform: Callable[[dict[str, Any]], dict[str, tf.Tensor]],
        clip: ClipSpec,
        task: ClassifyTask | RegressTask,
    ):
        super().__init__(model, transform, clip, task, shortest=1)

    def answer(self, frames: tf.Tensor, length: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns float32 `probabilities` `(batch, classes)` or `(batch, time, classes)`, or `value` without classes.

        Past a clip's length they are 0.
        """
        estimates = self._estimate(frames, length)
        if self._task.kind == "classify":
            outputs = {"probabilities": tf.nn.softmax(estimates)}
        else:
            outputs = {"value": estimates[..., 0]}
        if self._task.per == "clip":
            return outputs
        return {name: _masked(value, length) for name, value in outputs.items()}

    def sums_spec(self) -> dict[str, tf.TensorSpec]:
        """Returns the spec of the outputs in `framecast.evaluation.metrics.labels`, of one clip."""
        scalar = tf.TensorSpec([], tf.float32)
        if self._task.kind == "regress":
            return dict.fromkeys(("labels", "squared_error", "absolute_error", "value", "squared_value"), scalar)
        square = tf.TensorSpec([self._task.classes, self._task.classes], tf.float32)
        return {"labels": scalar, "cross_entropy": scalar, "confusion": square}

    def sums(
        self, frames: tf.Tensor, length: tf.Tensor, counted: tf.Tensor, label: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        """Returns the clip's sums over its labels."""
        assert label is not None
        estimates = self._estimate(frames, length)
        if self._task.per == "clip":
            estimates, label, used = estimates[:, None], label[:, None], counted[:, None]
        else:
            used = tf.logical_and(tf.sequence_mask(length, tf.shape(label)[1]), counted[:, None])
        weights = tf.cast(used, tf.float32)
        if self._task.kind == "regress":
            label = tf.where(used, label, 0.0)
            error = tf.where(used, estimates[..., 0] - label, 0.0)
            terms = {
                "labels": weights,
                "squared_error": tf.square(error),
                "absolute_error": tf.abs(error),
                "value": label,
                "squared_value": tf.square(label),
            }
            return {name: tf.reduce_sum(value, axis=1) for name, value in terms.items()}
        true = tf.one_hot(tf.where(used, label, 0), self._task.classes) * weights[..., None]
        estimated = tf.one_hot(tf.argmax(estimates, -1), self._task.classes)
        entropy = -tf.reduce_sum(true * tf.nn.log_softmax(estimates), [1, 2])
        return {
            "labels": tf.reduce_sum(weights, axis=1),
            "cross_entropy": entropy,
            "confusion": tf.einsum("bti,btj->bij", true, estimated),
        }

    def _estimate(self, frames: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        pixels, _ = normalise(frames, length, self._clip)
        return self.call_model(pixels, length)


def _masked(values: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    within = tf.sequence_mask(length, tf.shape(values)[1])
    within = tf.reshape(within, tf.concat([tf.shape(within), tf.ones([tf.rank(values) - 2], tf.int32)], 0))
    return tf.where(within, values, tf.zeros_like(values))
