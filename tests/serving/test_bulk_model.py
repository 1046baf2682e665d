"""Which clips are run together, whatever their sizes and lengths."""

import numpy as np

from framecast.serving.bulk_model import batches


def test_a_batch_has_one_size_and_about_one_length_and_every_clip_is_in_one():
    rng = np.random.default_rng(0)
    sizes = [(8, 8, 1), (8, 16, 1), (8, 8, 3)]
    shapes = [(int(rng.integers(1, 40)), *sizes[rng.integers(3)]) for _ in range(500)]
    found = list(batches(shapes, 16))
    assert sorted(number for batch in found for number in batch) == list(range(500))
    for batch in found:
        assert len(batch) <= 16
        assert len({shapes[number][1:] for number in batch}) == 1
        lengths = [shapes[number][0] for number in batch]
        assert max(lengths) <= 1.25 * min(lengths)
    assert max(map(len, found)) == 16


def test_clips_of_one_shape_fill_their_batches():
    assert [len(batch) for batch in batches([(10, 8, 8, 1)] * 35, 16)] == [16, 16, 3]
