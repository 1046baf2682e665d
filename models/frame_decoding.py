"""Decodes the PNG, JPEG or RAW frames of a clip inside the graph, in Transform and in serving, and checks them."""

import tensorflow as tf

from framecast.schemas.clip_spec import MAX_FRAME_PIXELS, ClipSpec

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
# Channels by PNG colour type: gray, -, RGB, palette (rejected: it has no pixel values), gray + alpha, -, RGBA.
_PNG_CHANNELS = (1, 0, 3, 0, 2, 0, 4)


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
