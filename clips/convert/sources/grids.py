"""Reads gridded files: HDF5, NetCDF, Zarr and GRIB, one file per recording or several files joined along time."""

import collections
import dataclasses
import math
import os
import re
from collections.abc import Iterator, Sequence

import numpy as np

from framecast.clips.convert.sources import file_times
from framecast.clips.convert.sources.gridded import files as gridded_files
from framecast.clips.convert.sources.gridded.files import open_variable
from framecast.clips.convert.sources.gridded.steps import FileSteps, physical_values, read_header, read_steps
from framecast.clips.convert.sources.gridded.times import even_months
from framecast.clips.convert.sources.source import BadSource, Frame, Recording, ValueEncoding, ValueLimits
from framecast.clips.convert.spec import ReadSpec

SUFFIXES = gridded_files.SUFFIXES
PREFIXES = ("wrfout", "wrfinput", "wrfprs")  # WRF writes NetCDF files without a suffix.
BY_MONTHS = "recordings of whole months, spaced by the mean month"
_NEXT = 1.5  # Of the spacing: a file that starts later than this after another one is another recording.


@dataclasses.dataclass(frozen=True)
class Grid:
    """A variable over time, in one file or joined from several; or one recording per index of axis N.

    Args:
        name: Name of the source.
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
        parts = [read_header(path, self.variable, self.read) for path in self.paths]
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

    def _numbered(self, part: FileSteps) -> Iterator[Recording]:
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

    def _timed(self, parts: list[FileSteps]) -> tuple[list[FileSteps], list[int | None] | None, tuple[str, ...]]:
        """Returns the files in the order of time, the time of each step (None in unreadable files), and notes."""
        good = [part for part in parts if part.error is None]
        if self.read.time_format is not None:
            for part in good:
                if part.steps > 1:
                    received, fix = ("its own", "") if part.times else ("no", " and set --fps")
                    message = f"has {part.steps} time steps and {received} times; a file name gives one time"
                    raise BadSource(part.path, f"{self.variable} {message}: remove --time-format{fix}")
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
        return parts, [None if stamp is None else next(spaced) for stamp in stamps], (BY_MONTHS,)

    def _encoding(self, good: list[FileSteps]) -> tuple[ValueEncoding, ValueLimits]:
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

    def _frames(self, recording: Recording, parts: list[FileSteps], stamps: list[int | None] | None) -> Iterator[Frame]:
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
        part: FileSteps,
        stamps: Sequence[int | None] | None,
        start: int,
        number: int | None = None,
    ) -> Iterator[Frame]:
        """Yields the frames of one file; its first step is step `start` of the recording."""
        crop = recording.crop
        if crop is not None and (crop[0] + crop[2] > part.size("H") or crop[1] + crop[3] > part.size("W")):
            crop = None  # Whole frames, so that their size is reported.
        with open_variable(part.path, self.variable) as variable:
            place = f"{part.path}, {self.variable}" + ("" if number is None else f", recording {number}")
            for step, stored in read_steps(variable, part, number, place, crop):
                if isinstance(stored, BadSource):
                    recording.skip(stored)
                    continue
                same = (recording.encoding, recording.limits) == (part.encoding, part.limits)
                values = stored if same else physical_values(stored, part.encoding, part.limits)
                where = place if part.steps == 1 else f"{place}, time step {step}"
                time = stamps[start + step] if stamps else None
                position = None if stamps else start + step
                yield Frame(values, time, where, position, cropped=crop is not None)


def find(name: str, members: Sequence[tuple[str, str]], read: ReadSpec, unpack: bool = True) -> list[Grid]:
    """Returns the sources in the gridded files of a folder.

    Files whose names differ in digits only are joined along time, if each continues the one before; with `join`, all
    files are. A file with several time steps and no times, or with recordings (axis N), is a separate source.

    Args:
        name: Name of the folder.
        members: Name and path of each file, in natural order.
        read: Options of reading.
        unpack: Whether files of different scales become physical values.

    Raises:
        BadSource: If the variable or an axis is not found.
    """
    variables = _variables([path for _, path in members], read.variable)
    several = len(variables) > 1
    chains = [
        (variable, chain)
        for variable in variables
        for chain in ([[member] for member in members] if several else _chains(list(members), variable, read))
    ]
    if all(read_header(chain[0][1], variable, read).error for variable, chain in chains):
        raise next(filter(None, (read_header(chain[0][1], variable, read).error for variable, chain in chains)))
    return [
        Grid(
            (name if len(chain) > 1 else chain[0][0]) + (f"/{variable}" if several else ""),
            tuple(file for _, path in chain for file in gridded_files.files_in(path)),
            tuple(path for _, path in chain),
            variable,
            read,
            unpack,
        )
        for variable, chain in chains
    ]


def _variables(paths: Sequence[str], pattern: str | None) -> list[str]:
    """Returns the variables of the first file that can be read."""
    error: BadSource | None = None
    for path in paths:
        try:
            return gridded_files.find_variables(path, pattern)
        except BadSource as problem:
            error = error or problem
    assert error is not None
    raise error


def _chains(members: list[tuple[str, str]], variable: str, read: ReadSpec) -> list[list[tuple[str, str]]]:
    """Groups the files of a folder that are one recording."""
    if read.join:
        return [members]
    patterns: dict[str, list[tuple[str, str]]] = {}
    for member in members:
        patterns.setdefault(re.sub(r"\d+", "#", os.path.basename(member[1])), []).append(member)
    if 1 < len(patterns) == len(members):
        # Names such as jan.nc, feb.nc: single steps can only be one recording.
        headers = [read_header(path, variable, read) for _, path in members]
        if all(header.error is None and header.steps == 1 and header.times for header in headers):
            return [members]
    return [chain for files in patterns.values() for chain in _chains_of_pattern(files, variable, read)]


def _chains_of_pattern(members: list[tuple[str, str]], variable: str, read: ReadSpec) -> list[list[tuple[str, str]]]:
    """Groups files whose names differ in digits only."""
    headers = (read_header(path, variable, read) for _, path in members)
    first = next((header for header in headers if header.error is None), None)
    if first is None or "N" in first.layout.axes:
        return [[member] for member in members]
    if first.steps == 1:
        return [members]
    parts = {member: read_header(member[1], variable, read) for member in members}
    # A file that cannot be read is a separate source, so that its error does not hide the others.
    timed = sorted((member for member in members if parts[member].times), key=lambda member: parts[member].stamps[0])
    spacing = np.median([step for member in timed for step in np.diff(parts[member].stamps)] or [0])
    chains = [[member] for member in members if not parts[member].times]
    before: int | None = None  # Last time of the file before.
    for member in timed:
        start = parts[member].stamps[0]
        if before is not None and 0 < start - before <= _NEXT * spacing:
            chains[-1].append(member)
        else:
            chains.append([member])
        before = parts[member].stamps[-1]
    return chains


def _in_time_order(parts: list[FileSteps]) -> list[FileSteps]:
    """Sorts files by their first time; an unreadable one stays after the file before it.

    Raises:
        BadSource: If the times of two files overlap.
    """
    earliest = min(part.stamps[0] for part in parts if part.times)
    starts: list[int] = []
    for part in parts:
        starts.append(part.stamps[0] if part.times else starts[-1] if starts else earliest)
    order = sorted(range(len(parts)), key=lambda number: starts[number])
    before: FileSteps | None = None
    for number in order:
        part = parts[number]
        if part.times is None:
            continue
        if before is not None and part.stamps[0] <= before.stamps[-1]:
            raise BadSource(part.path, f"its times overlap those of {before.path}; convert them separately")
        before = part
    return [parts[number] for number in order]
