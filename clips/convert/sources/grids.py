"""Reads gridded files with a time axis, or one file per time step: HDF5 (h5py), NetCDF-4 and Zarr (xarray)."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from framecast.clips.convert.sources import file_times
from framecast.clips.convert.sources.source import BadSource, Frame, Recording, ValueEncoding

HDF5 = (".h5", ".hdf5", ".hdf", ".he5")
SUFFIXES = (*HDF5, ".nc", ".nc4", ".zarr")
_TIME_NAMES = ("time", "t", "valid_time", "step")
# Attributes for no-data values: the CF convention's, and an older common one.
_FILL_ATTRIBUTES = ("_FillValue", "missing_value")


@dataclasses.dataclass(frozen=True)
class _Variable:
    """A variable of an open file; `values[...]` reads from the file."""

    values: Any
    shape: tuple[int, ...]
    axes: str | None
    encoding: ValueEncoding
    times: np.ndarray | None  # datetime64, one per time step; None if the file has none.


@dataclasses.dataclass(frozen=True)
class Grid:
    """A variable over time: along the time axis of one file, or one file per time step.

    Args:
        name: Unique name.
        files: All files in time order; for a Zarr store, the files in its folder.
        steps: Paths to open: the files, or the folder of a Zarr store.
        variable: Path of the variable in each file.
        axes: One letter per axis.
        time_format: strptime format of the times in the file names.
    """

    name: str
    files: tuple[str, ...]
    steps: tuple[str, ...]
    variable: str
    axes: str | None
    time_format: str | None

    def recordings(self) -> Iterator[Recording]:
        """Yields one recording with all time steps."""
        with _opened(self.steps[0], self.variable) as first:
            axes = _axes(self.steps[0], self.variable, first, self.axes)
            stamps = _stamps(first) if "T" in axes else None
        if "T" not in axes:
            stamps = file_times.times_in_names(self.steps, self.time_format)
            if stamps is None and len(self.steps) > 1:
                stamps = self._stamps_within()
        rate = file_times.median_rate(stamps) if stamps else None
        frames = self._along_axis(axes, stamps) if "T" in axes else self._file_per_step(axes, stamps)
        yield Recording(self.name, frames, rate=rate, encoding=first.encoding)

    def _stamps_within(self) -> list[int] | None:
        """Returns the time stored in each single-step file; None unless all files have one."""
        stamps = []
        for path in self.steps:
            with _opened(path, self.variable) as variable:
                if variable.times is None or variable.times.size != 1:
                    return None
                stamps += _stamps(variable) or []
        return stamps

    def _along_axis(self, axes: str, stamps: list[int] | None) -> Iterator[Frame]:
        (path,) = self.steps
        with _opened(path, self.variable) as variable:
            place = axes.index("T")
            for index in range(variable.shape[place]):
                where = f"{path}, {self.variable}, time step {index}"
                values = _read(where, variable, (slice(None),) * place + (index,))
                time = stamps[index] if stamps else None
                yield Frame(_as_frame(values, axes.replace("T", "")), time, where)

    def _file_per_step(self, axes: str, stamps: list[int] | None) -> Iterator[Frame]:
        encoding = None
        for number, path in enumerate(self.steps):
            with _opened(path, self.variable) as variable:
                if encoding not in (None, variable.encoding):
                    expected = f"{self.variable}: expected {encoding} as in {self.steps[0]}"
                    raise BadSource(path, f"{expected}, received {variable.encoding}")
                encoding = variable.encoding
                if len(variable.shape) != len(axes):
                    raise BadSource(path, f"{self.variable}: expected the axes {axes}, received {variable.shape}")
                values = _read(path, variable, ...)
                yield Frame(_as_frame(values, axes), stamps[number] if stamps else None, path)


def find(
    name: str, paths: Sequence[str], variable: str | None, axes: str | None, time_format: str | None
) -> list[Grid]:
    """Returns the sources in gridded files: one for all files if each is a time step, else one per file.

    Raises:
        BadSource: If the variable does not exist, or is not given and the file has several.
    """
    variable = variable or _only_variable(paths[0])
    with _opened(paths[0], variable) as first:
        found = _axes(paths[0], variable, first, axes)
    if "T" in found:
        return [
            Grid(
                f"{name}/{os.path.basename(path)}" if len(paths) > 1 else name,
                _files(path),
                (path,),
                variable,
                axes,
                time_format,
            )
            for path in paths
        ]
    files = tuple(file for path in paths for file in _files(path))
    return [Grid(name, files, tuple(paths), variable, axes, time_format)]


def _files(path: str) -> tuple[str, ...]:
    """Returns the path itself, or the files in a Zarr store."""
    if not os.path.isdir(path):
        return (path,)
    return tuple(sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names))


def _axes(path: str, name: str, variable: _Variable, axes: str | None) -> str:
    """Returns one letter per axis, without N."""
    axes = axes or variable.axes or {2: "HW", 3: "THW", 4: "THWC"}.get(len(variable.shape))
    if axes is None or len(axes) != len(variable.shape) or "N" in axes:
        expected = "2 to 4 axes" if axes is None else f"the axes {axes}, without N"
        raise BadSource(path, f"{name}: expected {expected}, received the shape {variable.shape}")
    return axes


def _as_frame(values: np.ndarray, axes: str) -> np.ndarray:
    values = values.transpose([axes.index(letter) for letter in "HWC" if letter in axes])
    return values if "C" in axes else values[..., None]


def _read(place: str, variable: _Variable, index: Any) -> np.ndarray:
    try:
        return np.asarray(variable.values[index])
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise BadSource(place, f"cannot read the values: {error}") from error


def _stamps(variable: _Variable) -> list[int] | None:
    if variable.times is None:
        return None
    return variable.times.reshape(-1).astype("datetime64[us]").astype(np.int64).tolist()


@contextlib.contextmanager
def _opened(path: str, name: str) -> Iterator[_Variable]:
    if path.lower().endswith(HDF5):
        import h5py

        try:
            file = h5py.File(path, "r")
        except OSError as error:
            raise BadSource(path, f"expected an HDF5 file, received: {error}") from error
        with file:
            if name not in file or not isinstance(file[name], h5py.Dataset):
                found: list[str] = []
                file.visititems(lambda key, item: found.append(key) if isinstance(item, h5py.Dataset) else None)
                raise BadSource(path, f"variable {name} is missing; the file has {_listed(found)}")
            dataset = file[name]
            yield _Variable(dataset, dataset.shape, None, _meaning(dataset.attrs), None)
        return
    with _dataset(path, os.path.dirname(name.strip("/"))) as data:
        short = os.path.basename(name)
        if short not in data.data_vars:
            raise BadSource(path, f"variable {name} is missing; the file has {_listed(data.data_vars)}")
        array = data[short]
        time = next((dim for dim in array.dims if _is_time(data, dim)), None)
        axes = None
        if array.ndim == 2 + (time is not None):
            axes = "HW" if time is None else "HW"[: array.dims.index(time)] + "T" + "HW"[array.dims.index(time) :]
        stamps = None
        coordinate = data.coords.get(time or "time")
        if coordinate is not None and np.issubdtype(coordinate.dtype, np.datetime64):
            stamps = coordinate.values
        yield _Variable(array.variable, array.shape, axes, _meaning(array.attrs), stamps)


@contextlib.contextmanager
def _dataset(path: str, group: str) -> Iterator[Any]:
    import xarray

    options: dict[str, Any] = {"mask_and_scale": False, "group": group or None}
    try:
        if path.rstrip("/").lower().endswith(".zarr"):
            data = xarray.open_zarr(path, chunks=None, **options)
        else:
            data = xarray.open_dataset(path, engine="netcdf4", **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BadSource(path, f"expected a NetCDF-4 file or a Zarr store, received: {error}") from error
    with data:
        yield data


def _is_time(data: Any, dim: Any) -> bool:
    coordinate = data.coords.get(dim)
    if coordinate is not None and np.issubdtype(coordinate.dtype, np.datetime64):
        return True
    return str(dim).lower() in _TIME_NAMES


def _only_variable(path: str) -> str:
    if path.lower().endswith(HDF5):
        raise BadSource(path, "set --variable to the path of a dataset, such as image1/image_data")
    with _dataset(path, "") as data:
        names = [str(name) for name, array in data.data_vars.items() if array.ndim >= 2]
    if len(names) != 1:
        raise BadSource(path, f"expected one variable, received {_listed(names)}; set --variable")
    return names[0]


def _meaning(attributes: Mapping[str, Any]) -> ValueEncoding:
    """Reads scale, offset, unit and fill values from CF attributes."""

    def number(name: str, default: float) -> float:
        return float(np.asarray(attributes.get(name, default)).reshape(-1)[0])

    unit = attributes.get("units")
    fill = {
        float(value)
        for name in _FILL_ATTRIBUTES
        if name in attributes
        for value in np.asarray(attributes[name]).reshape(-1)
    }
    return ValueEncoding(
        scale=number("scale_factor", 1.0),
        offset=number("add_offset", 0.0),
        unit=unit.decode() if isinstance(unit, bytes) else unit,
        fill=tuple(sorted(value for value in fill if not np.isnan(value))),
    )


def _listed(names: Any) -> str:
    names = sorted(map(str, names))
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") if names else "none"
