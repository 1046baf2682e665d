"""Compares the error of forecasts as they are trained with that as they are served.

    describe_gap(model, pipeline.whole_batches(val_files), task, clip)  # Empty if both are equal.

In training, the model is called with whole clips; when served, with the context alone.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from framecast.models.spec import ForecastTask
from framecast.schemas.clip_spec import ClipSpec

_CLIPS = 16
_SHARE = 0.1  # Of the larger error. Rounding differs by far less.


def describe_gap(
    model: keras.Model, batches: Iterable[dict[str, tf.Tensor]], task: ForecastTask, clip: ClipSpec
) -> str:
    """Returns both mean squared errors if they differ by more than a tenth; else nothing.

    Args:
        model: A trained forecaster.
        batches: `frames`, `known` and `length` of single clips that are long enough; the first are used.
        task: Horizon and channels.
        clip: The clip contract.
    """
    channels, horizon = task.forecast_channels(clip.channels), task.horizon

    @tf.function(reduce_retracing=True, autograph=False)
    def errors(frames: tf.Tensor, known: tf.Tensor, length: tf.Tensor) -> Any:
        context = length - horizon
        future = context[:, None] + tf.range(horizon)[None]
        truth, counted = (
            tf.gather(tf.gather(values, channels, axis=-1), future, batch_dims=1) for values in (frames, known)
        )
        whole = model(frames, context, steps=tf.shape(frames)[1] - 1)
        seen = frames[:, : tf.reduce_max(context)]
        served = model(seen, context, steps=tf.shape(seen)[1] + horizon - 1)
        found = [tf.gather(values, future - 1, batch_dims=1) for values in (whole, served)]
        squares = [tf.square(tf.where(counted, tf.clip_by_value(values, 0.0, 1.0) - truth, 0.0)) for values in found]
        return tf.stack([*(tf.reduce_sum(one) for one in squares), tf.reduce_sum(tf.cast(counted, tf.float32))])

    total = sum(
        errors(*(batch[name] for name in ("frames", "known", "length"))).numpy().astype("float64")
        for batch in itertools.islice(batches, _CLIPS)
    )
    whole, served = total[:2] / max(total[2], 1.0)
    if abs(whole - served) <= _SHARE * max(whole, served):
        return ""
    return (
        f"the forecasts' mean squared error on val is {whole:.5f} when the model is called with whole clips, as in "
        f"training, and {served:.5f} when it is called with the context, as served: it depends on later frames or on "
        "the number of frames"
    )
