"""Clips as serialized SequenceExamples."""

import numpy as np
import tensorflow as tf


def as_example(clip: np.ndarray) -> bytes:
    """Returns a clip as a serialized SequenceExample of PNG frames."""
    example = tf.train.SequenceExample()
    example.context.feature["image/height"].int64_list.value.append(clip.shape[1])
    example.context.feature["image/width"].int64_list.value.append(clip.shape[2])
    encoded = example.feature_lists.feature_list["image/encoded"]
    for frame in clip:
        encoded.feature.add().bytes_list.value.append(tf.io.encode_png(frame).numpy())
    return example.SerializeToString()
