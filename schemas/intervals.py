"""Compares intervals between frames, in seconds, with a tolerance for jitter."""

import math
from collections.abc import Iterable, Sequence

# Relative. Estimated rates of one camera jitter by less, and the clip contract allows 1 % inside a clip.
_TOLERANCE = 0.05


def is_same_interval(interval: float, other: float) -> bool:
    """Checks whether two intervals are equal but for jitter."""
    return math.isclose(interval, other, rel_tol=_TOLERANCE)


def distinct_intervals(intervals: Iterable[float]) -> list[float]:
    """Returns the intervals, ascending, without those that equal a shorter one but for jitter."""
    distinct: list[float] = []
    for interval in sorted(intervals):
        if not distinct or not is_same_interval(interval, distinct[-1]):
            distinct.append(interval)
    return distinct


def other_intervals(expected: Sequence[float], received: Sequence[float]) -> str:
    """Compares the intervals of two models or configurations.

    Returns:
        `expected 300 s between frames, received 600 s`; empty if they have a common one, or one of them is unknown.
    """
    if not expected or not received or any(is_same_interval(own, one) for own in expected for one in received):
        return ""
    return f"expected {_seconds(expected)} between frames, received {_seconds(received)}"


def _seconds(intervals: Sequence[float]) -> str:
    return " or ".join(f"{interval:g} s" for interval in intervals)
