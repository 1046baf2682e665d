"""Preprocesses clips in Transform: decodes frames, learns length buckets, pads, and outputs compact bytes.

The same graph runs in Transform and in the exported model, so training and serving see the same bytes. Only exact
integer counts are learned, so every Beam engine learns the same.
"""

import math
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from framecast.models.frame_decoding import decode_frames
from framecast.models.length_buckets import BUCKETS, bucket_boundaries
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec, LabelSpec


# Nothing here branches in Python on a tensor, and AutoGraph's conversion of all called functions takes longer than
# tracing.
@tf.autograph.experimental.do_not_convert
def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Learns the bucket boundaries from the train split and calls `preprocess`: Transform's `preprocessing_fn`.

    Args:
        inputs: The features of the curated schema's representation group; `image/encoded` is ragged
            `(batch, time, 1)` bytes.
        custom_config: `clip`, the configuration's clip section, and `label`, the task's `LabelSpec` as a dict or None.
    """
    label = LabelSpec.model_validate(custom_config["label"]) if custom_config["label"] else None
    spec = ClipSpec.model_validate(custom_config["clip"])
    length = tf.minimum(inputs[features.ENCODED].row_lengths(), spec.frames.max)
    counts = tft.sum(tf.one_hot(length, spec.frames.max + 1, dtype=tf.int64), reduce_instance_dims=False)
    return preprocess(inputs, spec, bucket_boundaries(counts, BUCKETS), label)


def preprocess(
    inputs: dict[str, Any], spec: ClipSpec, boundaries: tf.Tensor, label: LabelSpec | None = None
) -> dict[str, tf.Tensor]:
    """Decodes and pads every clip to the boundary of its length bucket.

    Args:
        inputs: As `preprocessing_fn`.
        spec: The clip contract.
        boundaries: `(buckets,)` int64, ascending padded lengths.
        label: The label that the task needs.

    Returns:
        `frames`: `(batch,)` string, serialized tensors `(padded time, height, width, channel)` in the clips' dtype;
        `length`: `(batch,)` int64, frames without padding; `image/frame_rate`: `(batch,)` float32, 0 if unknown. With
        `label` also `label`: `(batch,)` string, serialized tensors `()` or `(padded time,)`, int64 or float32; -1 or
        NaN where unlabelled.
    """
    encoded = inputs[features.ENCODED]
    length = encoded.row_lengths()
    boundary = tf.gather(boundaries, tf.searchsorted(boundaries, tf.minimum(length, boundaries[-1])))
    # A served clip that is longer than the last boundary is not padded.
    padded = tf.maximum(tf.cast(boundary, tf.int64), length)

    def clip_bytes(args):
        frames, target, height, width = args
        decoded = decode_frames(tf.reshape(frames, [-1]), height, width, spec)
        decoded = tf.pad(decoded, [[0, target - tf.shape(decoded, tf.int64)[0]], [0, 0], [0, 0], [0, 0]])
        return tf.io.serialize_tensor(decoded)

    frames = tf.map_fn(
        clip_bytes,
        (encoded, padded, inputs[features.HEIGHT], inputs[features.WIDTH]),
        fn_output_signature=tf.string,
    )
    outputs = {
        features.FRAMES: frames,
        features.FRAME_COUNT: length,
        features.FRAME_RATE: inputs[features.FRAME_RATE],
    }
    if label is not None:
        outputs[features.LABEL] = _serialized_labels(inputs[label.name], label, padded)
    return outputs


def _serialized_labels(labels: Any, label: LabelSpec, padded: tf.Tensor) -> tf.Tensor:
    if label.per == "clip":
        return tf.map_fn(tf.io.serialize_tensor, labels, fn_output_signature=tf.string)
    none = tf.constant(-1, tf.int64) if label.classes is not None else tf.constant(math.nan, tf.float32)

    def clip_labels(args):
        values, target = args
        values = tf.reshape(values, [-1])[:target]
        rest = tf.fill([target - tf.size(values, tf.int64)], none)
        return tf.io.serialize_tensor(tf.concat([values, rest], 0))

    return tf.map_fn(clip_labels, (labels, padded), fn_output_signature=tf.string)
