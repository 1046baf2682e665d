"""Preprocesses clips in Transform: decodes frames, learns length buckets, pads, and outputs compact bytes.

The same graph runs in Transform and in the exported model, so training and serving see the same bytes. Only exact
integer counts are learned, so every Beam engine learns the same.
"""

import math
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from framecast.schemas import features
from framecast.schemas.clip_spec import MAX_FRAME_PIXELS, ClipSpec, LabelSpec

# Most padded lengths: more of them pad less, but fill batches worse.
BUCKETS = 8

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
# Channels by PNG colour type: gray, -, RGB, palette (rejected: it has no pixel values), gray + alpha, -, RGBA.
_PNG_CHANNELS = (1, 0, 3, 0, 2, 0, 4)


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


def bucket_boundaries(counts: tf.Tensor, buckets: int) -> tf.Tensor:
    """Chooses the bucket boundaries with the fewest padded frames, by dynamic programming over the lengths.

    Args:
        counts: `(max length + 1,)` int64, number of clips of each length.
        buckets: Most buckets.

    Returns:
        `(buckets,)` int64, ascending, with equal neighbours if fewer suffice. The last is the longest legal length.
    """
    size = counts.shape[0]
    lengths = tf.range(size, dtype=tf.int64)
    clips = tf.cumsum(counts)
    frames = tf.cumsum(counts * lengths)
    # cost[i, j]: padded frames if lengths i + 1 .. j share the boundary j.
    cost = lengths[None] * (clips[None] - clips[:, None]) - (frames[None] - frames[:, None])
    infinite = tf.constant(2**60, tf.int64)
    cost = tf.where(lengths[:, None] <= lengths[None], cost, infinite)
    best = cost[0]
    choices = []
    for _ in range(buckets - 1):
        total = best[:, None] + cost
        choices.append(tf.argmin(total, axis=0))
        best = tf.reduce_min(total, axis=0)
    boundary = lengths[-1]
    boundaries = [boundary]
    for choice in reversed(choices):
        boundary = tf.gather(choice, boundary)
        boundaries.append(boundary)
    return tf.stack(boundaries[::-1])


def decode_frames(encoded: tf.Tensor, height: tf.Tensor, width: tf.Tensor, spec: ClipSpec) -> tf.Tensor:
    """Decodes the frames of one clip and checks them against the clip contract, inside the graph.

    Args:
        encoded: `(time,)` string.
        height: int64 scalar, the declared height of RAW frames in pixels.
        width: int64 scalar, the declared width of RAW frames in pixels.
        spec: The clip contract.

    Returns:
        `(time, height, width, channel)` in the clips' dtype.

    Raises:
        tf.errors.InvalidArgumentError: If a frame breaks the contract; the message says what was expected and received.
    """
    tf.debugging.assert_positive(tf.size(encoded), "image/encoded: expected at least 1 frame, received an empty clip")
    dtype = tf.dtypes.as_dtype(spec.dtype)
    if spec.raw:
        size = tf.stack([height, width])
        _check_size(size, spec)
        expected = height * width * spec.channels * dtype.size
        tf.debugging.assert_equal(
            tf.strings.length(encoded),
            tf.cast(expected, tf.int32),
            "image/encoded: expected RAW frames of height x width x channels pixels; bytes of each frame and expected",
        )
        flat = tf.io.decode_raw(encoded, dtype, little_endian=True)
        return tf.reshape(flat, tf.stack([-1, height, width, spec.channels]))

    size = _image_size(encoded[0], spec)
    _check_size(size, spec)

    def decode(frame):
        tf.debugging.assert_equal(
            _image_size(frame, spec), size, "image/encoded: expected every frame in the size of the first"
        )
        # decode_png has no option for 2 channels; 0 keeps the channels of the image.
        channels = 0 if spec.channels == 2 else spec.channels
        pixels = tf.io.decode_png(frame, channels=channels, dtype=dtype)
        return tf.ensure_shape(pixels, [spec.height, spec.width, spec.channels])

    return tf.map_fn(
        decode, encoded, fn_output_signature=tf.TensorSpec([spec.height, spec.width, spec.channels], dtype)
    )


def _check_size(size: tf.Tensor, spec: ClipSpec) -> None:
    if spec.height is not None:
        expected = tf.constant([spec.height, spec.width], tf.int64)
        tf.debugging.assert_equal(size, expected, "image/encoded: expected frames of the configured height and width")
    pixels = tf.reduce_prod(size)
    tf.debugging.assert_positive(pixels, "image/encoded: expected a height and width above 0")
    tf.debugging.assert_less_equal(
        pixels, tf.constant(MAX_FRAME_PIXELS, tf.int64), "image/encoded: expected fewer pixels in a frame"
    )


def _image_size(encoded: tf.Tensor, spec: ClipSpec) -> tf.Tensor:
    """Reads `(height, width)`, int64, from the header, and checks it, because `decode_png` converts most mismatches."""
    depth = 8 * tf.dtypes.as_dtype(spec.dtype).size
    is_png = tf.logical_and(
        tf.strings.length(encoded) > 33, tf.equal(tf.strings.substr(encoded, 0, len(_PNG_MAGIC)), _PNG_MAGIC)
    )

    def png():
        header = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 16, 10), tf.uint8), tf.int64)
        channels = tf.gather(tf.constant(_PNG_CHANNELS, tf.int64), tf.minimum(header[9], 6))
        tf.debugging.assert_equal(channels, tf.constant(spec.channels, tf.int64), "image/encoded: channels of a PNG")
        tf.debugging.assert_equal(header[8], tf.constant(depth, tf.int64), "image/encoded: bit depth of a PNG")
        place = tf.constant([2**24, 2**16, 2**8, 1], tf.int64)
        return tf.stack([tf.reduce_sum(header[4:8] * place), tf.reduce_sum(header[0:4] * place)])

    def jpeg():
        # A JPEG has 8 bits. One assertion for both, because one on constants alone fails when the graph is built.
        is_jpeg = tf.equal(tf.strings.substr(encoded, 0, len(_JPEG_MAGIC)), _JPEG_MAGIC)
        legal = "a PNG or JPEG image" if depth == 8 else f"a PNG of {depth} bits"
        tf.debugging.assert_equal(tf.logical_and(is_jpeg, depth == 8), True, f"image/encoded: expected {legal}")
        shape = tf.cast(tf.image.extract_jpeg_shape(encoded), tf.int64)
        tf.debugging.assert_equal(shape[2], tf.constant(spec.channels, tf.int64), "image/encoded: channels of a JPEG")
        return shape[:2]

    return tf.cond(is_png, png, jpeg)
