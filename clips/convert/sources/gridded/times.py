"""Decodes time coordinates to microseconds: numbers with CF units in any calendar, and text.

Times count from 1970-01-01 in the coordinate's own calendar, so that days of a noleap calendar are evenly spaced.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from framecast.clips.convert.sources.source import BadSource

_SECOND = 1_000_000
_UNITS = {
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1e-3),
    **dict.fromkeys(("us", "microsec", "microsecs", "microsecond", "microseconds"), 1),
    **dict.fromkeys(("ms", "msec", "msecs", "millisec", "millisecs", "millisecond", "milliseconds"), 1000),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), _SECOND),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60 * _SECOND),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600 * _SECOND),
    **dict.fromkeys(("d", "day", "days"), 86_400 * _SECOND),
    **dict.fromkeys(("week", "weeks"), 7 * 86_400 * _SECOND),
}
_MONTHS = {**dict.fromkeys(("month", "months"), 1), **dict.fromkeys(("year", "years"), 12)}
_MONTH = 2_629_746 * _SECOND  # Mean month of the Gregorian calendar.
_SHORTEST_MONTH = 27 * 86_400 * _SECOND
TEXT_KINDS = "SUOT"  # T is that of NumPy 2's text of any length.
_UNEVEN = 0.01  # Of the spacing; the clip contract allows the same.
_TEXT = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:[T_ ]?(\d\d):?(\d\d)(?::?(\d\d)(\.\d+)?)?)?(?:Z|\s*UTC)?")


@dataclasses.dataclass(frozen=True)
class StepTimes:
    """Times of the steps of a variable.

    Args:
        stamps: Microseconds, one per step.
        resolution: Largest rounding error of a time, in microseconds.
        calendar: CF name of the calendar; "none" for times from any origin, such as forecast steps.
    """

    stamps: tuple[int, ...]
    resolution: float = 0.0
    calendar: str = "standard"


def is_time_unit(unit: Any) -> bool:
    """Returns whether a CF unit is one of a time coordinate, such as `hours since 2020-01-01`."""
    return isinstance(unit, str) and re.match(r"\s*(\w+\s+since\s+\S|day as %Y)", unit, re.IGNORECASE) is not None


def decode(values: np.ndarray, unit: Any, calendar: Any, place: str) -> StepTimes | None:
    """Decodes the values of a time coordinate.

    Args:
        values: Numbers, text or dates of NumPy.
        unit: CF unit.
        calendar: CF calendar; by default `standard`.
        place: File and variable, for messages.

    Returns:
        The times; None if the values are neither dates, text of times nor numbers with a known unit.

    Raises:
        BadSource: If a time is missing, or the unit's calendar is unknown.
    """
    values = np.asarray(values).reshape(-1)
    if values.dtype.kind in TEXT_KINDS:
        return _from_text(values)
    if values.dtype.kind == "M":
        if np.isnat(values).any():
            raise BadSource(place, "expected times, received NaT")
        return StepTimes(tuple(values.astype("datetime64[us]").astype(np.int64).tolist()))
    if values.dtype.kind not in "iuf" or not isinstance(unit, str):
        return None
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise BadSource(place, f"expected times, received {values[~np.isfinite(values)][0]}")
    if re.fullmatch(r"\s*day as %Y%m%d(\.%f)?\s*", unit):
        return _from_dates(values)
    name, since, reference = re.match(r"\s*(\w*)\s*(since\b)?\s*(.*)", unit, re.IGNORECASE).groups()  # type: ignore[union-attr]
    name = name.lower()
    if not since:
        if name not in _UNITS or reference:
            return None
        return StepTimes(*_scaled(values, _UNITS[name]), "none")
    if name not in _UNITS and name not in _MONTHS:
        return None
    calendar = str(calendar or "standard").lower()
    try:
        origin = _since_epoch(reference, calendar)
    except ValueError as error:
        raise BadSource(place, f"cannot read the time unit {unit!r} with the calendar {calendar}: {error}") from error
    if name in _MONTHS:
        months = values.astype(np.float64) * _MONTHS[name]
        first = _month_number(origin, calendar)
        return StepTimes(tuple(round((first + month) * _MONTH) for month in months), 0.0, "months")
    stamps, resolution = _scaled(values, _UNITS[name])
    return StepTimes(tuple(origin + stamp for stamp in stamps), resolution, calendar)


def even_months(stamps: Sequence[int], calendar: str) -> list[int] | None:
    """Returns times a mean month apart for steps of whole months; None for other steps.

    Months differ in length by more than the frames of a clip may. A month without a step stays a gap.
    """
    spacings = np.diff(stamps)
    if len(spacings) < 2 or calendar in ("none", "months") or (spacings <= 0).any():
        return None
    middle = float(np.median(spacings))
    if middle < _SHORTEST_MONTH or (np.abs(spacings - middle) <= _UNEVEN * middle).all():
        return None
    months = [_month_number(stamp, calendar) for stamp in stamps]
    return [month * _MONTH for month in months] if len(set(months)) == len(months) else None


def _scaled(values: np.ndarray, unit: float) -> tuple[tuple[int, ...], float]:
    """Returns microseconds and their largest rounding error; integers are exact."""
    if values.dtype.kind in "iu" and unit >= 1:
        return tuple(int(value) * int(unit) for value in values), 0.0
    largest = np.abs(values).max() if values.size else values.dtype.type(0)
    error = float(np.spacing(largest)) * unit if values.dtype.kind == "f" else 0.0
    return tuple(int(stamp) for stamp in np.rint(values.astype(np.longdouble) * unit)), error if error > 1 else 0.0


def _since_epoch(reference: str, calendar: str) -> int:
    import cftime

    date = cftime.num2date(0, f"seconds since {reference}", calendar)
    return round((date - cftime.datetime(1970, 1, 1, calendar=calendar)) / np.timedelta64(1, "us").item())


def _month_number(stamp: int, calendar: str) -> int:
    import cftime

    date = cftime.num2date(stamp // _SECOND, "seconds since 1970-01-01", calendar)
    return 12 * date.year + date.month - 1


def _from_text(values: np.ndarray) -> StepTimes | None:
    stamps = []
    for value in values:
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        found = _TEXT.fullmatch(text.strip("\0 "))
        if found is None:
            return None
        year, month, day, hour, minute, second, part = found.groups()
        try:
            moment = np.datetime64(f"{year}-{month}-{day}T{hour or '00'}:{minute or '00'}:{second or '00'}{part or ''}")
        except ValueError:
            return None
        stamps.append(int(moment.astype("datetime64[us]").astype(np.int64)))
    return StepTimes(tuple(stamps)) if stamps else None


def _from_dates(values: np.ndarray) -> StepTimes | None:
    """Decodes numbers such as 20200131.25: the date, and the share of the day."""
    dates = _from_text(np.array([f"{int(value):08d}" for value in values]))
    if dates is None:
        return None
    # Eight digits before the point leave a double a few milliseconds.
    shares = [round(float(value % 1) * 86_400) * _SECOND for value in values]
    return StepTimes(tuple(stamp + share for stamp, share in zip(dates.stamps, shares, strict=True)))
