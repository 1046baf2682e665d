"""What the `evaluate` signature puts out: sums and counts of each clip, from which every metric is computed.

Sums merge in any order, so that a metric of any set of clips is a sum of clips first and a ratio last.
"""

from collections.abc import Mapping

import tensorflow as tf

from framecast.evaluation.names import MODEL, OUTPUTS, REFERENCES


def forecast_sums(
    truth: tf.Tensor, known: tf.Tensor, counted: tf.Tensor, forecasts: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Sums errors over each frame's known pixels.

    Args:
        truth: `(batch, horizon, height, width, channel)` float32 in [0, 1].
        known: The same shape, bool; the values of other pixels never matter, NaN included.
        counted: `(batch,)` bool; the sums of other clips are 0.
        forecasts: The model's under `MODEL` and each of `REFERENCES`, shaped as `truth`.

    Returns:
        `OUTPUTS`, each `(batch, horizon)` float32.
    """
    known = tf.logical_and(known, counted[:, None, None, None, None])

    def total(values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.where(known, values, tf.zeros_like(values)), axis=[2, 3, 4])

    error = forecasts[MODEL] - truth
    outputs = {
        "pixels": total(tf.ones_like(truth)),
        "squared_error": total(tf.square(error)),
        "absolute_error": total(tf.abs(error)),
    }
    for name in REFERENCES:
        outputs[f"squared_error_{name}"] = total(tf.square(forecasts[name] - truth))
    return {name: outputs[name] for name in OUTPUTS}
