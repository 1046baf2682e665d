"""Writes clips as Transform materialises them."""

import tensorflow as tf

from framecast.models import tensors
from framecast.schemas import features


def write_transformed(path, clips, frame_rate=10.0):
    """Writes a TFRecord file.

    Args:
        path: The file.
        clips: `(frames, length)` or `(frames, length, label)` arrays; frames `(padded time, height, width, channel)`.
        frame_rate: Of every clip.
    """
    with tf.io.TFRecordWriter(str(path)) as writer:
        for frames, length, *label in clips:
            stored = {features.FRAMES: tensors.compress(_serialized(frames))}
            if label:
                stored[features.LABEL] = _serialized(label[0])
            values = {
                **{name: {"bytes_list": {"value": [value]}} for name, value in stored.items()},
                features.FRAME_COUNT: {"int64_list": {"value": [length]}},
                features.FRAME_RATE: {"float_list": {"value": [frame_rate]}},
            }
            feature = {name: tf.train.Feature(**value) for name, value in values.items()}
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString(deterministic=True))


def _serialized(array):
    return tf.io.serialize_tensor(array).numpy()
