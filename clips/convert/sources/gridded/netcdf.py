"""Opens variables of NetCDF files and Zarr stores (xarray), and of Zarr arrays without named dimensions."""

import contextlib
import os
import posixpath
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from framecast.clips.convert.sources.gridded import packing, times
from framecast.clips.convert.sources.gridded.axes import Dimension, role_of
from framecast.clips.convert.sources.gridded.variable import Variable, listed
from framecast.clips.convert.sources.source import BadSource

ZARR = (".zarr", ".zarr.zip")
_NOT_TIME = ("forecast_reference_time", "forecast_period")


def frame_variables(path: str) -> list[str]:
    """Returns the names of the variables that can be frames.

    Raises:
        BadSource: If the file cannot be opened.
    """
    if (store := _plain_zarr(path)) is not None:
        return [name for name, array in store.items() if array.ndim >= 2 and array.dtype.kind in "biuf"]
    with _xarray_file(path, "") as data:
        bounds = {array.attrs.get("bounds") for array in data.variables.values()}
        return [
            str(name)
            for name, array in data.data_vars.items()
            if array.ndim >= 2 and array.dtype.kind in "biuf" and name not in bounds
        ]


@contextlib.contextmanager
def open_variable(path: str, name: str) -> Iterator[Variable]:
    """Opens a variable.

    Raises:
        BadSource: If the file or the variable cannot be opened.
    """
    if (store := _plain_zarr(path)) is not None:
        yield _zarr_variable(path, name, store)
        return
    group, short = posixpath.split(name.strip("/"))
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(_xarray_file(path, group))
        if short not in data.variables:
            raise BadSource(path, f"variable {name} is missing; the file has {listed(data.data_vars)}")
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


def _plain_zarr(path: str) -> dict[str, Any] | None:
    """Returns the arrays of a Zarr store without named dimensions, or a single one; None if xarray opens the store."""
    if not is_zarr(path):
        return None
    import zarr

    try:
        if _needs_tensorstore(path):
            from framecast.clips.convert.sources.gridded import zarr_format3

            arrays: dict[str, Any] = dict(zarr_format3.open_arrays(path))
        else:
            store = zarr.open(_zarr_store(path), mode="r")
            arrays = {"": store} if hasattr(store, "dtype") else dict(_zarr_arrays(store, ""))
    except BadSource:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise BadSource(path, f"expected a Zarr store, received: {error}") from error
    named = "" not in arrays and any(any(_dimension_names(array)) for array in arrays.values())
    return None if named or not arrays else arrays


def is_zarr(path: str) -> bool:
    """Returns whether a path is a Zarr store: a folder, or a ZIP file of one."""
    return path.rstrip("/").lower().endswith(ZARR)


def _zarr_store(path: str) -> Any:
    """Returns what Zarr opens."""
    import zarr

    return zarr.storage.ZipStore(path, mode="r") if path.lower().endswith(".zip") else path


def _needs_tensorstore(path: str) -> bool:
    """Returns whether a store is of Zarr format 3, and zarr 2 is installed."""
    import zarr

    if not zarr.__version__.startswith("2."):
        return False
    if path.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            return "zarr.json" in archive.namelist()
    return os.path.exists(os.path.join(path, "zarr.json"))


def _zarr_arrays(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yields path and array of a group and the groups in it."""
    for name, array in group.arrays():
        yield path + name, array
    for name, inner in group.groups():
        yield from _zarr_arrays(inner, f"{path}{name}/")


def _dimension_names(array: Any) -> tuple[str | None, ...]:
    """Returns the names of an array's dimensions; empty if it does not give one for each."""
    format_3 = getattr(getattr(array, "metadata", array), "dimension_names", None)
    names = tuple(array.attrs.get("_ARRAY_DIMENSIONS") or format_3 or ())
    return names if len(names) == array.ndim else ()


def _zarr_variable(path: str, name: str, arrays: Mapping[str, Any]) -> Variable:
    name = name.strip("/")
    if name not in arrays:
        raise BadSource(path, f"variable {name} is missing; the store has {listed(arrays)}")
    array = arrays[name]
    # The array's own fill value is that of chunks without data, which may also be a measurement.
    encoding, limits, view = packing.read_encoding([dict(array.attrs)], array.dtype, f"{path}, {name}")
    names = _dimension_names(array) or (None,) * array.ndim
    dimensions = tuple(Dimension(dim, size) for dim, size in zip(names, array.shape, strict=True))
    return Variable(path, name, array, dimensions, encoding, limits, array.dtype, view, chunks=tuple(array.chunks))


@contextlib.contextmanager
def _xarray_file(path: str, group: str) -> Iterator[Any]:
    import xarray

    options: dict[str, Any] = {"mask_and_scale": False, "decode_times": False, "decode_coords": "all"}
    try:
        if is_zarr(path) and _needs_tensorstore(path):
            from framecast.clips.convert.sources.gridded import zarr_format3

            data = zarr_format3.open_dataset(path, group, **options)
        elif is_zarr(path):
            data = xarray.open_zarr(_zarr_store(path), chunks=None, group=group or None, **options)
        else:
            data = xarray.open_dataset(path, engine="netcdf4", group=group or None, **options)
    except BadSource:
        raise
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BadSource(path, f"expected a NetCDF-4 file or a Zarr store (or NetCDF-3), received: {error}") from error
    with data:
        yield data


def _dimension(variables: Mapping[Any, Any], dim: Any, size: int, path: str) -> Dimension:
    coordinate = variables.get(dim)
    named = coordinate is not None and coordinate.dims == (dim,)
    attributes = dict(coordinate.attrs) if coordinate is not None and named else {}
    labels = coordinate.values if coordinate is not None and named else None
    found = _step_times(variables, (dim,), dim, path)
    if found is not None and len(found.stamps) != size:
        found = None
    dimension = Dimension(str(dim), size, attributes, labels, found)
    if role_of(dimension) is None:
        # Coordinates of other names, such as lat(dim_1).
        others = [
            Dimension(str(dim), size, dict(variable.attrs), variable.values, found, str(name))
            for name, variable in variables.items()
            if variable.dims == (dim,) and variable.dtype.kind in "iuf"
        ]
        others = [other for other in others if role_of(other) in ("H", "W")]
        if len({role_of(other) for other in others}) == 1:
            return others[0]
    return dimension


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
        if not timed and not _is_time_name(name) and variable.dtype.kind not in times.TEXT_KINDS + "M":
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
