"""Cuts a stream of frames into segments, one per clip.

for segment in cut(frames, rate=25.0, clip_rate=25.0, resolution=0.0, spec=CutSpec(), tally=tally):
    ...

Holds the frames of one clip in memory.
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterator

from framecast.clips.convert.sources.source import BadSource, Frame
from framecast.clips.convert.spec import CutSpec

_MICROSECONDS = 1_000_000
_TOLERANCE = 0.01  # Of the frame spacing; the clip contract allows the same.
_ROUNDING = 1  # Microseconds that rounding times to integers can change a spacing by.
_REACH = 0.75  # Of the frame spacing: bridges a varying frame rate, but not a lost frame.
_RATE_FRAMES = 64  # Frames whose median spacing gives the rate, if the source has none.


@dataclasses.dataclass
class Segment:
    """The frames of one clip.

    Args:
        piece: Index of the recording's piece (`recording_seconds`).
        index: Index of the first frame in the recording.
        times: Microseconds, evenly spaced.
        frames: The frames.
    """

    piece: int
    index: int
    times: list[int]
    frames: list[Frame]


@dataclasses.dataclass(frozen=True)
class _Timed:
    index: int
    time: int
    frame: Frame


def frame_rate(
    frames: Iterator[Frame], rate: float | None, fps: float | None, place: str
) -> tuple[Iterator[Frame], float | None, float]:
    """Determines the frame rates of a recording and of its clips.

    Args:
        frames: The frames.
        rate: Frame rate of the source, if known.
        fps: Requested frame rate.
        place: The recording, for messages.

    Returns:
        The frames, the rate of their times (None without times), and the rate of the clips.

    Raises:
        BadSource: If the rate is unknown, or lower than requested.
    """
    first = list(itertools.islice(frames, 1))
    if not first or first[0].time is None:
        clip_rate = fps or rate
        if clip_rate is None:
            raise BadSource(place, "the frames have no times; set their rate (--fps)")
        return itertools.chain(first, frames), None, clip_rate
    if rate is None:
        # Frames are read ahead only here, so that frames before a damaged one still make clips.
        first += itertools.islice(frames, _RATE_FRAMES)
        stamps = [frame.time for frame in first if frame.time is not None]
        spacings = sorted(later - earlier for earlier, later in itertools.pairwise(stamps))
        spacing = spacings[len(spacings) // 2] if spacings else 0
        if spacing <= 0:
            raise BadSource(place, f"expected increasing times of at least two frames, received {_few(stamps)}")
        rate = _MICROSECONDS / spacing
    if fps is not None and fps > rate * (1 + _TOLERANCE):
        raise BadSource(place, f"expected at least {fps:g} frames per second (--fps), received {rate:g}")
    return itertools.chain(first, frames), rate, fps or rate


def cut(
    frames: Iterator[Frame],
    *,
    rate: float | None,
    clip_rate: float,
    resolution: float,
    spec: CutSpec,
    tally: collections.Counter[str],
) -> Iterator[Segment]:
    """Yields the segments of a recording.

    Args:
        frames: The frames.
        rate: Frame rate of the times; None without times.
        clip_rate: Frame rate of the clips; if below `rate`, the nearest frame in time is used.
        resolution: Largest error of a frame's time, in microseconds.
        spec: Clip lengths, stride and pieces.
        tally: Receives the counts `frames` (read), `frames not at the rate wanted`, `gaps` and `frames of no clip`.

    Raises:
        BadSource: If times do not increase.
    """
    frames = _counted(frames, tally)
    tolerance = max(_TOLERANCE * _MICROSECONDS / clip_rate + _ROUNDING, resolution)
    if rate is None:
        timed: Iterator[_Timed] = (
            _Timed(index, round(index * _MICROSECONDS / clip_rate), frame) for index, frame in enumerate(frames)
        )
    else:
        timed = _increasing(frames)
        if clip_rate < rate * (1 - _TOLERANCE):
            timed = _nearest(timed, rate, clip_rate, tally)
    exact = rate is None or tolerance > resolution
    for piece, stretch in _stretches(timed, clip_rate, tolerance, spec.recording_seconds, tally):
        yield from _windows(piece, stretch, clip_rate, exact, spec, tally)


def _counted(frames: Iterator[Frame], tally: collections.Counter[str]) -> Iterator[Frame]:
    for frame in frames:
        tally["frames"] += 1
        yield frame


def _increasing(frames: Iterator[Frame]) -> Iterator[_Timed]:
    before: int | None = None
    for index, frame in enumerate(frames):
        if frame.time is None:
            raise BadSource(frame.place, "the frame has no time, unlike the frames before it")
        if before is not None and frame.time <= before:
            raise BadSource(frame.place, f"expected a time after {before} us, received {frame.time} us")
        before = frame.time
        yield _Timed(index, frame.time, frame)


def _nearest(
    timed: Iterator[_Timed], rate: float, clip_rate: float, tally: collections.Counter[str]
) -> Iterator[_Timed]:
    """Yields the nearest frame for each time of an even grid; skips times without a near frame."""
    period, reach = _MICROSECONDS / clip_rate, _REACH * _MICROSECONDS / rate
    start: int | None = None
    step = 0
    before: _Timed | None = None
    for item in itertools.chain(timed, [None]):  # None marks the end; the last frame may be nearest to one more time.
        if item is not None:
            tally["frames not at the rate wanted"] += 1
            start = item.time if start is None else start
        while start is not None:
            wanted = start + round(step * period)
            if item is not None and wanted > item.time:
                break
            nearest = min(filter(None, (before, item)), key=lambda near: abs(near.time - wanted))
            if abs(nearest.time - wanted) <= reach:
                tally["frames not at the rate wanted"] -= 1
                yield _Timed(step, wanted, nearest.frame)
            step += 1
            if item is None:
                break
        before = item


def _stretches(
    timed: Iterator[_Timed],
    rate: float,
    tolerance: float,
    piece_seconds: float | None,
    tally: collections.Counter[str],
) -> Iterator[tuple[int, Iterator[_Timed]]]:
    """Yields `(piece, frames)` for each stretch without a gap; consume each before the next."""
    period = _MICROSECONDS / rate
    origin: int | None = None
    before: _Timed | None = None
    waiting: _Timed | None = next(timed, None)

    def piece_of(item: _Timed) -> int:
        assert origin is not None
        return 0 if piece_seconds is None else int((item.time - origin) // (piece_seconds * _MICROSECONDS))

    def stretch(first: _Timed) -> Iterator[_Timed]:
        nonlocal before, waiting
        yield first
        before, waiting = first, None
        for item in timed:
            gap = abs(item.time - before.time - period) > tolerance
            tally["gaps"] += gap
            if gap or piece_of(item) != piece_of(before):
                waiting = item
                return
            before = item
            yield item

    while waiting is not None:
        origin = waiting.time if origin is None else origin
        yield piece_of(waiting), stretch(waiting)


def _windows(
    piece: int,
    stretch: Iterator[_Timed],
    rate: float,
    exact: bool,
    spec: CutSpec,
    tally: collections.Counter[str],
) -> Iterator[Segment]:
    most, fewest = spec.frames.max, spec.frames.min
    stride = spec.stride or most
    buffer: collections.deque[_Timed] = collections.deque()
    skip = fresh = 0  # Frames to skip before the next window; buffered frames that are in no window yet.
    for item in stretch:
        if skip:
            skip -= 1
            tally["frames of no clip"] += 1
            continue
        buffer.append(item)
        fresh += 1
        if len(buffer) == most:
            yield _segment(piece, list(buffer), rate, exact)
            fresh = 0
            for _ in range(min(stride, most)):
                buffer.popleft()
            skip = max(0, stride - most)
    # The rest is a clip only if it has frames that the previous window did not have.
    if fresh and len(buffer) >= fewest:
        yield _segment(piece, list(buffer), rate, exact)
    else:
        tally["frames of no clip"] += fresh


def _segment(piece: int, items: list[_Timed], rate: float, exact: bool) -> Segment:
    start = items[0].time
    # A container that rounds times more than the contract allows gets evenly spaced times.
    stamps = [item.time if exact else start + round(number * _MICROSECONDS / rate) for number, item in enumerate(items)]
    return Segment(piece, items[0].index, stamps, [item.frame for item in items])


def _few(stamps: list[int]) -> str:
    return f"{len(stamps)}: {', '.join(map(str, stamps[:5]))}"
