"""Intervals between frames: equal but for jitter, and named if not."""

import pytest

from framecast.schemas.intervals import distinct_intervals, is_same_interval, other_intervals


@pytest.mark.parametrize(
    ("interval", "other", "same"),
    [
        (300, 300.02, True),
        (1 / 30, 1001 / 30_000, True),  # NTSC.
        (1 / 15, 1 / 14.5, True),  # An estimated rate.
        (300, 360, False),
        (1 / 25, 1 / 30, False),
        (300, 600, False),
    ],
)
def test_jitter_is_no_difference(interval, other, same):
    assert is_same_interval(interval, other) is same
    assert is_same_interval(other, interval) is same


def test_distinct_intervals_drop_jitter():
    assert distinct_intervals([600, 300, 301, 0.04, 598]) == [0.04, 300, 598]


def test_unknown_intervals_are_not_compared():
    assert other_intervals([], [600]) == other_intervals([300], []) == other_intervals([300, 600], [601]) == ""
    assert other_intervals([300, 60], [600]) == "expected 300 s or 60 s between frames, received 600 s"
