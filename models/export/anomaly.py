"""Exports an anomaly model, which scores each frame by its distance from the forecast made from all earlier frames.

Anomalies are small compared with a frame, so the error of a frame is the mean squared error, over known pixels, of the
worst window of 8x8 pixels. The score is that error divided by a threshold calibrated on the val split: 1 and above is
an alarm. The score of a clip is the error of its worst frame divided by the threshold for clips.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from framecast.evaluation.metrics import anomaly as anomaly_metrics
from framecast.models.export.module import ExportModule
from framecast.models.spec import AnomalyTask
from framecast.models.tensors import normalise
from framecast.schemas.clip_spec import ClipSpec

_WINDOW = 8  # Side in pixels; the stride is half of it.
_MIN_KNOWN = 0.25  # Share of a window.
_MARGIN = 1.0001  # The quantile is one of the val errors; rounding in another batch must not turn it into an alarm.
_MIN_ERROR = 1e-12  # Lower bound of scores and thresholds, because a field that is forecast exactly has error 0.


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Errors at or above which a frame or a clip is anomalous.

    Args:
        frame: Mean squared error per pixel of a frame's worst window, pixels in [0, 1].
        clip: The same of a clip's worst frame.
    """

    frame: float
    clip: float


def frame_errors(
    model: Callable[..., tf.Tensor], frames: tf.Tensor, known: tf.Tensor, length: tf.Tensor, context: int
) -> dict[str, tf.Tensor]:
    """Compares each frame with its forecast from all earlier frames.

    Args:
        model: A callable with the call contract of `framecast.models.networks.frame_forecaster.FrameForecaster`.
        frames: `(batch, time, height, width, channel)` float32 in [0, 1], 0 where not known.
        known: bool of that shape.
        length: `(batch,)` int32.
        context: Number of leading frames without a score.

    Returns:
        `(batch, time)` each: `scored` bool; float32 and 0 where not scored: `worst`, the mean squared error of the
        worst window, `squared_error`, the sum over the frame, and `pixels`, the number of known pixels.
    """
    time = tf.shape(frames)[1]
    predictions = tf.clip_by_value(model(frames, length, steps=time - 1), 0.0, 1.0)
    place = tf.range(time)[None]
    scored = tf.logical_and(place >= context, place < length[:, None])
    used = tf.logical_and(known[:, 1:], scored[:, 1:, None, None, None])
    squares = tf.square(tf.where(used, predictions - frames[:, 1:], 0.0))
    used = tf.cast(used, tf.float32)

    def windows(values):
        values = tf.reduce_mean(values, axis=-1)
        shape = tf.shape(values)
        values = tf.reshape(values, [-1, shape[2], shape[3], 1])
        pooled = tf.nn.avg_pool2d(values, _WINDOW, _WINDOW // 2, "SAME")
        return tf.reshape(pooled, [shape[0], shape[1], -1])

    # A mean over a few known pixels is too noisy to be the maximum.
    worst = tf.reduce_max(windows(squares) / tf.maximum(windows(used), _MIN_KNOWN), axis=-1)
    found = {
        "worst": worst,
        "squared_error": tf.reduce_sum(squares, [2, 3, 4]),
        "pixels": tf.reduce_sum(used, [2, 3, 4]),
    }
    return {"scored": scored, **{name: tf.pad(value, [[0, 0], [1, 0]]) for name, value in found.items()}}


def calibrate(model: keras.Model, batches: Iterable[dict[str, tf.Tensor]], task: AnomalyTask) -> Thresholds:
    """Returns the thresholds that a share `task.false_alarm_rate` of normal frames, and of normal clips, exceeds.

    Args:
        model: As for `frame_errors`.
        batches: `frames`, `known` and `length` of normal clips.
        task: False alarm rate and shortest context.
    """

    @tf.function(reduce_retracing=True, autograph=False)
    def errors(frames, known, length):
        return frame_errors(model, frames, known, length, task.context.min)

    of_frames, of_clips = [], []
    for batch in batches:
        found = errors(batch["frames"], batch["known"], batch["length"])
        of_frames.append(found["worst"].numpy()[found["scored"].numpy()])
        of_clips.append(found["worst"].numpy().max(axis=1))
    quantile = 1 - task.false_alarm_rate
    frame, clip = (
        float(np.quantile(np.concatenate(values), quantile, method="higher")) * _MARGIN
        for values in (of_frames, of_clips)
    )
    return Thresholds(max(frame, _MIN_ERROR), max(clip, _MIN_ERROR))


class AnomalyModule(ExportModule):
    """Exports a forecaster that scores observed frames.

    Args:
        model: Keras model with the call contract of `framecast.models.networks.frame_forecaster.FrameForecaster`.
        transform: As for `ExportModule`.
        clip: The clip contract.
        task: Shortest context.
        thresholds: From `calibrate`.
    """

    def __init__(
        self,
        model: keras.Model,
        transform: Callable[[dict[str, Any]], dict[str, tf.Tensor]],
        clip: ClipSpec,
        task: AnomalyTask,
        thresholds: Thresholds,
    ):
        super().__init__(model, transform, clip, task)
        self._thresholds = thresholds

    def answer(self, frames: tf.Tensor, length: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns float32 scores; 1 and above is an alarm.

        `anomaly_score` is `(batch, time)`, 0 for the first `context.min` frames and after the clip's length;
        `clip_anomaly_score` is `(batch,)`.
        """
        pixels, known = normalise(frames, length, self._clip)
        errors = frame_errors(self.call_model, pixels, known, length, self._task.context.min)["worst"]
        return {
            "anomaly_score": errors / self._thresholds.frame,
            "clip_anomaly_score": tf.reduce_max(errors, axis=1) / self._thresholds.clip,
        }

    def sums_spec(self) -> dict[str, tf.TensorSpec]:
        """Returns the specs of `framecast.evaluation.metrics.anomaly.OUTPUTS`, per clip."""
        scalars = ("pixels", "squared_error")
        return {
            name: tf.TensorSpec([] if name in scalars else [anomaly_metrics.BINS], tf.float32)
            for name in anomaly_metrics.OUTPUTS
        }

    def sums(
        self, frames: tf.Tensor, length: tf.Tensor, counted: tf.Tensor, label: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        """Returns the clip's errors and the histograms of its scores; unlabelled frames (-1) are in no histogram."""
        assert label is not None
        pixels, known = normalise(frames, length, self._clip)
        found = frame_errors(self.call_model, pixels, known, length, self._task.context.min)
        errors, scored = found["worst"], tf.logical_and(found["scored"], counted[:, None])
        sums = {name: tf.reduce_sum(tf.where(scored, found[name], 0.0), axis=1) for name in ("pixels", "squared_error")}
        anomalous = tf.logical_and(scored, label == 1)
        normal = tf.logical_and(scored, label == 0)
        worst = tf.reduce_max(tf.where(scored, errors, 0.0), axis=1, keepdims=True)
        # A clip is anomalous if any frame is, and normal if it has labels and no frame is anomalous.
        clip_anomalous = tf.reduce_any(anomalous, axis=1, keepdims=True)
        clip_normal = tf.logical_and(tf.reduce_any(normal, axis=1, keepdims=True), tf.logical_not(clip_anomalous))
        for level, values, threshold, groups in (
            ("frame", errors, self._thresholds.frame, {"normal": normal, "anomalous": anomalous}),
            ("clip", worst, self._thresholds.clip, {"normal": clip_normal, "anomalous": clip_anomalous}),
        ):
            log2 = tf.math.log(tf.maximum(values / threshold, _MIN_ERROR)) / math.log(2.0)
            place = tf.clip_by_value(tf.floor(anomaly_metrics.bin_of(log2)), 0.0, anomaly_metrics.BINS - 1.0)
            hot = tf.one_hot(tf.cast(place, tf.int32), anomaly_metrics.BINS)
            for name, members in groups.items():
                sums[f"{level}_{name}"] = tf.reduce_sum(hot * tf.cast(members, tf.float32)[..., None], axis=1)
        return sums
