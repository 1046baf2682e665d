"""Tests moving digits drawn from an MNIST file."""

import numpy as np
import pytest

from framecast.clips.convert.sources.source import BadSource
from tests.clips.convert.sources.reading import RNG, read_sources


def _write_idx(path, count=100):
    path.write_bytes(b"\x00\x00\x08\x03" + np.array([count, 28, 28], ">u4").tobytes() + RNG.bytes(count * 784))


def test_digit_clips_are_reproducible_and_grouped(tmp_path):
    _write_idx(tmp_path / "train-images-idx3-ubyte")
    read = read_sources(tmp_path, digits={"clips": 600, "canvas": 40})
    assert len(read) == 600
    lengths = {len(frames) for _, frames in read.values()}
    assert lengths == set(range(8, 25))
    assert len({recording.group for recording, _ in read.values()}) == 50
    again = read_sources(tmp_path, digits={"clips": 600, "canvas": 40})
    assert all(
        np.array_equal(a.values, b.values) for a, b in zip(list(read.values())[7][1], list(again.values())[7][1])
    )
    assert next(iter(read.values()))[1][0].values.shape == (40, 40, 1)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\x00\x00\x08\x03")
    with pytest.raises(BadSource, match="expected an idx file of images"):
        read_sources(tmp_path)
