"""Reads times from file names."""

import datetime
import os
import re
from collections.abc import Sequence

import numpy as np

from framecast.clips.convert.sources.source import BadSource

_MICROSECONDS = 1_000_000
_EPOCH = datetime.datetime(1970, 1, 1)
# Width of each supported strptime directive; directives of variable width are not supported.
_WIDTHS = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2, "j": 3, "y": 2, "f": 6}


def times_in_names(paths: Sequence[str], time_format: str | None) -> list[int] | None:
    """Returns the times in file names, in microseconds since 1970 (UTC); None without a format.

    Args:
        paths: The files.
        time_format: A strptime format with fixed-width directives.

    Raises:
        BadSource: If a name does not have exactly one time.
        ValueError: If the format has an unsupported directive.
    """
    if time_format is None:
        return None
    return [split_time(path, time_format)[0] for path in paths]


def split_time(path: str, time_format: str) -> tuple[int, str]:
    """Returns the time in a file name, in microseconds since 1970 (UTC), and the name without it.

    Raises:
        BadSource: If the name does not have exactly one time.
        ValueError: If the format has an unsupported directive.
    """
    name = os.path.basename(path)
    found = []
    for match in re.finditer(_pattern(time_format), name):
        try:
            time = datetime.datetime.strptime(match.group(1), time_format)
        except ValueError:
            continue
        found.append((time, name[: match.start(1)] + name[match.end(1) :]))
    if len(found) != 1:
        expected = f"expected one time of format {time_format} in the file name"
        raise BadSource(path, f"{expected}, received {len(found) or 'none'}")
    ((time, rest),) = found
    return round((time - _EPOCH) / datetime.timedelta(microseconds=1)), rest


def median_rate(stamps: Sequence[int]) -> float | None:
    """Returns the frame rate of the median spacing of times; None for fewer than two times."""
    spacing = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 0.0
    return _MICROSECONDS / spacing if spacing > 0 else None


def _pattern(time_format: str) -> str:
    """Returns a regular expression whose group 1 is a time without a digit before or after."""
    parts = []
    position = 0
    for match in re.finditer(r"%(.)", time_format):
        width = _WIDTHS.get(match.group(1))
        if width is None:
            known = " ".join(f"%{letter}" for letter in _WIDTHS)
            raise ValueError(f"time format {time_format}: expected {known}, received %{match.group(1)}")
        parts += [re.escape(time_format[position : match.start()]), rf"\d{{{width}}}"]
        position = match.end()
    parts.append(re.escape(time_format[position:]))
    # The lookahead allows overlapping matches.
    return rf"(?<!\d)(?=({''.join(parts)})(?!\d))"
