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


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((3, 20, 1, 64, 64), "NTCHW"),
        ((8, 10, 3, 32, 48), "NTCHW"),
        ((8, 10, 32, 48, 3), "NTHWC"),
        ((20, 1, 64, 64), "TCHW"),
        ((1, 12, 10, 14), "NTHW"),
        ((12, 10, 14, 1), "THWC"),
        ((64, 64, 64), "THW"),
    ],
)
def test_channels_are_recognised_before_and_after_sides(tmp_path, shape, axes):
    values = RNG.integers(0, 256, shape).astype(np.uint8)
    np.save(tmp_path / "a.npy", values)
    read = read_sources(tmp_path)
    expected = np.einsum(f"{axes}->{''.join(letter for letter in 'NTHWC' if letter in axes)}", values)
    expected = expected if "N" in axes else expected[None]
    expected = expected if "C" in axes else expected[..., None]
    assert np.array_equal([[frame.values for frame in frames] for _, frames in read.values()], expected)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((20, 3, 64, 64), "TCHW or NTHW"),
        ((3, 16, 112, 112), "NTHW or CTHW"),
        ((5, 48, 48, 49), "NTHW or NHWT"),
        ((48, 48, 20, 3), "HWTC or THWC"),
        ((48, 48, 3, 20), "HWCT or NHWC"),
        ((20, 100, 64, 64), "NTHW or TNHW"),
        ((48, 48, 49), "THW or HWT"),
        ((48, 40, 3), "HWC or THW"),
        ((8, 3, 16, 112, 112), "NCTHW or NTHWC"),
        ((8, 9, 16, 12, 13), "NTHWC or NTCHW"),
        ((20, 100, 1, 64, 64), "NTCHW or TNCHW"),
        ((5, 48, 48, 49, 1), "NTHWC or NHWTC"),
    ],
)
def test_ambiguous_shape_names_possible_axes(tmp_path, shape, options):
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, shape)
    with pytest.raises(BadSource, match=rf"a\.npy: the axes are ambiguous: set --axes, such as {options}; received"):
        read_sources(tmp_path)
    first = options.split()[0]
    if "T" in first:
        assert read_sources(tmp_path, axes=first)


@pytest.mark.parametrize("seed", range(200))
def test_random_axis_order_reads_back_equal(tmp_path, seed):
    rng = np.random.default_rng(seed)
    letters = rng.permutation(list(rng.choice(["THW", "THWC", "NTHW", "NTHWC"])))
    sizes = dict(zip("NTHWC", rng.integers(2, 8, 5), strict=True))
    dtype = rng.choice(["u1", "<u2", ">u2", "i2", "i8", "f4", ">f4", "f8"])
    values = (rng.random([sizes[letter] for letter in letters]) * 100).astype(dtype)
    values = np.asfortranarray(values) if rng.random() < 0.5 else values
    np.save(tmp_path / "a.npy", values)
    read = read_sources(tmp_path, axes="".join(letters))
    expected = np.einsum(f"{''.join(letters)}->{''.join(each for each in 'NTHWC' if each in letters)}", values)
    expected = expected if "N" in letters else expected[None]
    expected = expected if "C" in letters else expected[..., None]
    found = np.array([[frame.values for frame in frames] for _, frames in read.values()])
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["c8", "S3", "M8[s]"])
def test_array_of_no_numbers_is_refused(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.zeros((12, 10, 14), dtype))
    with pytest.raises(BadSource, match=r"a\.npy: expected an array of numbers, received"):
        read_sources(tmp_path)
