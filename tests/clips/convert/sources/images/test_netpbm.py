"""Tests PBM, PGM and PPM files against NumPy and Pillow."""

import gzip

import numpy as np
import pytest
from PIL import Image

from framecast.clips.convert.sources.source import BadSource
from tests.clips.convert.sources.reading import RNG, read_only_source, read_sources


@pytest.mark.parametrize(("largest", "channels"), [(255, 1), (1023, 1), (4095, 3), (65535, 3), (100, 1)])
def test_binary_values_are_those_stored(tmp_path, largest, channels):
    values = RNG.integers(0, largest + 1, (5, 7, channels)).astype(np.uint16)
    kind = {1: b"P5", 3: b"P6"}[channels]
    header = kind + b"\n# by a camera\n7 5\n%d\n" % largest
    (tmp_path / "a.pgm").write_bytes(header + values.astype(">u2" if largest > 255 else "u1").tobytes())
    read = read_only_source(tmp_path)[2]
    assert read.dtype == (np.uint16 if largest > 255 else np.uint8)
    assert np.array_equal(read[0], values)


@pytest.mark.parametrize("kind", ["P1", "P2", "P3"])
def test_text_values_are_those_stored(tmp_path, kind):
    channels, largest = (3 if kind == "P3" else 1), (1 if kind == "P1" else 4095)
    values = RNG.integers(0, largest + 1, (4, 3, channels))
    header = f"{kind}\n3 4\n" + ("" if kind == "P1" else f"{largest}\n")
    (tmp_path / "a.pnm").write_text(header + "\n".join(map(str, values.ravel())) + "\n")
    assert np.array_equal(read_only_source(tmp_path)[2][0], (1 - values) * 255 if kind == "P1" else values)


def test_bitmap_equals_pillow(tmp_path):
    mask = RNG.integers(0, 2, (9, 13)).astype(bool)
    Image.fromarray(mask).save(tmp_path / "a.pbm")
    assert np.array_equal(read_only_source(tmp_path)[2][0, ..., 0], mask * 255)


def test_images_of_one_file_are_frames(tmp_path):
    values = RNG.integers(0, 256, (12, 4, 5)).astype(np.uint8)
    (tmp_path / "a.pgm.gz").write_bytes(gzip.compress(b"".join(b"P5 5 4 255\n" + each.tobytes() for each in values)))
    recording, _, read = read_only_source(tmp_path)
    assert recording.name == "a.pgm.gz"
    assert np.array_equal(read[..., 0], values)


@pytest.mark.parametrize(
    "data", [b"P5\n4 4\n255\n" + bytes(9), b"P5\n4 4\n255\n" + bytes(16) + b"junk", b"P2 2 2 9 1 2 3"]
)
def test_damaged_file_is_named(tmp_path, data):
    (tmp_path / "a.pgm").write_bytes(data)
    with pytest.raises(BadSource, match=r"a\.pgm: cannot read the image: expected"):
        read_sources(tmp_path)
