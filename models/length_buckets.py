"""Chooses the padded lengths of clips: length buckets with the least padding, learned from exact counts."""

import tensorflow as tf

# Most padded lengths: more of them pad less, but fill batches worse.
BUCKETS = 8


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
