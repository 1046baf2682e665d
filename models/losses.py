"""Losses over next-frame predictions. Imports Keras only."""

from keras import ops


def next_frame_loss(frames, predictions, length, known):
    """Mean squared error over every next frame that a clip has.

    Padding and missing pixels are replaced on both sides before they meet, so that nothing that stands there, NaN
    included, reaches the loss or a gradient.

    Args:
        frames: `(batch, time, height, width, channel)` float32, the truth, pixels in [0, 1].
        predictions: `(batch, time - 1 or more, height, width, channel)` float32; `[:, t]` predicts frame t + 1.
        length: `(batch,)` int32, true frames of each clip.
        known: `(batch, time, height, width, channel)` bool, False where a pixel is missing.

    Returns:
        float32 scalar: the sum of squared errors over the number of pixels counted; 0 when there are none.
    """
    time = ops.shape(frames)[1]
    within = ops.arange(1, time, dtype="int32")[None] < ops.cast(length, "int32")[:, None]
    counted = ops.logical_and(known[:, 1:], within[:, :, None, None, None])
    error = ops.where(counted, predictions[:, : time - 1], 0.0) - ops.where(counted, frames[:, 1:], 0.0)
    pixels = ops.sum(ops.cast(counted, "float32"))
    return ops.sum(ops.square(error)) / ops.maximum(pixels, 1.0)
