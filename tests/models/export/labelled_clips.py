"""Clips of several lengths, as frames and as serialized examples with labels, for the tasks that need labels."""

import numpy as np
import tensorflow as tf

from framecast.clips.codec import encode_clip
from framecast.evaluation.metrics.sums import Sums
from framecast.schemas.clip_spec import ClipSpec, FrameRange

SPEC = ClipSpec(frames=FrameRange(min=1, max=8))
LENGTHS = (8, 5, 6, 8, 4, 7)


def all_frames():
    """Each clip's frames, `(time, 12, 12, 1)` uint8."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (length, 12, 12, 1), np.uint8) for length in LENGTHS]


def padded_frames():
    """All clips in one batch, `(batch, 8, 12, 12, 1)` uint8."""
    padded = np.zeros((len(LENGTHS), 8, 12, 12, 1), np.uint8)
    for clip, frames in zip(padded, all_frames(), strict=True):
        clip[: len(frames)] = frames
    return padded


def examples(**labels):
    """Serialized clips; each label is a list with one value, or one list, for every clip."""
    serialized = []
    for number, frames in enumerate(all_frames()):
        own = {name: values[number] for name, values in labels.items()}
        example = encode_clip(frames, example_id=str(number), media_id="m", frame_rate=10.0, **own)
        serialized.append(example.SerializeToString())
    return tf.constant(serialized)


def serve(signatures):
    """The outputs of `serving_default` for all clips."""
    return signatures["serving_default"](frames=tf.constant(padded_frames()), length=tf.constant(LENGTHS))


def sums(task, signatures, serialized):
    """The sums of the `evaluate` signature over all clips."""
    outputs = signatures["evaluate"](examples=serialized)
    return Sums(task=task.kind).update({name: value.numpy() for name, value in outputs.items()})
