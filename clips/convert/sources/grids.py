"""Reads gridded files: HDF5, NetCDF and Zarr, one file per recording or several files joined along time."""

import collections
import dataclasses
import math
import os
import re
from collections.abc import Iterator, Sequence

import numpy as np

from framecast.clips.convert.sources import file_times
from framecast.clips.convert.sources.gridded import files as gridded_files
from framecast.clips.convert.sources.gridded.axes import Layout, find_layout
from framecast.clips.convert.sources.gridded.files import Variable, open_variable
from framecast.clips.convert.sources.gridded.times import StepTimes, even_months
from framecast.clips.convert.sources.source import BadSource, Frame, Recording, ValueEncoding, ValueLimits
from framecast.clips.convert.spec import ReadSpec

SUFFIXES = gridded_files.SUFFIXES
PREFIXES = ("wrfout", "wrfinput", "wrfprs")  # WRF writes NetCDF files without a suffix.
_BY_MONTHS = "recordings of whole months, spaced by the mean month"
_BLOCK_BYTES = 32 << 20  # Read at once, because a chunk of a file may have many time steps.
_NEXT = 1.5  # Of the spacing: a file that starts later than this after another one is another recording.


_NO_LAYOUT = Layout((), "")
_PLAIN, _NO_LIMITS = ValueEncoding(), ValueLimits()


@dataclasses.dataclass(frozen=True)
class _Part:
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
    def steps(self) -> int:
        """Number of time steps."""
        return self.size("T") if "T" in self.layout.axes else 1

    def size(self, letter: str) -> int:
        """Returns the length of an axis; 1 for an axis that the variable does not have."""
        return self.shape[self.layout.place(letter)] if letter in self.layout.axes else 1


@dataclasses.dataclass(frozen=True)
class Grid:
    """A variable over time, in one file or joined from several; or one recording per index of axis N.

    Args:
        name: Unique name.
        files: All files; for a Zarr store, the files in its folder.
        paths: Paths to open, in the order of their names: the files, or the folder of a Zarr store.
        variable: Path of the variable in each file.
        read: Options: `axes`, `select`, `time_format`.
        unpack: Whether files of different scales become physical values; else they are an error.
    """

    name: str
    files: tuple[str, ...]
    paths: tuple[str, ...]
    variable: str
    read: ReadSpec
    unpack: bool = True

    def recordings(self) -> Iterator[Recording]:
        """Yields one recording with all time steps, or one per index of axis N."""
        parts = [_part(path, self.variable, self.read) for path in self.paths]
        good = [part for part in parts if part.error is None]
        if not good:
            assert parts[0].error is not None
            raise parts[0].error
        if "N" in good[0].layout.axes:
            for part in parts:
                yield from self._numbered(part)
            return
        parts, stamps, notes = self._timed(parts)
        encoding, limits = self._encoding(good)
        recording = Recording(
            self.name,
            iter(()),
            resolution=max((part.times.resolution for part in good if part.times), default=0.0),
            encoding=encoding,
            limits=limits,
            left_out=collections.Counter(notes),
        )
        recording.frames = self._frames(recording, parts, stamps)
        yield recording

    def _numbered(self, part: _Part) -> Iterator[Recording]:
        if part.error is not None:
            raise part.error
        unique = len(set(part.ids)) == len(part.ids) == part.size("N")
        stamps = None if part.times is None else list(part.times.stamps)
        for number in range(part.size("N")):
            name = part.ids[number] if unique else f"{number:06d}"
            resolution = part.times.resolution if part.times else 0.0
            recording = Recording(f"{self.name}/{name}", iter(()), resolution=resolution)
            recording.encoding, recording.limits = part.encoding, part.limits
            recording.frames = self._part_frames(recording, part, stamps, 0, number)
            yield recording

    def _timed(self, parts: list[_Part]) -> tuple[list[_Part], list[int | None] | None, tuple[str, ...]]:
        """Returns the files in the order of time, the time of each step (None in unreadable files), and notes."""
        good = [part for part in parts if part.error is None]
        if self.read.time_format is not None:
            for part in good:
                if part.steps > 1:
                    received = "its own times" if part.times else "none"
                    message = f"has {part.steps} time steps and {received}; a file name gives one time"
                    raise BadSource(part.path, f"{self.variable} {message}: remove --time-format")
            named = file_times.times_in_names([part.path for part in parts], self.read.time_format)
            return parts, list(named or ()), ()
        timed = [part for part in good if part.times is not None]
        if not timed:
            return parts, None, ()
        calendar = timed[0].times.calendar if timed[0].times else ""
        for part in good:
            if part.times is None or part.times.calendar != calendar:
                received = part.times.calendar if part.times else "no times"
                expected = f"{self.variable}: expected times of the calendar {calendar} as in {timed[0].path}"
                raise BadSource(part.path, f"{expected}, received {received}; or set --time-format")
        parts = _in_time_order(parts)
        stamps = [stamp for part in parts for stamp in (part.times.stamps if part.times else (None,))]
        known = [stamp for stamp in stamps if stamp is not None]
        months = even_months(known, calendar)
        if months is None:
            return parts, stamps, ()
        spaced = iter(months)
        return parts, [None if stamp is None else next(spaced) for stamp in stamps], (_BY_MONTHS,)

    def _encoding(self, good: list[_Part]) -> tuple[ValueEncoding, ValueLimits]:
        """Returns the encoding of all files; physical values if files have different ones."""
        first = good[0]
        other = next((part for part in good if (part.encoding, part.limits) != (first.encoding, first.limits)), None)
        if other is None:
            return first.encoding, first.limits
        units = {part.encoding.unit for part in good}
        if len(units) > 1 or not self.unpack:
            expected = f"{self.variable}: expected {first.encoding} and {first.limits} as in {first.path}"
            raise BadSource(other.path, f"{expected}, received {other.encoding} and {other.limits}")
        undetect = (-math.inf,) if any(part.limits.undetect for part in good) else ()
        return ValueEncoding(unit=first.encoding.unit, fill=(math.nan,)), ValueLimits(undetect=undetect)

    def _frames(self, recording: Recording, parts: list[_Part], stamps: list[int | None] | None) -> Iterator[Frame]:
        first = next(part for part in parts if part.error is None)
        start = 0
        for part in parts:
            if part.error is not None:
                recording.skip(part.error)
            else:
                for letter in "HWC":
                    if part.size(letter) != first.size(letter):
                        expected = f"{self.variable}: expected {first.size(letter)} on axis {letter} as in {first.path}"
                        raise BadSource(part.path, f"{expected}, received {part.size(letter)}")
                yield from self._part_frames(recording, part, stamps, start)
            start += part.steps

    def _part_frames(
        self,
        recording: Recording,
        part: _Part,
        stamps: Sequence[int | None] | None,
        start: int,
        number: int | None = None,
    ) -> Iterator[Frame]:
        """Yields the frames of one file; its first step is step `start` of the recording."""
        with open_variable(part.path, self.variable) as variable:
            place = f"{part.path}, {self.variable}" + ("" if number is None else f", recording {number}")
            for step, stored in _read_steps(variable, part, number, place):
                if isinstance(stored, BadSource):
                    recording.skip(stored)
                    continue
                same = (recording.encoding, recording.limits) == (part.encoding, part.limits)
                values = stored if same else _physical(stored, part.encoding, part.limits)
                where = place if part.steps == 1 else f"{place}, time step {step}"
                time = stamps[start + step] if stamps else None
                yield Frame(values, time, where, position=None if stamps else start + step)


def find(name: str, members: Sequence[tuple[str, str]], read: ReadSpec, unpack: bool = True) -> list[Grid]:
    """Returns the sources in the gridded files of a folder.

    Files whose names differ in digits only are joined along time, if each continues the one before. A file with several
    time steps and no times, or with recordings (axis N), is a source of its own.

    Args:
        name: Unique name of the folder.
        members: Unique name and path of each file, in natural order.
        read: Options of reading.
        unpack: Whether files of different scales become physical values.

    Raises:
        BadSource: If the variable or an axis is not found.
    """
    patterns: dict[str, list[tuple[str, str]]] = {}
    for member in members:
        patterns.setdefault(re.sub(r"\d+", "#", os.path.basename(member[1])), []).append(member)
    variable = read.variable or gridded_files.only_variable(members[0][1])
    chains = [chain for files in patterns.values() for chain in _chains(files, variable, read)]
    return [
        Grid(
            name if len(chains) == 1 and len(chain) > 1 else chain[0][0],
            tuple(file for _, path in chain for file in gridded_files.files_in(path)),
            tuple(path for _, path in chain),
            variable,
            read,
            unpack,
        )
        for chain in chains
    ]


def _chains(members: list[tuple[str, str]], variable: str, read: ReadSpec) -> list[list[tuple[str, str]]]:
    """Groups files that are one recording."""
    first = _part(members[0][1], variable, read)
    if first.error is not None:
        raise first.error
    if "N" in first.layout.axes:
        return [[member] for member in members]
    if first.steps == 1:
        return [members]
    parts = {member: _part(member[1], variable, read) for member in members}
    # A file that cannot be read is a source of its own, so that its error does not hide the others.
    timed = [member for member in members if parts[member].times is not None and parts[member].error is None]
    timed.sort(key=lambda member: _start(parts[member]))
    spacing = np.median([step for member in timed for step in np.diff(_stamps(parts[member]))] or [0])
    chains = [[member] for member in members if member not in timed]
    for member in timed:
        before = chains[-1][-1] if chains else None
        if (
            before in parts
            and before in timed
            and 0 < _start(parts[member]) - _stamps(parts[before])[-1] <= _NEXT * spacing
        ):
            chains[-1].append(member)
        else:
            chains.append([member])
    return chains


def _stamps(part: _Part) -> tuple[int, ...]:
    return part.times.stamps if part.times else ()


def _start(part: _Part) -> int:
    return _stamps(part)[0]


def _in_time_order(parts: list[_Part]) -> list[_Part]:
    """Sorts files by their first time; an unreadable one stays after the file before it.

    Raises:
        BadSource: If the times of two files overlap.
    """
    earliest = min(_start(part) for part in parts if part.times)
    starts: list[int] = []
    for part in parts:
        starts.append(_start(part) if part.times else starts[-1] if starts else earliest)
    order = sorted(range(len(parts)), key=lambda number: starts[number])
    before: _Part | None = None
    for number in order:
        part = parts[number]
        if part.times is None:
            continue
        if before is not None and _start(part) <= _stamps(before)[-1]:
            raise BadSource(part.path, f"its times overlap those of {before.path}; convert them separately")
        before = part
    return [parts[number] for number in order]


def _part(path: str, name: str, read: ReadSpec) -> _Part:
    """Reads the header of a file; an error is kept, because the files before it make clips."""
    try:
        with open_variable(path, name) as variable:
            layout = find_layout(variable.dimensions, read.axes, read.select, f"{path}, {name}")
            shape = gridded_files.shape_of(variable.dimensions)
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
            part = _Part(path, None, layout, variable.encoding, variable.limits, times, shape, variable.ids)
            return part if times is None or len(times.stamps) == part.steps else dataclasses.replace(part, times=None)
    except BadSource as error:
        return _Part(path, error)


def _read_steps(
    variable: Variable, part: _Part, number: int | None, place: str
) -> Iterator[tuple[int, np.ndarray | BadSource]]:
    """Yields `(step, (height, width, channel))`, or why a step cannot be read. Reads several steps at once."""
    layout = part.layout
    index: list[int | slice] = [slice(None) if chosen is None else chosen for chosen in layout.index]
    if number is not None:
        index[layout.place("N")] = number
    letters = [letter for letter in layout.axes if letter != "N" or number is None]
    if "T" not in letters:
        yield 0, _try_read(variable, index, letters, place)
        return
    axis = layout.place("T")
    time = letters.index("T")
    frame_bytes = variable.stored.itemsize * part.size("H") * part.size("W") * part.size("C")
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


def _physical(values: np.ndarray, encoding: ValueEncoding, limits: ValueLimits) -> np.ndarray:
    """Returns physical values, with NaN for no data and -inf for nothing detected."""
    undetected = np.isin(values, limits.undetect)
    known = undetected | ((values >= limits.valid[0]) & (values <= limits.valid[1]))
    for fill in encoding.fill:
        known &= values != fill
    physical = values.astype(np.float64) * encoding.scale + encoding.offset
    physical[undetected] = -np.inf
    return np.where(known, physical, np.nan)
