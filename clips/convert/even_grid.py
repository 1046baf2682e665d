"""Estimates the even grid that the timestamps of a recording are on, robustly against jitter, rounding and gaps."""

import dataclasses
from collections.abc import Sequence

import numpy as np

_MICROSECONDS = 1_000_000
_FIRST = 16  # Frames of the first estimate.
_REGULAR = 8  # Spacings after which the estimate of a run's rate is reliable.
_JITTER = 0.25  # Of the interval: errors of timestamps that even times do not follow.
_GAIN = 0.1  # Share of a larger error that one even time follows.
_NEAR = 0.2  # Relative difference between the first spacing of a run and a likely interval.
_SNAP = 0.05  # Largest relative difference between an estimated rate and the nominal or whole rate used for it.
SLEW = 0.005  # Of the interval: how much one even spacing may follow a drift; the clip contract allows 0.01.


@dataclasses.dataclass(frozen=True)
class EvenGrid:
    """Even times, in microseconds.

    Args:
        start: Time of the first frame.
        period: Interval between two frames.
        tolerance: Error of a timestamp by rounding.
    """

    start: float
    period: float
    tolerance: float

    def follow(self, even: float, following: int, slew: float) -> float | None:
        """Returns the even time of the frame after the one at `even`; None at a gap or another rate."""
        error = following - (even + self.period)
        if abs(error) > 0.5 * self.period + self.tolerance:
            return None
        drift = float(np.sign(error)) * max(abs(error) - _JITTER * self.period, 0.0)
        return even + self.period + float(np.clip(_GAIN * drift, -slew * self.period, slew * self.period))


def estimate_grid(times: Sequence[int], likely: Sequence[float | None], resolution: float) -> tuple[EvenGrid, bool]:
    """Estimates the even grid that the first of these increasing times are on, robustly against jitter and gaps.

    Args:
        times: Timestamps in microseconds, at least one.
        likely: Rates to prefer to the estimate where the times do not exclude them, best first.
        resolution: Largest rounding error of the times, in microseconds.

    Returns:
        The grid, and whether enough times are on it for a reliable rate.
    """
    stamps = np.asarray(times, np.int64)
    known = [rate for rate in likely if rate is not None]
    if len(stamps) < 2:
        return EvenGrid(float(stamps[0]), _MICROSECONDS / (known or [1.0])[0], 0.0), False
    # Half the distance of every second frame is not affected by alternating jitter.
    halves = (stamps[2:] - stamps[:-2])[:5] / 2 if len(stamps) > 2 else np.diff(stamps)
    period = float(np.median(halves))
    for interval in (_MICROSECONDS / rate for rate in known):
        if abs(stamps[1] - stamps[0] - interval) <= _NEAR * interval:
            period = interval
            break
    grid = _grid(float(stamps[0]) + _offset(stamps[:6], period), period, resolution)
    count = min(_on_grid(stamps, grid), _FIRST)
    if count > 2:
        grid = _grid(*_fit(stamps[:count]), resolution)
        count = max(count, _on_grid(stamps, grid))
    if count < 2:
        return _grid(float(stamps[0]), period, resolution), False
    # The last frames before a change of rate can be off by half an interval.
    fitted = stamps[: count if count == len(stamps) or count < _REGULAR else count - 3]
    start, period = _fit(fitted)
    errors = np.abs(fitted - (start + np.arange(len(fitted)) * period))
    # Three standard errors of a fitted slope, for errors of this size.
    doubt = 10 * float(errors.max()) / len(fitted) ** 1.5 + 2 / (len(fitted) - 1)
    period = _snapped(period, known, min(doubt, _SNAP * period))
    offset = _offset(fitted, period)
    offset = 0.0 if abs(offset) <= 0.01 * period else offset
    return _grid(float(stamps[0]) + offset, period, resolution), count > _REGULAR


def _offset(stamps: np.ndarray, period: float) -> float:
    """Returns the mean difference between the times and a grid from the first; times after a gap do not count."""
    errors = stamps - stamps[0] - np.arange(len(stamps)) * period
    return float(np.clip(errors[np.abs(errors) <= 0.7 * period].mean(), -0.5 * period, 0.5 * period))


def _grid(start: float, period: float, resolution: float) -> EvenGrid:
    return EvenGrid(start, period, min(resolution, period / 4))


def _on_grid(stamps: np.ndarray, grid: EvenGrid) -> int:
    """Returns the number of first times that are on the grid."""
    even = grid.start
    for count in range(1, len(stamps)):
        following = grid.follow(even, int(stamps[count]), SLEW)
        if following is None:
            return count
        even = following
    return len(stamps)


def _fit(stamps: np.ndarray) -> tuple[float, float]:
    """Returns start and period of the line through the times."""
    steps = np.arange(len(stamps))
    period = float(stamps[-1] - stamps[0]) / (len(stamps) - 1)
    if np.abs(stamps - (stamps[0] + steps * period)).max() <= 1:
        return float(stamps[0]), period
    offsets = (stamps - stamps[0]).astype(float)
    period, start = np.polyfit(steps, offsets, 1)
    return float(stamps[0]) + float(start), float(period)


def _snapped(period: float, likely: Sequence[float], doubt: float) -> float:
    """Returns the interval of a likely, whole or NTSC rate within the estimate's error, or else the estimate."""
    rate = _MICROSECONDS / period
    whole = max(round(rate), 1)
    ntsc = max(round(rate * 1.001), 1) / 1.001
    others = sorted((whole, ntsc), key=lambda other: abs(other - rate))
    for candidate in [*likely, *others]:
        if abs(_MICROSECONDS / candidate - period) <= doubt:
            return _MICROSECONDS / candidate
    return period
