"""Opens variables of GRIB files (editions 1 and 2, plain or gzip) with ecCodes; one message is one field.

A variable is named `parameter`, `parameter/level type` or `parameter/level type/step type`, such as `t` or
`t/isobaricInhPa`: as many parts as it takes to name one.
"""

import contextlib
import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from framecast.clips.convert.sources.gridded import mrms
from framecast.clips.convert.sources.gridded.axes import Dimension
from framecast.clips.convert.sources.gridded.grib_messages import (
    MessagePlace,
    find_messages,
    open_file,
    read_message,
    split_fields,
)
from framecast.clips.convert.sources.gridded.times import StepTimes
from framecast.clips.convert.sources.gridded.variable import Variable, listed
from framecast.clips.convert.sources.source import BadSource, ValueEncoding, ValueLimits

_MISSING = 1e38  # What ecCodes is asked to give for no data.
_SECOND = 1_000_000
_HOUR = 3600 * _SECOND
_FILES = 64  # Files whose index is kept, because each is opened several times.


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a file.

    Args:
        place: Its message.
        part: Index of the field in the message.
        name: Parameter, level type, step type.
        unit: Unit; None if the tables of ecCodes have none.
        local: Discipline, category and number of edition 2, for parameters of local tables.
        level: Its level.
        member: Member of an ensemble.
        base: Reference time in microseconds.
        step: Time from the reference time to the end of the field's interval, in microseconds.
        shape: Rows and columns.
        grid: Digest of the grid's definition.
    """

    place: MessagePlace
    part: int
    name: tuple[str, str, str]
    unit: str | None
    local: tuple[int, int, int]
    level: float
    member: int
    base: int
    step: int
    shape: tuple[int, int]
    grid: str


def frame_variables(path: str) -> list[str]:
    """Returns the shortest names of the variables.

    Raises:
        BadSource: If the file cannot be read.
    """
    names = sorted({field.name for field in _index(path)})
    return [_short(name, names) for name in names]


@contextlib.contextmanager
def open_variable(path: str, name: str) -> Iterator[Variable]:
    """Opens a variable.

    Raises:
        BadSource: If the file or the variable cannot be opened.
    """
    index = _index(path)
    names = sorted({field.name for field in index})
    parts = tuple(name.strip("/").split("/"))
    matches = [each for each in names if each[: len(parts)] == parts]
    if len(matches) != 1:
        shown = listed(_short(each, names) for each in matches or names)
        problem = "is ambiguous; set --variable to one of" if matches else "is missing; the file has"
        raise BadSource(path, f"variable {name} {problem} {shown}")
    fields = [field for field in index if field.name == matches[0]]
    first = fields[0]
    for field in fields:
        if (field.grid, field.shape, field.unit) != (first.grid, first.shape, first.unit):
            raise BadSource(
                path,
                f"{name}: expected one grid of {first.shape[0]}x{first.shape[1]} as in message {first.place.number}, "
                f"received another one of {field.shape[0]}x{field.shape[1]} in message {field.place.number}",
            )
    dimensions, cells = _cube(fields, f"{path}, {name}")
    known = mrms.PARAMETERS.get(first.local[1:]) if first.local[0] == mrms.DISCIPLINE else None
    encoding = ValueEncoding(unit=first.unit, fill=(math.nan,))
    limits = ValueLimits()
    if known is not None:
        encoding = ValueEncoding(unit=known.unit, fill=(*known.fill, math.nan))
        limits = ValueLimits(undetect=known.undetect)
    dtype = np.dtype(np.float32)
    values = _Values(path, cells, [dimension.size for dimension in dimensions])
    yield Variable(path, name, values, dimensions, encoding, limits, dtype, dtype)


class _Values:
    """The fields of a variable as one array; indexing reads from the file."""

    def __init__(self, path: str, cells: dict[tuple[int, ...], Field], sizes: Sequence[int]):
        self._path = path
        self._cells = cells
        self._sizes = sizes

    def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray:
        outer, inner = index[:-2], index[-2:]
        ranges = [
            range(size)[each] if isinstance(each, slice) else [each]
            for each, size in zip(outer, self._sizes, strict=False)
        ]
        kept = [len(each) for each, asked in zip(ranges, outer, strict=True) if isinstance(asked, slice)]
        frames = []
        with open_file(self._path) as file:
            for cell in itertools.product(*ranges):
                if cell not in self._cells:
                    raise ValueError("the file has no message for this time and level")
                field = self._cells[cell]
                message = split_fields(read_message(file, field.place, self._path))[field.part]
                frames.append(_decode(message, field)[inner])
        return np.stack(frames).reshape(*kept, *frames[0].shape)


def _index(path: str) -> tuple[Field, ...]:
    try:
        state = os.stat(path)
    except OSError as error:
        raise BadSource(path, f"cannot read the file: {error}") from error
    return _index_of(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(_FILES)
def _index_of(path: str, modified: int, size: int) -> tuple[Field, ...]:  # noqa: ARG001 - of the file as it is now
    fields = []
    with open_file(path) as file:
        for place, message in find_messages(file, path):
            for part, single in enumerate(split_fields(message)):
                fields.append(_read_field(single, place, part, path))
    return tuple(fields)


@contextlib.contextmanager
def _handle(message: bytes) -> Iterator[Any]:
    import eccodes

    handle = eccodes.codes_new_from_message(message)
    try:
        yield handle
    finally:
        eccodes.codes_release(handle)


def _read_field(message: bytes, place: MessagePlace, part: int, path: str) -> Field:
    """Reads the header of a field.

    Raises:
        BadSource: If it is damaged, or its grid is no image.
    """
    import eccodes

    where = f"{path}, message {place.number}"
    try:
        with _handle(message) as handle:

            def key(name: str, default: Any = None) -> Any:
                return eccodes.codes_get(handle, name) if eccodes.codes_is_defined(handle, name) else default

            shape = (key("Nj", 0), key("Ni", 0))
            if shape[0] * shape[1] != key("numberOfDataPoints"):
                problem = "has no rows of equal length; interpolate it to a regular grid first"
                raise BadSource(where, f"grid {key('gridType')} {problem}")
            local = (key("discipline", -1), key("parameterCategory", -1), key("parameterNumber", -1))
            name, unit = key("shortName", "unknown"), key("units", "unknown")
            if name == "unknown":
                codes = local if local[0] >= 0 else (key("table2Version", 0), key("indicatorOfParameter", 0))
                name = "-".join(["unknown", *map(str, codes)])
            digits = f"{key('dataDate'):08d}"
            date = np.datetime64(f"{digits[:4]}-{digits[4:6]}-{digits[6:]}", "us")
            seconds = 3600 * key("hour", 0) + 60 * key("minute", 0) + key("second", 0)
            eccodes.codes_set(handle, "stepUnits", "s")
            return Field(
                place,
                part,
                (name, key("typeOfLevel", "unknown"), key("stepType", "instant")),
                None if unit in ("unknown", "~") else unit,
                local,
                float(key("level", 0)),
                key("number", 0),
                int(date.astype(np.int64)) + seconds * _SECOND,
                eccodes.codes_get_long(handle, "endStep") * _SECOND,
                shape,
                key("md5GridSection", ""),
            )
    except eccodes.CodesInternalError as error:
        raise BadSource(where, f"expected a GRIB message, received: {error}") from error


def _decode(message: bytes, field: Field) -> np.ndarray:
    """Returns the values of a field `(rows, columns)`, with NaN for no data.

    Raises:
        ValueError: If it cannot be decoded.
    """
    import eccodes

    try:
        with _handle(message) as handle:
            eccodes.codes_set(handle, "missingValue", _MISSING)
            # As double, because ecCodes' own float32 is off by a last bit.
            values = eccodes.codes_get_values(handle).astype(np.float32)
            columns_first = eccodes.codes_get_long(handle, "jPointsAreConsecutive")
            alternating = eccodes.codes_get_long(handle, "alternativeRowScanning")
    except eccodes.CodesInternalError as error:
        raise ValueError(f"message {field.place.number}: {error}") from error
    rows, columns = field.shape
    grid = values.reshape((columns, rows) if columns_first else (rows, columns))
    if alternating:
        grid[1::2] = grid[1::2, ::-1].copy()
    grid = grid.T if columns_first else grid
    return np.where(grid == np.float32(_MISSING), np.float32(np.nan), grid)


def _cube(fields: Sequence[Field], place: str) -> tuple[tuple[Dimension, ...], dict[tuple[int, ...], Field]]:
    """Returns the dimensions of a variable, and the field of each index of the outer ones.

    Raises:
        BadSource: If two messages have the same time and level.
    """
    levels = sorted({field.level for field in fields})
    members = sorted({field.member for field in fields})
    outer = [
        Dimension("level", len(levels), {"positive": "up"}, np.array(levels)),
        Dimension("number", len(members), {}, np.array(members)),
    ]
    valid = sorted({field.base + field.step for field in fields})
    cells: dict[tuple[int, ...], Field] = {
        (levels.index(field.level), members.index(field.member), valid.index(field.base + field.step)): field
        for field in fields
    }
    time = [Dimension("time", len(valid), {}, _texts(valid), StepTimes(tuple(valid)))]
    if len(cells) < len(fields):
        # Several forecasts of one time.
        bases, steps = sorted({field.base for field in fields}), sorted({field.step for field in fields})
        time = [
            Dimension("time", len(bases), {}, _texts(bases), StepTimes(tuple(bases))),
            Dimension("step", len(steps), {}, np.array(steps) / _HOUR, StepTimes(tuple(steps), calendar="none")),
        ]
        cells = {}
        for field in fields:
            cell = (
                levels.index(field.level),
                members.index(field.member),
                bases.index(field.base),
                steps.index(field.step),
            )
            if cell in cells:
                same = f"messages {cells[cell].place.number} and {field.place.number}"
                raise BadSource(place, f"{same} have the same time, step and level; remove one of them")
            cells[cell] = field
    rows, columns = fields[0].shape
    grid = [Dimension("y", rows), Dimension("x", columns)]
    return (*outer, *time, *grid), cells


def _texts(stamps: Sequence[int]) -> np.ndarray:
    return np.datetime_as_string(np.array(stamps, "datetime64[us]"), unit="s")


def _short(name: tuple[str, str, str], names: Sequence[tuple[str, str, str]]) -> str:
    """Returns the least parts that name a variable."""
    counts = [sum(other[:length] == name[:length] for other in names) for length in (1, 2, 3)]
    return "/".join(name[: counts.index(1) + 1])
