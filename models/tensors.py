"""Unpacks, pads and normalises transformed clips, for training and for the exported model alike.

    frames, known = normalise(frames, length, clip)  # float32 in [0, 1], bool

Shapes are `(batch, time, height, width, channel)`.
"""

import zlib

import tensorflow as tf

from framecast.schemas.clip_spec import ClipSpec, LabelSpec

_LEVEL = 1  # Files are a tenth larger than at level 6, and written at twice the speed.


def compress(serialized: bytes) -> bytes:
    """Compresses one clip's serialized frames, for the files that Transform writes.

    Files of transformed clips are not compressed as a whole, so that training can read any clip at any time.
    """
    return zlib.compress(serialized, _LEVEL)


def decompress(compressed: tf.Tensor) -> tf.Tensor:
    """Returns the frames that were given to `compress`."""
    return tf.io.decode_compressed(compressed, "ZLIB")


def parse_frames(serialized: tf.Tensor, clip: ClipSpec) -> tf.Tensor:
    """Parses one clip's serialized frames.

    Returns:
        `(time, height, width, channel)` in the clips' dtype, padding included.
    """
    frames = tf.io.parse_tensor(serialized, tf.dtypes.as_dtype(clip.dtype))
    return tf.ensure_shape(frames, [None, None, None, clip.channels])


def parse_label(serialized: tf.Tensor, label: LabelSpec) -> tf.Tensor:
    """Parses one clip's serialized label.

    Returns:
        `()` per clip, `(numbers,)` with several numbers, or `(time,)` per frame; int64 classes or float32 numbers.
    """
    values = tf.io.parse_tensor(serialized, tf.float32 if label.classes is None else tf.int64)
    if label.per == "frame":
        return tf.ensure_shape(values, [None])
    return tf.ensure_shape(values, [label.numbers] if label.numbers > 1 else [])


def pad_time(values: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Appends `count` zeros to the first axis, time."""
    rest = [0, 0] * (values.shape.rank - 1)
    padded = tf.pad(values, tf.reshape(tf.stack([0, count, *rest]), [-1, 2]))
    return tf.ensure_shape(padded, [None, *values.shape[1:]])


def normalise(frames: tf.Tensor, length: tf.Tensor, clip: ClipSpec) -> tuple[tf.Tensor, tf.Tensor]:
    """Scales pixels to [0, 1] and returns the valid mask.

    Args:
        frames: `(batch, time, height, width, channel)` in the clips' dtype.
        length: `(batch,)` int32, frames of each clip without padding.
        clip: The clip contract.

    Returns:
        `(frames, known)` of the same shape: float32 in [0, 1], 0 where missing or padded; bool, False there.
    """
    known = tf.sequence_mask(length, tf.shape(frames)[1])[:, :, None, None, None]
    known = tf.broadcast_to(known, tf.shape(frames))
    if clip.missing is not None:
        known = tf.logical_and(known, frames != tf.cast(clip.missing, frames.dtype))
    scaled = tf.cast(frames, tf.float32) / clip.max_pixel
    return tf.where(known, scaled, tf.zeros_like(scaled)), known
