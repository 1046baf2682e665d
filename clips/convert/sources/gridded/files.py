"""Opens gridded files by their format."""

import contextlib
import fnmatch
import os
from collections.abc import Iterator

from framecast.clips.convert.sources.gridded import grib, grib_messages, hdf5, netcdf
from framecast.clips.convert.sources.gridded.variable import Variable, listed
from framecast.clips.convert.sources.source import BadSource

HDF5 = (".h5", ".hdf5", ".hdf", ".he5")
_GRIB = ("grib", "grib1", "grib2", "grb", "grb1", "grb2", "pgrb2")
GRIB = tuple(f".{name}{packed}" for name in _GRIB for packed in ("", ".gz"))
SUFFIXES = (*HDF5, *GRIB, ".nc", ".nc4", ".nc3", ".cdf", ".netcdf", *netcdf.ZARR)


@contextlib.contextmanager
def open_variable(path: str, name: str) -> Iterator[Variable]:
    """Opens a variable.

    Raises:
        BadSource: If the file or the variable cannot be opened.
    """
    reader = grib if _is_grib(path) else hdf5 if _is_hdf5(path) else netcdf
    with reader.open_variable(path, name) as variable:
        if variable.stored.kind not in "biuf":
            raise BadSource(path, f"{name}: expected numbers, received {variable.stored}")
        if 0 in (dimension.size for dimension in variable.dimensions):
            sizes = tuple(dimension.size for dimension in variable.dimensions)
            raise BadSource(path, f"{name}: expected frames, received the shape {sizes}")
        yield variable


def find_variables(path: str, pattern: str | None) -> list[str]:
    """Returns the variables to read from a file.

    Args:
        path: The file.
        pattern: Path of a variable; with * or ?, those of several HDF5 data sets, each a recording; by default the only
            variable that can be frames.

    Raises:
        BadSource: If there is none, or there are several without a pattern.
    """
    if pattern is not None and not set(pattern) & set("*?"):
        return [pattern]
    if _is_grib(path):
        names = grib.frame_variables(path)
    elif not _is_hdf5(path):
        names = netcdf.frame_variables(path)
    else:
        with hdf5.open_file(path) as file:
            names = hdf5.datasets(file) if pattern else hdf5.odim_data(file)
        if not names and not pattern:
            raise BadSource(path, "set --variable to the path of a dataset, such as image1/image_data")
    if pattern is None:
        if len(names) != 1:
            raise BadSource(path, f"expected one variable, received {listed(names)}; set --variable")
        return names
    found = [name for name in names if fnmatch.fnmatchcase(name, pattern.strip("/"))]
    if not found:
        raise BadSource(path, f"no variable matches {pattern} (--variable); the file has {listed(names)}")
    return found


def _is_hdf5(path: str) -> bool:
    """Returns whether h5py reads the file; a classic NetCDF file may have any suffix."""
    if not path.lower().endswith(HDF5):
        return False
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(3) != b"CDF"
    return True


def _is_grib(path: str) -> bool:
    """Returns whether ecCodes reads the file; GRIB files may have any suffix, such as .f006."""
    return path.lower().endswith(GRIB) or (not path.lower().endswith(SUFFIXES) and grib_messages.is_grib(path))


def files_in(path: str) -> tuple[str, ...]:
    """Returns the path itself, or the files in a Zarr store."""
    if not os.path.isdir(path):
        return (path,)
    return tuple(sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names))
