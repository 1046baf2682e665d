"""Finds the axes of a variable: by names and CF metadata of its dimensions, by shape where there are none.

Letters: N recordings, T time, H height, W width, C channels.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from framecast.clips.convert.sources.gridded.times import StepTimes, is_time_unit
from framecast.clips.convert.sources.source import BadSource

_NAMES = {
    "T": r"time\d*|times|t|frames?|n_?frames|n_?times?|valid_?time|step|date|datetime|xtime|"
    r"forecast_time|lead_?times?|forecast_period",
    "H": r"y\d*|lat(itude)?(_?\d+)?|nlat|rlat|south_north(_stag)?|yc?|ydim|nj|j|rows?|ny|lines?|northing|"
    r"grid_lat(itude)?|grid_yt|projection_y_coordinate|y_dim|ygrid.*|lat_\w",
    "W": r"x\d*|lon(gitude)?(_?\d+)?|long|nlon|rlon|west_east(_stag)?|xc?|xdim|ni|i|col(umn)?s?|nx|pixels?|easting|"
    r"grid_lon(gitude)?|grid_xt|projection_x_coordinate|x_dim|xgrid.*|lon_\w",
    "C": r"channels?|bands?|rgba?|c",
    # Other known dimensions.
    "Z": r"lev(el)?s?\d*|plev\d*|pressure.*|isobaric.*|height.*|altitude|alt|z|depth|bottom_top.*|soil.*|hybrid|sigma",
}
_STANDARD = {
    "time": "T",
    "latitude": "H", "grid_latitude": "H", "projection_y_coordinate": "H", "projection_y_angular_coordinate": "H",
    "longitude": "W", "grid_longitude": "W", "projection_x_coordinate": "W", "projection_x_angular_coordinate": "W",
    "air_pressure": "Z", "height": "Z", "altitude": "Z", "depth": "Z", "model_level_number": "Z", "realization": "Z",
}  # fmt: skip
_CF_AXIS = {"T": "T", "Y": "H", "X": "W", "Z": "Z"}
_NORTH = re.compile(r"degrees?_?n(orth)?", re.IGNORECASE)
_EAST = re.compile(r"degrees?_?e(ast)?", re.IGNORECASE)
_PRESSURE = ("hpa", "pa", "mbar", "mb", "millibar", "millibars")
_FEW = 4  # An axis of at most this size may be channels.
_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class Dimension:
    """A dimension of a variable.

    Args:
        name: Its name; None if the file gives none.
        size: Its length.
        attributes: Attributes of its coordinate.
        labels: Values of its coordinate; None if it has none.
        times: Times of its steps; None if it has none.
        coordinate: Name of its coordinate, if another one than the dimension's.
    """

    name: str | None
    size: int
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    labels: np.ndarray | None = None
    times: StepTimes | None = None
    coordinate: str | None = None


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a variable is read.

    Args:
        index: One entry per dimension: the index, or None for a dimension that is kept.
        axes: One letter per kept dimension.
    """

    index: tuple[int | None, ...]
    axes: str

    def place(self, letter: str) -> int:
        """Returns the position of an axis among all dimensions."""
        return [place for place, index in enumerate(self.index) if index is None][self.axes.index(letter)]


def find_layout(dimensions: Sequence[Dimension], axes: str | None, select: Sequence[str], place: str) -> Layout:
    """Finds the axes of a variable.

    Args:
        dimensions: The variable's dimensions.
        axes: Requested letters: of all dimensions, or of those that `select` and size 1 leave.
        select: Requested values of dimensions, such as `level=850`.
        place: File and variable, for messages.

    Raises:
        BadSource: If an axis is unknown or left over; the message has the options to give.
    """
    index = _selected(dimensions, select, place)
    if axes is not None:
        return _given(dimensions, index, axes, place)
    kept = [number for number, chosen in enumerate(index) if chosen is None]
    roles = {number: role_of(dimensions[number]) for number in kept}
    for number in kept:
        # A time of one step is kept, because files of one step each are joined; of two times, the longer one is.
        several = list(roles.values()).count(roles[number]) > 1
        droppable = roles[number] in (None, "Z", "C") or (roles[number] == "T" and several)
        if dimensions[number].size == 1 and droppable and len(kept) > 2 and any(roles.values()):
            index[number] = 0
            del roles[number]
            kept = [other for other in kept if other != number]
    _two_heights(dimensions, roles)
    if not any(roles.values()):
        letters = axes_of_shape([dimensions[number].size for number in kept], place, grid=True)
    else:
        _by_position(dimensions, roles)
        letters = _letters(dimensions, kept, roles, place)
    return Layout(tuple(index), letters)


def axes_of_shape(shape: Sequence[int], place: str, grid: bool = False) -> str:
    """Returns the axes of an array without named dimensions.

    Args:
        shape: The array's shape.
        place: The file, for messages.
        grid: Whether an array of two axes is a frame, as in a file per time step.

    Raises:
        BadSource: If several layouts fit, or none does.
    """
    shape = tuple(shape)
    received = f"received the shape {shape}"
    if grid and len(shape) == 2:
        return "HW"
    few = [size <= _FEW for size in shape]
    fits: Sequence[str] = ()
    if len(shape) == 3:
        square = shape[0] == shape[1] != shape[2]
        fits = ("HWC", "THW") if few[2] else ("THW", "HWT") if square else ("THW",)
    elif len(shape) == 4:
        fits = _of_four(shape, few)
    elif len(shape) == 5:
        fits = _of_five(shape, few)
    else:
        expected = "an array with the axes THW, THWC, TCHW, NTHW, NTHWC or NTCHW"
        raise BadSource(place, f"expected {expected}, {received}")
    if len(fits) == 1:
        return fits[0]
    raise BadSource(place, f"the axes are ambiguous: set --axes, such as {' or '.join(fits)}; {received}")


def _of_four(shape: tuple[int, ...], few: list[bool]) -> Sequence[str]:
    first, second, third, last = shape
    if shape == (20, 10_000, 64, 64):
        return ("TNHW",)  # The published file of Moving MNIST.
    if few[3]:
        return ("HWTC", "THWC") if first == second != third else ("THWC",)
    if second == 1:
        return ("TCHW",)
    if few[1]:
        return ("TCHW", "NTHW")
    if few[2]:
        return ("HWCT", "NHWC")
    if few[0] and first > 1:
        return ("NTHW", "CTHW")
    if second == third != last:
        return ("NTHW", "NHWT")
    if first == 20 and third == last == 64:
        return ("NTHW", "TNHW")  # A part of Moving MNIST.
    return ("NTHW",)


def _of_five(shape: tuple[int, ...], few: list[bool]) -> Sequence[str]:
    first, second, third, fourth, _ = shape
    moving_mnist = first == 20 and (64, 64) in (shape[3:], shape[2:4])
    if few[4] and not few[2]:
        if second == third != fourth:
            return ("NTHWC", "NHWTC")
        return ("NTHWC", "TNHWC") if moving_mnist else ("NTHWC",)
    if few[2] and not few[4]:
        return ("NTCHW", "TNCHW") if moving_mnist else ("NTCHW",)
    return ("NCTHW", "NTHWC") if few[1] else ("NTHWC", "NTCHW")


def _given(dimensions: Sequence[Dimension], index: list[int | None], axes: str, place: str) -> Layout:
    kept = [number for number, chosen in enumerate(index) if chosen is None]
    long = [number for number in kept if dimensions[number].size > 1]
    if len(axes) == len(kept):
        return Layout(tuple(index), axes)
    if len(axes) == len(long):
        return Layout(tuple(None if number in long else index[number] or 0 for number in range(len(index))), axes)
    received = ", ".join(f"{_name(dimensions, number)} ({dimensions[number].size})" for number in kept)
    raise BadSource(place, f"expected {len(axes)} dimensions for --axes {axes}, received {received}")


def _selected(dimensions: Sequence[Dimension], select: Sequence[str], place: str) -> list[int | None]:
    index: list[int | None] = [None] * len(dimensions)
    names = [_name(dimensions, number) for number in range(len(dimensions))]
    for pair in select:
        name, _, text = pair.partition("=")
        if name not in names:
            raise BadSource(place, f"--select {pair}: expected one of the dimensions {', '.join(names)}")
        number = names.index(name)
        dimension = dimensions[number]
        labels = np.arange(dimension.size) if dimension.labels is None else dimension.labels
        matches = [place for place, label in enumerate(labels) if _same(label, text)]
        if len(matches) != 1:
            raise BadSource(place, f"--select {pair}: expected a value of {name}: {_values(dimension)}")
        index[number] = matches[0]
    return index


def _same(label: Any, text: str) -> bool:
    label = label.decode(errors="replace") if isinstance(label, bytes) else label
    if str(label).strip("\0 ") == text:
        return True
    try:
        return bool(np.isclose(float(label), float(text), rtol=1e-6, atol=0))
    except (TypeError, ValueError):
        return False


def role_of(dimension: Dimension) -> str | None:
    """Returns the letter of a dimension; Z for another known one, None if unknown."""
    attributes = {name.lower(): value for name, value in dimension.attributes.items()}
    text = {name: attributes[name] for name in attributes if isinstance(attributes[name], str)}
    if text.get("axis", "").upper() in _CF_AXIS:
        return _CF_AXIS[text["axis"].upper()]
    if text.get("standard_name") in _STANDARD:
        return _STANDARD[text["standard_name"]]
    unit = text.get("units", "")
    if is_time_unit(unit) or dimension.times is not None:
        return "T"
    if _NORTH.fullmatch(unit):
        return "H"
    if _EAST.fullmatch(unit):
        return "W"
    if unit.lower() in _PRESSURE or "positive" in text:
        return "Z"
    for name in (dimension.name, dimension.coordinate):
        for letter, names in _NAMES.items():
            if re.fullmatch(names, (name or "").lower()):
                return letter
    return None


def _two_heights(dimensions: Sequence[Dimension], roles: dict[int, str | None]) -> None:
    """Reads `height` and `width` as the sides of an image, if no other dimension is one."""
    names = {(dimensions[number].name or "").lower(): number for number in roles}
    if {"height", "width"} <= set(names) and not {"H", "W"} & set(roles.values()):
        roles |= {names["height"]: "H", names["width"]: "W"}


def _by_position(dimensions: Sequence[Dimension], roles: dict[int, str | None]) -> None:
    """Gives unknown dimensions the letters that are missing: the last ones H and W, a first one without a name T."""
    missing = [letter for letter in "HW" if letter not in roles.values()]
    unknown = [number for number, role in roles.items() if role is None]
    first = next(iter(roles))
    nameless = re.fullmatch(r"((phony_)?dim_\d+)?", dimensions[first].name or "") is not None
    if "T" not in roles.values() and nameless and len(unknown) == len(missing) + 1 and unknown[0] == first:
        roles[first] = "T"
        unknown = unknown[1:]
    if len(unknown) == len(missing):
        roles |= dict(zip(unknown, missing, strict=True))


def _letters(dimensions: Sequence[Dimension], kept: list[int], roles: dict[int, str | None], place: str) -> str:
    letters = [roles[number] for number in kept]
    shown = ", ".join(f"{_name(dimensions, number)} ({dimensions[number].size})" for number in kept)
    for number, letter in zip(kept, letters, strict=True):
        if letter in (None, "Z") or letters.count(letter) > 1:
            name = _name(dimensions, number)
            option = f"--select {name}=VALUE"
            meanings = (("T", "time steps"), ("N", "recordings"), ("C", "channels"))
            for axis, meaning in meanings if letter is None else meanings[2:]:
                axes = "".join(axis if other == number else str(roles[other]) for other in kept)
                if set(axes) <= set("NTHWC") and len(set(axes)) == len(axes) and {"H", "W"} < set(axes):
                    option += f", or --axes {axes} to read its values as {meaning}"
            values = _values(dimensions[number])
            raise BadSource(place, f"dimension {name} is no axis of a frame ({values}); set {option}; received {shown}")
    lacking = [letter for letter in "HW" if letter not in letters]
    if lacking:
        raise BadSource(place, f"no dimension is the axis {' and '.join(lacking)}; received {shown}; set --axes")
    return "".join(map(str, letters))


def _name(dimensions: Sequence[Dimension], number: int) -> str:
    return dimensions[number].name or f"axis{number}"


def _values(dimension: Dimension) -> str:
    if dimension.labels is None:
        return f"{dimension.size} values, 0 to {dimension.size - 1}"
    shown = [label.decode(errors="replace") if isinstance(label, bytes) else str(label) for label in dimension.labels]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return f"{dimension.size} values: {', '.join(shown[:_SHOWN])}{more}"
