"""Reads NumPy files: `(T, H, W[, C])`, `(T, C, H, W)`, `(N, T, H, W[, C])`, `(N, T, C, H, W)`, and Moving MNIST."""

import dataclasses
import math
import mmap
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from framecast.clips.convert.sources.gridded.axes import axes_of_shape
from framecast.clips.convert.sources.source import BadSource, Frame, Recording

SUFFIXES = (".npy", ".npz")
_MAPPED_BYTES = 32 << 20  # In memory at once, of a mapped file.


@dataclasses.dataclass(frozen=True)
class Array:
    """The recordings `[start, end)` of an array in a file.

    Args:
        name: Name of the source.
        files: The file.
        member: Name of the array in an npz file.
        axes: One letter per axis.
        start: First recording.
        end: Recording after the last; None for an array without axis N.
    """

    name: str
    files: tuple[str, ...]
    member: str | None
    axes: str
    start: int = 0
    end: int | None = None

    def recordings(self) -> Iterator[Recording]:
        """Yields the recordings, memory-mapped from the file."""
        with tempfile.TemporaryDirectory() as scratch:
            array = _MappedArray(_open(self.files[0], self.member, scratch))
            for number in range(self.start, 1 if self.end is None else self.end):
                name = self.name if self.end is None else f"{self.name.rpartition('/')[0]}/{number:06d}"
                yield Recording(name, self._frames(array, number))

    def _frames(self, mapped: "_MappedArray", number: int) -> Iterator[Frame]:
        path, axes, array = self.files[0], self.axes, mapped.values
        place = path
        if "N" in axes:
            array = array[(slice(None),) * axes.index("N") + (number,)]
            axes = axes.replace("N", "")
            place = f"{path}, recording {number}"
        array = array.transpose([axes.index(letter) for letter in "THWC" if letter in axes])
        for index, values in enumerate(array):
            yield Frame(values if "C" in axes else values[..., None], None, f"{place}, frame {index}")
            mapped.count(values.nbytes)


class _MappedArray:
    """A memory-mapped array; what was read of the file does not stay in the memory of this process."""

    def __init__(self, array: np.memmap):
        self.values = np.asarray(array)
        self._map = array.base
        self._read = 0

    def count(self, size: int) -> None:
        """Counts bytes that were read. Arrays that are still used are read from the file again."""
        self._read += size
        if self._read >= _MAPPED_BYTES and isinstance(self._map, mmap.mmap):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read = 0


def find(name: str, path: str, member: str | None, axes: str | None, source_bytes: int) -> list[Array]:
    """Returns the sources in a NumPy file.

    Args:
        name: Name of the file.
        path: The file.
        member: Name of the array in an npz file; by default its only array.
        axes: One letter per axis; by default detected from the shape.
        source_bytes: Approximate size of a source.

    Raises:
        BadSource: If the file cannot be read, or its axes are ambiguous.
    """
    if path.endswith(".npz"):
        member = _only_member(path, member)
    shape, dtype = _header(path, member)
    if dtype.kind not in "biuf":
        raise BadSource(path, f"expected an array of numbers, received {dtype}")
    axes = _axes(path, shape, axes)
    if "N" not in axes:
        return [Array(name, (path,), member, axes)]
    count = shape[axes.index("N")]
    each = dtype.itemsize * math.prod(shape) // max(count, 1)
    step = max(1, source_bytes // max(each, 1))
    return [
        Array(f"{name}/{start:06d}", (path,), member, axes, start, min(start + step, count))
        for start in range(0, count, step)
    ]


def _axes(path: str, shape: Sequence[int], axes: str | None) -> str:
    if 0 in shape:
        raise BadSource(path, f"expected frames, received the shape {tuple(shape)}")
    if axes is None:
        axes = axes_of_shape(shape, path)
    elif len(axes) != len(shape):
        raise BadSource(path, f"expected an array with the axes {axes} (--axes), received the shape {tuple(shape)}")
    if "T" not in axes:
        raise BadSource(path, f"expected an array with an axis T (--axes), received {axes} of the shape {tuple(shape)}")
    return axes


def _only_member(path: str, member: str | None) -> str:
    try:
        with zipfile.ZipFile(path) as file:
            names = [name.removesuffix(".npy") for name in file.namelist()]
    except (zipfile.BadZipFile, OSError) as error:
        raise BadSource(path, f"expected an npz file, received: {error}") from error
    if member is None and len(names) == 1:
        return names[0]
    if member not in names:
        wanted = "one array" if member is None else f"an array {member}"
        raise BadSource(path, f"expected {wanted}, received {', '.join(names) or 'no arrays'}; set --variable")
    return member


def _header(path: str, member: str | None) -> tuple[tuple[int, ...], np.dtype]:
    try:
        if member is None:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            return array.shape, array.dtype
        with zipfile.ZipFile(path) as archive, archive.open(f"{member}.npy") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            return shape, dtype
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadSource(path, f"expected a NumPy array, received: {error}") from error


def _open(path: str, member: str | None, scratch: str) -> np.memmap:
    """Memory-maps an array; one in an npz file is first unpacked to disk."""
    try:
        if member is not None:
            unpacked = os.path.join(scratch, "array.npy")
            with zipfile.ZipFile(path) as archive, archive.open(f"{member}.npy") as file, open(unpacked, "wb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)
            path = unpacked
        array: np.memmap = np.load(path, mmap_mode="r", allow_pickle=False)
        return array
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadSource(path, f"expected a NumPy array, received: {error}") from error
