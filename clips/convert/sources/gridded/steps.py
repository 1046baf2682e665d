"""Reads the time steps of one gridded file."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from framecast.clips.convert.sources.gridded.axes import Layout, find_layout
from framecast.clips.convert.sources.gridded.files import open_variable
from framecast.clips.convert.sources.gridded.times import StepTimes
from framecast.clips.convert.sources.gridded.variable import Variable
from framecast.clips.convert.sources.source import BadSource, ValueEncoding, ValueLimits
from framecast.clips.convert.spec import ReadSpec

_BLOCK_BYTES = 32 << 20  # Read at once, because a chunk of a file may have many time steps.
_NO_LAYOUT = Layout((), "")
_PLAIN, _NO_LIMITS = ValueEncoding(), ValueLimits()


@dataclasses.dataclass(frozen=True)
class FileSteps:
    """The time steps of one file.

    Args:
        path: The file.
        error: Why it cannot be read; None if it can.
        layout: How the variable is read.
        encoding: How values are stored.
        limits: Which stored values are measurements.
        times: Times of the steps; None if the file has none.
        shape: Size of each dimension.
        ids: Names of the recordings along axis N.
    """

    path: str
    error: BadSource | None = None
    layout: Layout = _NO_LAYOUT
    encoding: ValueEncoding = _PLAIN
    limits: ValueLimits = _NO_LIMITS
    times: StepTimes | None = None
    shape: tuple[int, ...] = ()
    ids: tuple[str, ...] = ()

    @property
    def stamps(self) -> tuple[int, ...]:
        """Times of the steps in microseconds; empty if the file has none."""
        return self.times.stamps if self.times else ()

    @property
    def steps(self) -> int:
        """Number of time steps."""
        return self.size("T") if "T" in self.layout.axes else 1

    def size(self, letter: str) -> int:
        """Returns the length of an axis; 1 for an axis that the variable does not have."""
        return self.shape[self.layout.place(letter)] if letter in self.layout.axes else 1


def read_header(path: str, name: str, read: ReadSpec) -> FileSteps:
    """Reads the header of a file; an error is kept, because the files before it make clips."""
    try:
        with open_variable(path, name) as variable:
            layout = find_layout(variable.dimensions, read.axes, read.select, f"{path}, {name}")
            shape = tuple(dimension.size for dimension in variable.dimensions)
            times = variable.time
            for place, dimension in enumerate(variable.dimensions):
                chosen = layout.index[place]
                if dimension.times is None:
                    continue
                if "T" in layout.axes and layout.place("T") == place:
                    times = dimension.times
                    break
                if chosen is not None and dimension.times.calendar != "none" and "T" not in layout.axes:
                    stamp = dimension.times.stamps[chosen]
                    times = StepTimes((stamp,), dimension.times.resolution, dimension.times.calendar)
            part = FileSteps(path, None, layout, variable.encoding, variable.limits, times, shape, variable.ids)
            return part if times is None or len(times.stamps) == part.steps else dataclasses.replace(part, times=None)
    except BadSource as error:
        return FileSteps(path, error)


def read_steps(
    variable: Variable,
    part: FileSteps,
    number: int | None,
    place: str,
    crop: tuple[int, int, int, int] | None = None,
) -> Iterator[tuple[int, np.ndarray | BadSource]]:
    """Yields `(step, (height, width, channel))`, or why a step cannot be read.

    Reads several steps at once, and of each only the part `crop` (top, left, height, width), which must be inside.
    """
    layout = part.layout
    index: list[int | slice] = [slice(None) if chosen is None else chosen for chosen in layout.index]
    if number is not None:
        index[layout.place("N")] = number
    pixels = part.size("H") * part.size("W")
    if crop is not None:
        top, left, height, width = crop
        pixels = height * width
        index[layout.place("H")], index[layout.place("W")] = slice(top, top + height), slice(left, left + width)
    letters = [letter for letter in layout.axes if letter != "N" or number is None]
    if "T" not in letters:
        yield 0, _try_read(variable, index, letters, place)
        return
    axis = layout.place("T")
    time = letters.index("T")
    frame_bytes = variable.stored.itemsize * pixels * part.size("C")
    block = max(1, _BLOCK_BYTES // max(frame_bytes, 1))
    chunk = variable.chunks[axis] if variable.chunks else 1
    block = block // chunk * chunk or block
    for start in range(0, part.steps, block):
        end = min(start + block, part.steps)
        index[axis] = slice(start, end)
        try:
            values = np.moveaxis(variable.read(tuple(index), place), time, 0)
        except BadSource:
            values = None
        rest = letters[:time] + letters[time + 1 :]
        for step in range(start, end):
            if values is not None:
                yield step, _as_frame(values[step - start], rest)
            else:
                # Steps are read one by one, so that only the damaged ones are left out.
                index[axis] = step
                yield step, _try_read(variable, index, rest, f"{place}, time step {step}")


def _try_read(variable: Variable, index: list[int | slice], letters: list[str], place: str) -> np.ndarray | BadSource:
    try:
        return _as_frame(variable.read(tuple(index), place), letters)
    except BadSource as error:
        return error


def _as_frame(values: np.ndarray, letters: list[str]) -> np.ndarray:
    values = values.transpose([letters.index(letter) for letter in "HWC" if letter in letters])
    return values if "C" in letters else values[..., None]


def physical_values(values: np.ndarray, encoding: ValueEncoding, limits: ValueLimits) -> np.ndarray:
    """Returns physical values, with NaN for no data and -inf for nothing detected."""
    undetected = np.isin(values, limits.undetect)
    known = undetected | ((values >= limits.valid[0]) & (values <= limits.valid[1]))
    for fill in encoding.fill:
        known &= values != fill
    physical = values.astype(np.float64) * encoding.scale + encoding.offset
    physical[undetected] = -np.inf
    return np.where(known, physical, np.nan)
