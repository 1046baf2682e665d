"""What an anomaly model answers: how far each frame left the forecast made from all frames before it.

The score of a frame is its mean squared error over its known pixels, divided by the threshold that was calibrated on
the val split: 1 and above is an alarm. The score of a clip is that of its worst frame, with a threshold of its own.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from framecast.evaluation import anomaly_metrics
from framecast.models.export import ExportModule
from framecast.models.input_pipeline import normalise
from framecast.models.spec import AnomalyTask
from framecast.schemas.spec import ClipSpec

_SMALLEST = 1e-12  # Of a score or threshold: a field that is always forecast exactly has no error to divide by.


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Errors above which a frame, and a clip, is anomalous: mean squared error a pixel, pixels in [0, 1]."""

    frame: float
    clip: float


def frame_errors(
    model: keras.Model, frames: tf.Tensor, known: tf.Tensor, length: tf.Tensor, context: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns each frame's mean squared error over its known pixels, and which frames are scored.

    Args:
        model: Keras model with the call contract of `framecast.models.forecaster.Forecaster`.
        frames: `(batch, time, height, width, channel)` float32 in [0, 1], 0 where not known.
        known: bool of that shape.
        length: `(batch,)` int32.
        context: Frames that a clip starts with are not scored.

    Returns:
        `(batch, time)` float32, 0 where not scored, and bool.
    """
    time = tf.shape(frames)[1]
    predictions = tf.clip_by_value(model(frames, length, steps=time - 1), 0.0, 1.0)
    place = tf.range(time)[None]
    scored = tf.logical_and(place >= context, place < length[:, None])
    used = tf.logical_and(known[:, 1:], scored[:, 1:, None, None, None])
    error = tf.where(used, predictions - frames[:, 1:], 0.0)
    pixels = tf.reduce_sum(tf.cast(used, tf.float32), [2, 3, 4])
    mean = tf.math.divide_no_nan(tf.reduce_sum(tf.square(error), [2, 3, 4]), pixels)
    return tf.pad(mean, [[0, 0], [1, 0]]), scored


def calibrate(model: keras.Model, batches: Iterable[dict[str, tf.Tensor]], task: AnomalyTask) -> Thresholds:
    """Returns the thresholds that the wanted share of normal frames, and of normal clips, is above.

    Args:
        model: As for `frame_errors`.
        batches: `frames`, `known` and `length` of normal clips.
        task: The wanted share.
    """

    @tf.function(reduce_retracing=True)
    def errors(frames, known, length):
        return frame_errors(model, frames, known, length, task.context.min)

    of_frames, of_clips = [], []
    for batch in batches:
        values, scored = errors(batch["frames"], batch["known"], batch["length"])
        of_frames.append(values.numpy()[scored.numpy()])
        of_clips.append(values.numpy().max(axis=1))
    quantile = 1 - task.false_alarm_rate
    # The quantile of few values is among them: rounding must not make an alarm of the value itself.
    frame, clip = (
        np.nextafter(
            np.quantile(np.concatenate(values), quantile, method="higher"), np.float32(np.inf), dtype=np.float32
        )
        for values in (of_frames, of_clips)
    )
    return Thresholds(max(float(frame), _SMALLEST), max(float(clip), _SMALLEST))


class AnomalyModule(ExportModule):
    """The forecaster as a judge of what it sees.

    Args:
        model: Keras model with the call contract of `framecast.models.forecaster.Forecaster`.
        transform: As for `ExportModule`.
        clip: The clip contract.
        task: Shortest context.
        thresholds: What `calibrate` returned.
    """

    def __init__(
        self,
        model: keras.Model,
        transform: Callable[[dict[str, Any]], dict[str, tf.Tensor]],
        clip: ClipSpec,
        task: AnomalyTask,
        thresholds: Thresholds,
    ):
        super().__init__(model, transform, clip, task, shortest=task.min_frames)
        self._thresholds = thresholds

    def answer(self, frames: tf.Tensor, length: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns scores, float32: 1 and above is an alarm.

        `anomaly_score` `(batch, time)`, 0 for the first `context.min` frames and past the length;
        `clip_anomaly_score` `(batch,)`.
        """
        pixels, known = normalise(frames, length, self._clip)
        errors, _ = frame_errors(self.model, pixels, known, length, self._task.context.min)
        return {
            "anomaly_score": errors / self._thresholds.frame,
            "clip_anomaly_score": tf.reduce_max(errors, axis=1) / self._thresholds.clip,
        }

    def sums_spec(self) -> dict[str, tf.TensorSpec]:
        """Returns the spec of `framecast.evaluation.anomaly_metrics.OUTPUTS`, of one clip."""
        scalars = ("pixels", "squared_error")
        return {
            name: tf.TensorSpec([] if name in scalars else [anomaly_metrics.BINS], tf.float32)
            for name in anomaly_metrics.OUTPUTS
        }

    def sums(
        self, frames: tf.Tensor, length: tf.Tensor, counted: tf.Tensor, label: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        """Returns the clip's errors and the histograms of its scores; frames without a label (-1) are in none."""
        assert label is not None
        pixels, known = normalise(frames, length, self._clip)
        errors, scored = frame_errors(self.model, pixels, known, length, self._task.context.min)
        scored = tf.logical_and(scored, counted[:, None])
        known = tf.cast(tf.logical_and(known, scored[:, :, None, None, None]), tf.float32)
        frame_pixels = tf.reduce_sum(known, [2, 3, 4])
        sums = {
            "pixels": tf.reduce_sum(frame_pixels, axis=1),
            "squared_error": tf.reduce_sum(tf.where(scored, errors, 0.0) * frame_pixels, axis=1),
        }
        anomalous = tf.logical_and(scored, label == 1)
        normal = tf.logical_and(scored, label == 0)
        worst = tf.reduce_max(tf.where(scored, errors, 0.0), axis=1, keepdims=True)
        # A clip is anomalous when a frame of it is; it is normal when it is labelled and none is.
        clip_anomalous = tf.reduce_any(anomalous, axis=1, keepdims=True)
        clip_normal = tf.logical_and(tf.reduce_any(normal, axis=1, keepdims=True), tf.logical_not(clip_anomalous))
        for level, values, threshold, groups in (
            ("frame", errors, self._thresholds.frame, {"normal": normal, "anomalous": anomalous}),
            ("clip", worst, self._thresholds.clip, {"normal": clip_normal, "anomalous": clip_anomalous}),
        ):
            log2 = tf.math.log(tf.maximum(values / threshold, _SMALLEST)) / math.log(2.0)
            place = tf.clip_by_value(tf.floor(anomaly_metrics.bin_of(log2)), 0.0, anomaly_metrics.BINS - 1.0)
            hot = tf.one_hot(tf.cast(place, tf.int32), anomaly_metrics.BINS)
            for name, members in groups.items():
                sums[f"{level}_{name}"] = tf.reduce_sum(hot * tf.cast(members, tf.float32)[..., None], axis=1)
        return sums
