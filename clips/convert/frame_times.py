"""Finds runs of evenly spaced frames in a recording from the frames' timestamps.

    for run in even_runs(frames, nominal=25.0, resolution=0.0, fps=None, place="a.mp4", tally=tally):
        for item in run.items:
            ...

A run ends at a gap (a spacing of more than 1.5 intervals), and where the frame rate changes. Timestamps may be off by
half an interval, and by the rounding error of the container. Up to 64 frames are held in memory, to estimate the rate.
"""

import collections
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from framecast.clips.convert.even_grid import SLEW, EvenGrid, estimate_grid
from framecast.clips.convert.sources.source import BadSource, Frame

_MICROSECONDS = 1_000_000
_AHEAD = 64  # Frames whose timestamps give the rate of a run.
_AHEAD_LEAST = 9
_AHEAD_BYTES = 128 << 20
_SAME = 0.009  # Relative difference of two rates that the contract's 1 % of a spacing can absorb.
NOT_WANTED = "frames not at the rate wanted"
TOO_SLOW = "frames slower than --fps"
REPEATED = "frames repeated to reach --fps"
EVENED = "frames with uneven times, moved by at most half an interval"


@dataclasses.dataclass(frozen=True)
class TimedFrame:
    """A frame with its times.

    Args:
        index: Position in the recording, or among the resampled frames.
        time: Timestamp in microseconds.
        even: Time on the even grid of the run, in microseconds.
        frame: The frame.
    """

    index: int
    time: int
    even: float
    frame: Frame


@dataclasses.dataclass(frozen=True)
class Run:
    """Frames without a gap.

    Args:
        rate: Frames per second.
        items: The frames; consume them before the next run.
    """

    rate: float
    items: Iterator[TimedFrame]


def even_runs(
    frames: Iterator[Frame],
    *,
    nominal: float | None,
    resolution: float,
    fps: float | None,
    place: str,
    tally: collections.Counter[str],
) -> Iterator[Run]:
    """Yields the runs of a recording.

    Args:
        frames: The frames.
        nominal: Frame rate that the source declares, if any. It is the rate of frames without timestamps; otherwise it
            only replaces an estimate that equals it within the precision of the timestamps.
        resolution: Largest rounding error of the timestamps, in microseconds.
        fps: Requested frame rate, if any. Runs of this rate keep each frame; faster ones are resampled.
        place: The recording, for messages.
        tally: Receives the counts `gaps`, NOT_WANTED, TOO_SLOW, REPEATED and EVENED.

    Raises:
        BadSource: If the rate is unknown or lower than requested, or if times do not increase.
    """
    ahead = _Ahead(frames)
    first = ahead.peek()
    if first is None:
        return
    if first.time is None:
        rate = fps or nominal
        if rate is None:
            raise BadSource(place, "the frames have no times; set their rate (--fps)")
        yield from _positioned_runs(ahead, rate, tally)
        return
    yield from _RunFinder(ahead, nominal, resolution, fps, place, tally).runs()


def _positioned_runs(ahead: "_Ahead", rate: float, tally: collections.Counter[str]) -> Iterator[Run]:
    """Yields the runs of frames without times; a run ends where a position is missing."""
    before = -1

    def position(frame: Frame) -> int:
        return before + 1 if frame.position is None else frame.position

    def items() -> Iterator[TimedFrame]:
        nonlocal before
        while True:
            frame = ahead.pop()
            before = position(frame)
            time = before * _MICROSECONDS / rate
            yield TimedFrame(before, round(time), time, frame)
            following = ahead.peek()
            if following is None or position(following) != before + 1:
                return

    while ahead.peek() is not None:
        yield Run(rate, items())
        tally["gaps"] += ahead.peek() is not None


class _Ahead:
    """Reads frames ahead; an error is raised after the frames before it have been taken."""

    def __init__(self, frames: Iterator[Frame]):
        self._frames = _increasing(frames)
        self._buffer: collections.deque[Frame] = collections.deque()
        self._bytes = 0
        self._error: BadSource | None = None
        self._ended = False

    def peek(self) -> Frame | None:
        """Returns the next frame; None at the end."""
        self._fill(1)
        if self._buffer:
            return self._buffer[0]
        if self._error is not None:
            raise self._error
        return None

    def pop(self) -> Frame:
        """Takes the next frame."""
        frame = self._buffer.popleft()
        self._bytes -= frame.values.nbytes
        return frame

    def times(self) -> list[int]:
        """Returns the timestamps of the next frames."""
        self._fill(_AHEAD)
        return [frame.time for frame in self._buffer if frame.time is not None]

    def _fill(self, count: int) -> None:
        while not self._ended and len(self._buffer) < count:
            if len(self._buffer) >= _AHEAD_LEAST and self._bytes >= _AHEAD_BYTES:
                return
            try:
                frame = next(self._frames)
            except StopIteration:
                self._ended = True
            except BadSource as error:
                self._error = error
                self._ended = True
            else:
                self._buffer.append(frame)
                self._bytes += frame.values.nbytes


def _increasing(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Checks that all frames have increasing times, or none has a time."""
    before: Frame | None = None
    for frame in frames:
        if before is not None and (frame.time is None) != (before.time is None):
            has, had = ("no time", "times") if frame.time is None else ("a time", "none")
            raise BadSource(frame.place, f"the frame has {has}, but the frames before it have {had}")
        if before is not None and frame.time is not None and before.time is not None and frame.time <= before.time:
            raise BadSource(frame.place, f"expected a time after {before.time} us, received {frame.time} us")
        before = frame
        yield frame


class _RunFinder:
    """Divides the frames of one recording into runs."""

    def __init__(
        self,
        ahead: _Ahead,
        nominal: float | None,
        resolution: float,
        fps: float | None,
        place: str,
        tally: collections.Counter[str],
    ):
        self._ahead = ahead
        self._nominal = nominal
        self._resolution = resolution
        self._fps = fps
        self._place = place
        self._tally = tally
        self._index = 0  # Of the next frame in the recording.
        self._emitted = 0  # Resampled frames.
        self._latest: float | None = None  # Rate of the run before.

    def runs(self) -> Iterator[Run]:
        """Yields the runs."""
        found = fastest = 0.0
        while self._ahead.peek() is not None:
            times = self._ahead.times()
            if len(times) == 1 and not found and self._fps is None and self._nominal is None:
                raise BadSource(self._place, "one frame has no rate; set it (--fps)")
            grid, regular = estimate_grid(times, (self._fps, self._nominal, self._latest), self._resolution)
            rate = float(f"{_MICROSECONDS / grid.period:.12g}")  # 30.0, not 29.999999999999996.
            if self._fps is not None and not regular and abs(rate / self._fps - 1) > _SAME:
                rate = _mean_rate(times, self._fps, self._resolution) or rate
            # One last frame has no spacing; it belongs to the frames before it.
            if (fastest and len(times) == 1) or self._is_slow(rate):
                fastest = max(fastest, rate) if len(times) > 1 else fastest
                self._skip_slow(found > 0, rate)
                continue
            found += 1
            yield self._run(grid, rate)
            self._latest = self._fps or rate
            self._tally["gaps"] += self._ahead.peek() is not None
        if not found and self._fps is not None:
            raise _too_slow(self._place, self._fps, fastest)

    def _run(self, grid: EvenGrid, rate: float) -> Run:
        if self._fps is None:
            return Run(rate, self._even(grid, SLEW))
        if abs(rate / self._fps - 1) <= _SAME:
            return Run(self._fps, self._even(dataclasses.replace(grid, period=_MICROSECONDS / self._fps), _SAME))
        return Run(self._fps, self._resampled(rate))

    def _is_slow(self, rate: float) -> bool:
        return self._fps is not None and rate < self._fps * (1 - _SAME)

    def _skip_slow(self, found: bool, rate: float) -> None:
        """Leaves out a frame of a part that is slower than requested."""
        assert self._fps is not None
        if not found and self._nominal is not None and self._is_slow(self._nominal):
            raise _too_slow(self._place, self._fps, rate)
        self._ahead.pop()
        self._index += 1
        self._tally[TOO_SLOW] += 1

    def _even(self, grid: EvenGrid, slew: float) -> Iterator[TimedFrame]:
        """Yields each frame of a run once, with its time on the even grid."""
        even = grid.start
        while True:
            item = self._take(even)
            exact = max(0.01 * grid.period, self._resolution) + 1  # Microsecond for rounding.
            self._tally[EVENED] += abs(item.time - even) > exact
            yield item
            frame = self._ahead.peek()
            if frame is None or frame.time is None:
                return
            following = grid.follow(even, frame.time, slew)
            if following is None:
                return
            even = following

    def _take(self, even: float | None = None) -> TimedFrame:
        frame = self._ahead.pop()
        assert frame.time is not None
        self._index += 1
        return TimedFrame(self._index - 1, frame.time, frame.time if even is None else even, frame)

    def _resampled(self, source_rate: float) -> Iterator[TimedFrame]:
        """Yields the nearest frame for each time of a grid of the requested rate, up to a gap at that rate."""
        assert self._fps is not None
        period = _MICROSECONDS / self._fps
        # Half an interval, and what jitter adds to it.
        reach = 0.5 * period + 0.25 * min(period, _MICROSECONDS / source_rate) + min(self._resolution, period / 4)
        before = item = self._take()
        start, step, used = item.time, 0, -1
        while True:
            self._tally[NOT_WANTED] += 1
            while (wanted := start + round(step * period)) <= item.time:
                nearest = min(before, item, key=lambda near: abs(near.time - wanted))
                yield self._at(wanted, nearest, used)
                used, step = nearest.index, step + 1
            frame = self._ahead.peek()
            if frame is None or frame.time is None or _far(wanted, period, item.time, frame.time, reach):
                break
            before, item = item, self._take()
        # The last frame is shown as long as the one before it.
        if used != item.index and wanted - item.time <= (item.time - before.time) / 2:
            yield self._at(wanted, item, used)

    def _at(self, wanted: int, nearest: TimedFrame, used: int) -> TimedFrame:
        self._tally[REPEATED if nearest.index == used else NOT_WANTED] += 1 if nearest.index == used else -1
        self._emitted += 1
        return TimedFrame(self._emitted - 1, wanted, wanted, nearest.frame)


def _far(wanted: float, period: float, time: int, following: int, reach: float) -> bool:
    """Returns whether a wanted time from `wanted` up to the following frame is out of reach of both frames."""
    while wanted <= following:
        if min(wanted - time, following - wanted) > reach:
            return True
        wanted += period
    return False


def _too_slow(place: str, fps: float, rate: float) -> BadSource:
    return BadSource(place, f"expected at least {fps:g} frames per second (--fps), received {rate:g}; lower --fps")


def _mean_rate(times: Sequence[int], fps: float, resolution: float) -> float | None:
    """Returns the mean rate of the first times without a gap at the requested rate; None without two such times."""
    spacings = np.diff(times)
    gaps = np.flatnonzero(spacings > 1.5 * _MICROSECONDS / fps + resolution)
    count = int(gaps[0]) if len(gaps) else len(spacings)
    return _MICROSECONDS / float(np.mean(spacings[:count])) if count else None
