"""Opens variables of HDF5 files: dimension scales, IMERG's DimensionNames, ODIM_H5, KNMI."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from framecast.clips.convert.sources.gridded import packing, times
from framecast.clips.convert.sources.gridded.axes import Dimension, role_of
from framecast.clips.convert.sources.gridded.packing import text_of
from framecast.clips.convert.sources.gridded.variable import Variable, listed
from framecast.clips.convert.sources.source import BadSource

_TIME_NAMES = ("time", "times", "t", "valid_time", "timestamp", "timestamps", "datetime")
_IDS = ("id", "ids")
_ODIM_IMAGES = ("COMP", "IMAGE", "CVOL", "")  # Objects of ODIM_H5 on a Cartesian grid; empty if the file says none.
_NO_VALUES = b"This is a netCDF dimension but not a netCDF variable"


@contextlib.contextmanager
def open_file(path: str) -> Iterator[Any]:
    """Opens an HDF5 file.

    Raises:
        BadSource: If it cannot be opened.
    """
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise BadSource(path, f"expected an HDF5 file, received: {error}") from error
    with file:
        yield file


def datasets(file: Any) -> list[str]:
    """Returns the paths of all data sets."""
    import h5py

    found: list[str] = []
    file.visititems(lambda key, item: found.append(key) if isinstance(item, h5py.Dataset) else None)
    return found


def odim_data(file: Any) -> list[str]:
    """Returns the data sets of an ODIM_H5 file; none for another file.

    Raises:
        BadSource: If its data are polar.
    """
    if not _is_odim(file):
        return []
    _check_cartesian(file)
    return [
        f"{dataset}/{data}/data"
        for dataset in file
        if dataset.startswith("dataset")
        for data in file[dataset]
        if data.startswith("data") and f"{dataset}/{data}/data" in file
    ]


def _is_odim(file: Any) -> bool:
    return text_of(file.attrs.get("Conventions")).startswith("ODIM_H5")


def _check_cartesian(file: Any) -> None:
    """Checks that an ODIM_H5 file has images, because rays of a polar scan would be read as rows."""
    kind = text_of(file["what"].attrs.get("object")).upper() if "what" in file else ""
    if kind not in _ODIM_IMAGES:
        expected = "expected a composite (COMP) or an image of ODIM_H5"
        fix = "rays and range bins are no pixels; grid it first, such as with Py-ART or wradlib"
        raise BadSource(file.filename, f"{expected}, received the object {kind}: {fix}")


@contextlib.contextmanager
def open_variable(path: str, name: str) -> Iterator[Variable]:
    """Opens a data set.

    Raises:
        BadSource: If the file or the data set cannot be opened.
    """
    import h5py

    with open_file(path) as file:
        name = name.strip("/")
        if name not in file or not isinstance(file[name], h5py.Dataset):
            raise BadSource(path, f"variable {name} is missing; the file has {listed(datasets(file))}")
        if _is_odim(file):
            _check_cartesian(file)
        dataset = file[name]
        place = f"{path}, {name}"
        encoding, limits, view = packing.read_encoding(_scopes(file, name, place), dataset.dtype, place)
        lists = [dataset.parent[key] for key in _IDS if key in dataset.parent]
        ids = next((item[...] for item in lists if isinstance(item, h5py.Dataset) and item.ndim == 1), ())
        yield Variable(
            path,
            name,
            dataset,
            _dimensions(dataset, place),
            encoding,
            limits,
            dataset.dtype,
            view,
            _file_time(file, name),
            tuple(text_of(item) for item in ids),
            dataset.chunks,
        )


def _scopes(file: Any, name: str, place: str) -> list[Mapping[str, Any]]:
    """Returns the attributes of a data set, then of the groups that describe it, nearest first."""
    parents = _parents(file, name)
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


def _parents(file: Any, name: str) -> list[Any]:
    """Returns the groups that contain a data set, nearest first."""
    found = []
    group = file[name].parent
    while True:
        found.append(group)
        if group.name == "/":
            return found
        group = group.parent


def _dimensions(dataset: Any, place: str) -> tuple[Dimension, ...]:
    """Returns the dimensions of a data set.

    Raises:
        BadSource: If a time coordinate cannot be read.
    """
    stated = [part.strip() for part in text_of(dataset.attrs.get("DimensionNames")).split(",")]
    stated += ["" for _ in range(dataset.ndim)]
    found = []
    for number, (dim, size) in enumerate(zip(dataset.dims, dataset.shape, strict=True)):
        scales = list(dim.values())
        name = scales[0].name.rpartition("/")[2] if scales else dim.label or stated[number] or None
        coordinate = scales[0] if scales else dataset.parent.get(name) if name else None
        if coordinate is not None and (getattr(coordinate, "shape", None) != (size,) or _without_values(coordinate)):
            coordinate = None
        attributes = {} if coordinate is None else _texts(coordinate.attrs)
        labels = None if coordinate is None else coordinate[...]
        decoded = None if coordinate is None else _decoded(coordinate, name or "", place)
        found.append(Dimension(name, size, attributes, labels, decoded))
    _add_siblings(dataset, found, place)
    if all(each.times is None for each in found):
        _add_sibling_times(dataset, found, place)
    return tuple(found)


def _file_time(file: Any, name: str) -> times.StepTimes | None:
    """Returns the time of a whole file: ODIM_H5's nominal time, KNMI's end of the product, or a scalar `time`."""
    what = dict(file["what"].attrs) if "what" in file else {}
    text = text_of(what.get("date")) + text_of(what.get("time"))
    if text:
        return times.decode(np.array([text]), None, None, name)
    overview = dict(file["overview"].attrs) if "overview" in file else {}
    text = text_of(overview.get("product_datetime_end"))
    if text:
        return times.decode(np.array([_knmi(text)]), None, None, name)
    for group in _parents(file, name):
        for key in _TIME_NAMES:
            item = group.get(key)
            if getattr(item, "shape", None) in ((), (1,)):
                found = _decoded(item, key, name)
                if found is not None and found.calendar != "none":
                    return found
    return None


def _knmi(text: str) -> str:
    """Returns 26-AUG-2010;00:05:00.000 as ISO 8601."""
    date, _, clock = text.partition(";")
    parts = date.split("-")
    months = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
    if len(parts) != 3 or parts[1].upper() not in months:
        return text
    return f"{parts[2]}-{months.index(parts[1].upper()) + 1:02d}-{parts[0].zfill(2)}T{clock}"


def _add_siblings(dataset: Any, found: list[Dimension], place: str) -> None:
    """Gives unnamed dimensions the coordinates beside the data set, such as `lat`, if only one has their length."""
    claims: dict[int, list[Dimension]] = {}
    for name, item in dataset.parent.items():
        fits = [number for number, each in enumerate(found) if getattr(item, "shape", None) == (each.size,)]
        if len(fits) == 1 and found[fits[0]].name is None and item.dtype.kind in "iuf":
            claim = Dimension(name, item.shape[0], _texts(item.attrs), item[...], _decoded(item, name, place))
            if role_of(claim) in ("T", "H", "W"):
                claims.setdefault(fits[0], []).append(claim)
    for number, coordinates in claims.items():
        if len(coordinates) == 1:
            found[number] = coordinates[0]


def _add_sibling_times(dataset: Any, found: list[Dimension], place: str) -> None:
    """Gives times of a data set beside to the only dimension of its length, if no dimension has times."""
    for name in _TIME_NAMES:
        item = dataset.parent.get(name)
        shape = getattr(item, "shape", ())
        fits = [number for number, each in enumerate(found) if shape == (each.size,)]
        if len(fits) == 1 and (decoded := _decoded(item, name, place)) is not None:
            old = found[fits[0]]
            found[fits[0]] = Dimension(old.name or name, old.size, _texts(item.attrs), item[...], decoded)
            return


def _decoded(item: Any, name: str, place: str) -> times.StepTimes | None:
    attributes = _texts(item.attrs)
    unit = attributes.get("units")
    timed = times.is_time_unit(unit) or name.lower() in _TIME_NAMES or attributes.get("standard_name") == "time"
    if not timed:
        return None
    return times.decode(item[...], unit, attributes.get("calendar"), f"{place}, {name}")


def _texts(attributes: Any) -> dict[str, Any]:
    return {
        key: text_of(value) if isinstance(value, bytes | str | np.ndarray) else value
        for key, value in attributes.items()
    }


def _without_values(coordinate: Any) -> bool:
    return str(_NO_VALUES, "ascii") in text_of(coordinate.attrs.get("NAME"))
