"""Defines an open variable of a gridded file."""

import dataclasses
from typing import Any

import numpy as np

from framecast.clips.convert.sources.gridded.axes import Dimension
from framecast.clips.convert.sources.gridded.times import StepTimes
from framecast.clips.convert.sources.source import BadSource, ValueEncoding, ValueLimits

_NETCDF_FILL = np.float32(9.969209968386869e36)  # Written by the NetCDF library where no value was stored.


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
    time: StepTimes | None = None
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
            cause = error.message if isinstance(error, BadSource) else error
            raise BadSource(place, f"cannot read the values: {cause}") from error
        if self.view != self.stored:
            values = values.astype(self.stored, copy=False).view(self.view)
        if values.dtype.kind == "f" and (empty := values == _NETCDF_FILL).any():
            values = np.where(empty, values.dtype.type(np.nan), values)
        return values


def listed(names: Any) -> str:
    """Formats the first names of a list."""
    names = sorted(map(str, names))
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") if names else "none"
