"""Sums over square windows, as TensorFlow ops."""

import tensorflow as tf


def window_sums(fields: tf.Tensor, side: int) -> tf.Tensor:
    """Sums the window around every pixel; what lies outside of the field counts as 0.

    One convolution by rows and one by columns, each window on its own: running sums over a whole field would carry
    rounding, and a NaN, from one end to the other.

    Args:
        fields: `(batch, height, width, field)` float32 or float64.
        side: Odd side of the windows in pixels.

    Returns:
        As `fields`. Whole numbers are summed exactly as long as a sum is below 2**24.
    """
    kernel = tf.ones([side, 1, tf.shape(fields)[3], 1], fields.dtype)
    for _ in range(2):
        fields = tf.nn.depthwise_conv2d(fields, kernel, strides=[1, 1, 1, 1], padding="SAME")
        fields = tf.transpose(fields, [0, 2, 1, 3])
    return fields
