"""Opens variables of HDF5 (h5py), NetCDF and Zarr (xarray): dimensions, coordinates, times, encoding."""

import contextlib
import dataclasses
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from framecast.clips.convert.sources.gridded import hdf5_times, packing, times
from framecast.clips.convert.sources.gridded.axes import Dimension
from framecast.clips.convert.sources.source import BadSource, ValueEncoding, ValueLimits

HDF5 = (".h5", ".hdf5", ".hdf", ".he5")
SUFFIXES = (*HDF5, ".nc", ".nc4", ".nc3", ".cdf", ".netcdf", ".zarr")
_NETCDF_FILL = np.float32(9.969209968386869e36)  # Written by the NetCDF library where no value was stored.
_IDS = ("id", "ids")
_NOT_TIME = ("forecast_reference_time", "forecast_period")


@dataclasses.dataclass(frozen=True)
class Variable:
    """A variable of an open file; `read` reads from the file.

    Args:
        path: The file.
        name: Path of the variable in the file.
        values: The variable; `values[index]` reads from the file.
        dimensions: Its dimensions.
        encoding: How values are stored.
        limits: Which stored values are measurements.
        stored: Dtype of the file's values.
        view: Dtype that the values must be viewed as.
        time: Time of the whole file, if it has one.
        ids: Names of the recordings, if the file has a list of them.
        chunks: Size of the file's chunks per dimension, if any.
    """

    path: str
    name: str
    values: Any
    dimensions: tuple[Dimension, ...]
    encoding: ValueEncoding
    limits: ValueLimits
    stored: np.dtype
    view: np.dtype
    time: times.StepTimes | None = None
    ids: tuple[str, ...] = ()
    chunks: tuple[int, ...] | None = None

    def read(self, index: tuple[Any, ...], place: str) -> np.ndarray:
        """Reads a part of the variable.

        Raises:
            BadSource: If it cannot be read.
        """
        try:
            values = np.asarray(self.values[index])
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise BadSource(place, f"cannot read the values: {error}") from error
        if self.view != self.stored:
            values = values.astype(self.stored, copy=False).view(self.view)
        if values.dtype.kind == "f" and (empty := values == _NETCDF_FILL).any():
            values = np.where(empty, values.dtype.type(np.nan), values)
        return values


@contextlib.contextmanager
def open_variable(path: str, name: str) -> Iterator[Variable]:
    """Opens a variable.

    Raises:
        BadSource: If the file or the variable cannot be opened.
    """
    with _hdf5_variable(path, name) if _is_hdf5(path) else _xarray_variable(path, name) as variable:
        if variable.stored.kind not in "biuf":
            raise BadSource(path, f"{name}: expected numbers, received {variable.stored}")
        if 0 in (dimension.size for dimension in variable.dimensions):
            sizes = tuple(dimension.size for dimension in variable.dimensions)
            raise BadSource(path, f"{name}: expected frames, received the shape {sizes}")
        yield variable


def only_variable(path: str) -> str:
    """Returns the name of the only variable that can be frames.

    Raises:
        BadSource: If there are several or none.
    """
    if _is_hdf5(path):
        with _hdf5_file(path) as file:
            found = _odim_data(file)
            if len(found) > 1:
                raise BadSource(path, f"expected one variable, received {_listed(found)}; set --variable")
            if not found:
                raise BadSource(path, "set --variable to the path of a dataset, such as image1/image_data")
            return found[0]
    with _xarray_file(path, "") as data:
        bounds = {
            str(array.attrs[key]) for array in data.variables.values() for key in ("bounds",) if key in array.attrs
        }
        names = [
            str(name)
            for name, array in data.data_vars.items()
            if array.ndim >= 2 and array.dtype.kind in "biuf" and name not in bounds
        ]
    if len(names) != 1:
        raise BadSource(path, f"expected one variable, received {_listed(names)}; set --variable")
    return names[0]


def _is_hdf5(path: str) -> bool:
    """Returns whether h5py reads the file; a classic NetCDF file may have any suffix."""
    if not path.lower().endswith(HDF5):
        return False
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(3) != b"CDF"
    return True


def _listed(names: Any) -> str:
    names = sorted(map(str, names))
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") if names else "none"


@contextlib.contextmanager
def _hdf5_file(path: str) -> Iterator[Any]:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise BadSource(path, f"expected an HDF5 file, received: {error}") from error
    with file:
        yield file


def _odim_data(file: Any) -> list[str]:
    """Returns the data sets of an ODIM_H5 file; none for another file."""
    if not packing.text_of(file.attrs.get("Conventions")).startswith("ODIM_H5"):
        return []
    return [
        f"{dataset}/{data}/data"
        for dataset in file
        if dataset.startswith("dataset")
        for data in file[dataset]
        if data.startswith("data") and f"{dataset}/{data}/data" in file
    ]


@contextlib.contextmanager
def _hdf5_variable(path: str, name: str) -> Iterator[Variable]:
    import h5py

    with _hdf5_file(path) as file:
        name = name.strip("/")
        if name not in file or not isinstance(file[name], h5py.Dataset):
            found: list[str] = []
            file.visititems(lambda key, item: found.append(key) if isinstance(item, h5py.Dataset) else None)
            raise BadSource(path, f"variable {name} is missing; the file has {_listed(found)}")
        dataset = file[name]
        place = f"{path}, {name}"
        encoding, limits, view = packing.read_encoding(_hdf5_scopes(file, name, place), dataset.dtype, place)
        lists = [dataset.parent[key] for key in _IDS if key in dataset.parent]
        ids = next((item[...] for item in lists if isinstance(item, h5py.Dataset) and item.ndim == 1), ())
        yield Variable(
            path,
            name,
            dataset,
            hdf5_times.dimensions(dataset, place),
            encoding,
            limits,
            dataset.dtype,
            view,
            hdf5_times.file_time(file, name),
            tuple(packing.text_of(item) for item in ids),
            dataset.chunks,
        )


def _hdf5_scopes(file: Any, name: str, place: str) -> list[Mapping[str, Any]]:
    """Returns the attributes of a data set, then of the groups that describe it, nearest first."""
    parents = hdf5_times.parents(file, name)
    near = parents[0]
    scopes: list[Mapping[str, Any]] = [dict(file[name].attrs)]
    what = [dict(group["what"].attrs) for group in parents if "what" in group]
    if what:
        scopes.append(packing.odim_scope(what))
    if "calibration" in near:
        scopes.append(packing.knmi_scope(dict(near.attrs), dict(near["calibration"].attrs), place))
    if near.name != "/":
        scopes.append(dict(near.attrs))
    return scopes


@contextlib.contextmanager
def _xarray_file(path: str, group: str) -> Iterator[Any]:
    import xarray

    options: dict[str, Any] = {"mask_and_scale": False, "decode_times": False, "decode_coords": "all"}
    try:
        if path.rstrip("/").lower().endswith(".zarr"):
            data = xarray.open_zarr(path, chunks=None, group=group or None, **options)
        else:
            data = xarray.open_dataset(path, engine="netcdf4", group=group or None, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BadSource(path, f"expected a NetCDF-4 file or a Zarr store (or NetCDF-3), received: {error}") from error
    with data:
        yield data


@contextlib.contextmanager
def _xarray_variable(path: str, name: str) -> Iterator[Variable]:
    group, short = posixpath.split(name.strip("/"))
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(_xarray_file(path, group))
        if short not in data.variables:
            raise BadSource(path, f"variable {name} is missing; the file has {_listed(data.data_vars)}")
        array = data.variables[short]
        place = f"{path}, {name}"
        variables = dict(data.variables)
        while group:
            # Coordinates may be in a group above.
            group = posixpath.dirname(group)
            with contextlib.suppress(BadSource):
                above = stack.enter_context(_xarray_file(path, group))
                variables = {**above.variables, **variables}
        encoding, limits, view = packing.read_encoding([array.attrs], array.dtype, place)
        chunks = array.encoding.get("chunksizes") or array.encoding.get("chunks")
        yield Variable(
            path,
            name,
            array,
            tuple(_dimension(variables, dim, size, path) for dim, size in zip(array.dims, array.shape, strict=True)),
            encoding,
            limits,
            array.dtype,
            view,
            _scalar_time(variables, array, path),
            chunks=tuple(chunks) if chunks and len(chunks) == array.ndim else None,
        )


def _dimension(variables: Mapping[Any, Any], dim: Any, size: int, path: str) -> Dimension:
    coordinate = variables.get(dim)
    named = coordinate is not None and coordinate.dims == (dim,)
    attributes = dict(coordinate.attrs) if coordinate is not None and named else {}
    labels = coordinate.values if coordinate is not None and named else None
    found = _step_times(variables, (dim,), dim, path)
    return Dimension(str(dim), size, attributes, labels, found if found and len(found.stamps) == size else None)


def _scalar_time(variables: Mapping[Any, Any], array: Any, path: str) -> times.StepTimes | None:
    """Returns the time of a file without a time axis, from a scalar coordinate or one of size 1."""
    found = _step_times(variables, (), "time", path)
    if found is None:
        single = {
            name: variable
            for name, variable in variables.items()
            if variable.shape == (1,) and variable.dims[0] not in array.dims
        }
        found = _step_times({name: variable.squeeze() for name, variable in single.items()}, (), "time", path)
    return found if found is not None and found.calendar != "none" else None


def _step_times(variables: Mapping[Any, Any], dims: tuple[Any, ...], dim: Any, path: str) -> times.StepTimes | None:
    """Returns the times of the best time coordinate along a dimension."""
    ranked = sorted(
        (name for name, variable in variables.items() if variable.dims == dims),
        key=lambda name: _rank(name, variables[name].attrs, dim),
    )
    for name in ranked:
        variable = variables[name]
        attributes = variable.attrs
        if attributes.get("standard_name") in _NOT_TIME and (
            name != dim or not times.is_time_unit(attributes.get("units"))
        ):
            continue
        unit = attributes.get("units")
        timed = times.is_time_unit(unit) or attributes.get("standard_name") == "time" or attributes.get("axis") == "T"
        if not timed and not _is_time_name(name) and variable.dtype.kind not in "SUO":
            continue
        found = times.decode(variable.values, unit, attributes.get("calendar"), f"{path}, {name}")
        if found is not None:
            return found
    return None


def _rank(name: Any, attributes: Mapping[str, Any], dim: Any) -> tuple[bool, ...]:
    """Returns a sort key: text of WRF, the standard name `time`, the dimension's own coordinate, then others."""
    return name != "Times", attributes.get("standard_name") != "time", name != dim, str(name).lower() != "valid_time"


def _is_time_name(name: Any) -> bool:
    return str(name).lower() in ("time", "times", "t", "valid_time", "step", "xtime", "date", "datetime")


def shape_of(dimensions: Sequence[Dimension]) -> tuple[int, ...]:
    """Returns the sizes of dimensions."""
    return tuple(dimension.size for dimension in dimensions)


def files_in(path: str) -> tuple[str, ...]:
    """Returns the path itself, or the files in a Zarr store."""
    if not os.path.isdir(path):
        return (path,)
    return tuple(sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names))
