"""Tests the axes of NumPy files and the errors for files without frames."""

import numpy as np
import pytest

from framecast.clips.convert.sources.discovery import find_sources
from framecast.clips.convert.sources.source import BadSource
from framecast.clips.convert.spec import ConvertSpec
from tests.clips.convert.sources.reading import GRAY, RNG, read_sources

_ARRAYS = {
    "THW": (12, 10, 14),
    "THWC": (12, 10, 14, 3),
    "NTHW": (5, 12, 10, 14),
    "NTHWC": (5, 12, 10, 14, 2),
}


@pytest.mark.parametrize("axes", [*_ARRAYS, "TNHW", "CTHW"])
@pytest.mark.parametrize("npz", [False, True])
def test_array_axes_are_detected_or_given(tmp_path, axes, npz):
    values = RNG.integers(0, 256, _ARRAYS.get(axes, (4, 6, 10, 14))).astype(np.uint8)
    if npz:
        np.savez_compressed(tmp_path / "a.npz", other=np.zeros(3), clips=values)
    else:
        np.save(tmp_path / "a.npy", values)
    read = read_sources(tmp_path, variable="clips" if npz else None, axes=None if axes in _ARRAYS else axes)
    expected = np.einsum(f"{axes}->{''.join(letter for letter in 'NTHWC' if letter in axes)}", values)
    expected = expected if "N" in axes else expected[None]
    expected = expected if "C" in axes else expected[..., None]
    assert len(read) == len(expected)
    for (_, frames), wanted in zip(read.values(), expected, strict=True):
        assert np.array_equal([frame.values for frame in frames], wanted)


def test_moving_mnist_file_is_divided(tmp_path):
    shape = (20, 10_000, 64, 64)
    values = np.lib.format.open_memmap(tmp_path / "mnist_test_seq.npy", "w+", np.uint8, shape)
    values[:, 9_999] = 7
    found = find_sources([str(tmp_path)], ConvertSpec())
    *_, last = list(found.sources[-1].recordings())
    frames = list(last.frames)
    assert len(frames) == 20
    assert all((frame.values == 7).all() for frame in frames)
    assert len(found.sources) > 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"?"), r"a\.npy: expected a NumPy array, received"),
        (
            lambda path: np.save(path, np.zeros((2, 2))),
            r"expected an array with the axes .* received the shape \(2, 2\)",
        ),
        (lambda path: np.save(path, np.zeros((0, 4, 4))), r"expected frames, received the shape \(0, 4, 4\)"),
        (lambda path: np.save(path, np.array([None])), r"expected a"),
    ],
)
def test_array_without_frames_is_named(tmp_path, make, message):
    make(tmp_path / "a.npy")
    with pytest.raises(BadSource, match=message):
        read_sources(tmp_path)


def test_npz_with_several_arrays_needs_variable(tmp_path):
    np.savez(tmp_path / "a.npz", one=GRAY, two=GRAY)
    with pytest.raises(BadSource, match=r"expected one array, received one, two; set --variable"):
        read_sources(tmp_path)
