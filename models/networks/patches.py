"""Converts frames to patches, whose pixels are channels, and back; imports Keras only."""

from keras import ops


def patchify(frames, patch: int):
    """Cuts frames into patches whose pixels become channels, padding the lower and right edge with zeros.

    Args:
        frames: `(batch, time, height, width, channel)`.
        patch: Side of a patch in pixels.

    Returns:
        `(batch, time, ceil(height / patch), ceil(width / patch), patch * patch * channel)`.
    """
    batch, time, height, width, channels = ops.shape(frames)
    frames = ops.pad(frames, [[0, 0], [0, 0], [0, -height % patch], [0, -width % patch], [0, 0]])
    rows, columns = (height + patch - 1) // patch, (width + patch - 1) // patch
    # Time is merged into the batch, because a transpose of rank 5 is cheaper than one of rank 7.
    frames = ops.reshape(frames, (batch * time, rows, patch, columns, patch * channels))
    frames = ops.transpose(frames, (0, 1, 3, 2, 4))
    return ops.reshape(frames, (batch, time, rows, columns, patch * patch * channels))


def unpatchify(patches, patch: int, channels: int):
    """Inverts `patchify` but keeps its padding: returns `(batch, time, rows * patch, columns * patch, channel)`."""
    batch, time, rows, columns, _ = ops.shape(patches)
    frames = ops.reshape(patches, (batch * time, rows, columns, patch, patch * channels))
    frames = ops.transpose(frames, (0, 1, 3, 2, 4))
    return ops.reshape(frames, (batch, time, rows * patch, columns * patch, channels))
