"""Groups the images of a folder into recordings by their names, and finds missing numbers."""

import collections
import dataclasses
import datetime
import itertools
import os
import re
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from framecast.clips.convert.sources import file_times
from framecast.clips.convert.sources.source import BadSource

_DATE = (
    r"(?<!\d)(?:19|20)\d\d([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])"
    r"(?:[-_.T ]?(?:[01]\d|2[0-3])[-_.:]?[0-5]\d(?:[-_.:]?[0-5]\d)?)?(?!\d)"
)
_DATE_DIGITS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_EPOCH = datetime.datetime(1970, 1, 1)
_SAME_SUFFIX = {".jpeg": ".jpg", ".tiff": ".tif"}


@dataclasses.dataclass(frozen=True)
class NamedSequence:
    """Images of one recording.

    Args:
        label: Part of the names that all files share.
        files: The files, in order.
        positions: Index of each frame, counting missing ones; None if the names have times.
    """

    label: str
    files: tuple[str, ...]
    positions: tuple[int, ...] | None


@dataclasses.dataclass(frozen=True)
class _Name:
    path: str
    template: str
    numbers: tuple[int, ...]
    dates: tuple[bool, ...]  # Whether each number is a date.


def natural_key(name: str) -> list[Any]:
    """Returns a sort key that orders numbers in names by value."""
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def split_suffix(path: str) -> tuple[str, str]:
    """Returns the stem and the suffix of a file's name; `.gz` belongs to the suffix."""
    name = os.path.basename(path)
    zipped = ".gz" if name.lower().endswith(".gz") else ""
    stem, suffix = os.path.splitext(name[: len(name) - len(zipped)])
    return stem, (_SAME_SUFFIX.get(suffix.lower(), suffix.lower())) + zipped


def check_stems(folder: str, files: Sequence[str]) -> None:
    """Checks that a folder has each frame in one format.

    Raises:
        ValueError: If two files differ only in their suffix.
    """
    by_stem: dict[str, str] = {}
    for path in files:
        other = by_stem.setdefault(split_suffix(path)[0], path)
        if other != path:
            names = f"{os.path.basename(other)} and {os.path.basename(path)}"
            pattern = os.path.join(folder, f"*{os.path.basename(path)[len(split_suffix(path)[0]) :]}")
            raise ValueError(f"{folder}: {names} are the same frame in two formats; give one, such as '{pattern}'")


def group(files: Sequence[str], time_format: str | None) -> list[NamedSequence]:
    """Groups the images of one folder.

    Files belong together if their names differ only in the time, or else in the last number that varies.

    Args:
        files: The files.
        time_format: A strptime format of the time in file names.

    Raises:
        BadSource: If two files have the same number.
    """
    if time_format is not None:
        return list(_by_time(files, time_format))
    templates = collections.defaultdict(list)
    for path in files:
        templates[_named(path, dated=False).template].append(path)
    sequences: list[NamedSequence] = []
    for members in templates.values():
        names = [_named(path, dated=True) for path in members]
        if len({name.template for name in names}) > 1 or not any(names[0].dates):
            names = [_named(path, dated=False) for path in members]
        sequences += _by_number(names)
    return sequences


def _by_time(files: Sequence[str], time_format: str) -> Iterator[NamedSequence]:
    rests: dict[tuple[str, str], list[tuple[int, str]]] = collections.defaultdict(list)
    for path in files:
        try:
            time, rest = file_times.split_time(path, time_format)
        except BadSource:
            yield NamedSequence(os.path.basename(path), (path,), None)  # The error is raised when the file is read.
            continue
        rests[split_suffix(rest)].append((time, path))
    if len(rests) > 1 and all(len(members) == 1 for members in rests.values()):
        # A number that differs in every file is a counter.
        counted: dict[tuple[str, str], list[tuple[int, str]]] = collections.defaultdict(list)
        for (stem, suffix), members in rests.items():
            counted[re.sub(r"\d+", "#", stem), suffix] += members
        rests = counted
    for (stem, _), members in rests.items():
        yield NamedSequence(_label(stem), tuple(path for _, path in sorted(members)), None)


def _named(path: str, dated: bool) -> _Name:
    stem, suffix = split_suffix(path)
    numbers: list[int] = []
    dates: list[bool] = []

    def replace(match: re.Match[str]) -> str:
        digits = re.sub(r"\D", "", match.group())
        if dated and digits.startswith(("19", "20")) and len(digits) in _DATE_DIGITS:
            try:
                time = datetime.datetime.strptime(digits, _DATE_DIGITS[len(digits)])
            except ValueError:
                pass
            else:
                numbers.append(round((time - _EPOCH).total_seconds()))
                dates.append(True)
                return "@"
        numbers.append(int(digits))
        dates.append(False)
        return "#"

    template = re.sub(_pattern(dated), replace, stem) + suffix
    return _Name(path, template, tuple(numbers), tuple(dates))


def _by_number(names: Sequence[_Name]) -> Iterator[NamedSequence]:
    columns = list(zip(*(name.numbers for name in names), strict=True))
    varying = [at for at, column in enumerate(columns) if len(set(column)) > 1]
    for at in reversed(varying):
        groups = collections.defaultdict(list)
        for name in names:
            groups[tuple(name.numbers[other] for other in varying if other != at)].append(name)
        if any(len(members) > 1 for members in groups.values()):
            for members in groups.values():
                yield _numbered(members, at)
            return
    # Every number differs in every file, so that the first one that counts orders them.
    distinct = [at for at in varying if len(set(columns[at])) == len(names)]
    if distinct:
        yield _numbered(names, distinct[0])
    else:
        for name in names:
            yield _numbered([name], None)


def _numbered(names: Sequence[_Name], at: int | None) -> NamedSequence:
    if at is None or len(names) == 1:
        return NamedSequence(_label(split_suffix(names[0].path)[0]), (names[0].path,), (0,))
    names = sorted(names, key=lambda name: (name.numbers[at], name.path))
    steps = [later.numbers[at] - earlier.numbers[at] for earlier, later in itertools.pairwise(names)]
    if 0 in steps:
        first, second = names[steps.index(0)].path, names[steps.index(0) + 1].path
        raise BadSource(second, f"its number is also that of {os.path.basename(first)}; remove one")
    positions = [0]
    for step in _in_frames(steps, dated=names[0].dates[at]):
        positions.append(positions[-1] + step)
    return NamedSequence(_label(_without(names[0], at)), tuple(name.path for name in names), tuple(positions))


def _in_frames(steps: Sequence[int], dated: bool) -> list[int]:
    """Returns the distances of frames, 1 where none is missing, from those of their numbers or times."""
    if dated:  # Months and readings of a clock are not quite even.
        usual = statistics.median_low(steps)
        return [max(1, round(step / usual)) for step in steps]
    counts = collections.Counter(steps)
    usual = min(counts, key=lambda step: (-counts[step], step))
    return [step // usual if step % usual == 0 else step // usual + 2 for step in steps]


def _without(name: _Name, at: int) -> str:
    """Returns the stem of a name without one of its numbers."""
    stem = split_suffix(name.path)[0]
    match = list(re.finditer(_pattern(any(name.dates)), stem))[at]
    return stem[: match.start()] + stem[match.end() :]


def _pattern(dated: bool) -> str:
    return rf"{_DATE}|\d+" if dated else r"\d+"


def _label(stem: str) -> str:
    return re.sub(r"^[-_. #]+|[-_. #]+$", "", stem)
