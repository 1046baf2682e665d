"""Sums square windows, in TensorFlow ops."""

import tensorflow as tf


def window_sums(fields: tf.Tensor, side: int) -> tf.Tensor:
    """Sums the window around every pixel; pixels outside of the field count as 0.

    One convolution along rows and one along columns, because running sums would carry rounding errors and NaN across
    the whole field.

    Args:
        fields: `(batch, height, width, field)` float32 or float64.
        side: Odd side of the windows in pixels.

    Returns:
        Of the shape and dtype of `fields`. Integers are summed exactly up to 2**24.
    """
    kernel = tf.ones([side, 1, tf.shape(fields)[3], 1], fields.dtype)
    for _ in range(2):
        fields = tf.nn.depthwise_conv2d(fields, kernel, strides=[1, 1, 1, 1], padding="SAME")
        fields = tf.transpose(fields, [0, 2, 1, 3])
    return fields
