"""Length buckets against brute force."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from framecast.models.length_buckets import bucket_boundaries


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("buckets", [1, 3, 4])
def test_boundaries_pad_fewest_frames(seed, buckets):
    counts = np.random.default_rng(seed).integers(0, 20, 13)
    counts[:2] = 0
    boundaries = bucket_boundaries(tf.constant(counts, tf.int64), buckets).numpy()

    def padding(choice):
        return sum(count * (min(b for b in choice if b >= length) - length) for length, count in enumerate(counts))

    best = min(padding((*chosen, 12)) for chosen in itertools.combinations(range(12), buckets - 1))
    assert padding(boundaries) == best
    assert boundaries[-1] == 12
    assert np.all(np.diff(boundaries) >= 0)
