"""A recording's frames, as they come, cut into runs of frames that make a clip.

for run in cut(frames, rate=25.0, spec=CutSpec(), tally=tally):
    ...

Holds the frames of one clip at a time, whatever the length of the recording.
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterator

from framecast.clips.convert.sources.source import BadSource, Frame
from framecast.clips.convert.spec import CutSpec

_MICROSECONDS = 1_000_000
_TOLERANCE = 0.01  # Of the spacing of frames: what the clip contract allows.
_ROUNDING = 1  # Microseconds that times as integers may shift a spacing by.
_REACH = 0.75  # Of the spacing: frames of a recording whose rate varies are taken, a lost one is a gap.
_GUESSED_FROM = 64  # Frames whose median spacing is the rate, where a source does not say it.


@dataclasses.dataclass
class Segment:
    """Frames for one clip.

    Args:
        piece: Which piece of the recording they lie in, from 0.
        index: Index of the first frame among those that the recording gave.
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
    """Finds out how many frames a second a recording has, and how many its clips will have.

    Args:
        frames: The frames.
        rate: What the source says.
        fps: What the user wants.
        place: The recording, for messages.

    Returns:
        The frames, the rate of their times (None where they have none), and that of the clips.

    Raises:
        BadSource: When nobody says.
    """
    first = list(itertools.islice(frames, 1))
    if not first or first[0].time is None:
        clip_rate = fps or rate
        if clip_rate is None:
            raise BadSource(place, "expected frames with times, or their number a second (--fps), received neither")
        return itertools.chain(first, frames), None, clip_rate
    if rate is None:
        # Only then frames are read ahead: those before a damaged one still make clips.
        first += itertools.islice(frames, _GUESSED_FROM)
        stamps = [frame.time for frame in first if frame.time is not None]
        spacings = sorted(later - earlier for earlier, later in itertools.pairwise(stamps))
        spacing = spacings[len(spacings) // 2] if spacings else 0
        if spacing <= 0:
            raise BadSource(place, "expected frames with times that tell their rate, received " + _few(stamps))
        rate = _MICROSECONDS / spacing
    if fps is not None and fps > rate * (1 + _TOLERANCE):
        raise BadSource(place, f"expected at least the {fps:g} frames a second wanted (--fps), received {rate:g}")
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
    """Yields the runs of frames that make clips.

    Args:
        frames: The frames.
        rate: Rate of the frames' times; None where they have none.
        clip_rate: Rate that the clips have; below `rate`, the frames nearest to its times are taken.
        resolution: Microseconds that a frame's time may be off.
        spec: Lengths, stride and pieces.
        tally: Counts `frames` (read), `frames not at the rate wanted`, `gaps` and `frames of no clip`.

    Raises:
        BadSource: When times do not increase.
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
            raise BadSource(frame.place, "expected a time, as the frames before have, received none")
        if before is not None and frame.time <= before:
            raise BadSource(frame.place, f"expected a time after {before} us, received {frame.time} us")
        before = frame.time
        yield _Timed(index, frame.time, frame)


def _nearest(
    timed: Iterator[_Timed], rate: float, clip_rate: float, tally: collections.Counter[str]
) -> Iterator[_Timed]:
    """Yields, for each time of an even grid, the nearest frame at that time; nothing where none is near."""
    period, reach = _MICROSECONDS / clip_rate, _REACH * _MICROSECONDS / rate
    start: int | None = None
    step = 0
    before: _Timed | None = None
    for item in itertools.chain(timed, [None]):  # None: the end, which may be nearest to one time more.
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
    """Yields `(piece, frames)` for each stretch without a gap; each must be used up before the next."""
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
    held: collections.deque[_Timed] = collections.deque()
    skip = fresh = 0  # Frames to leave out before the next window; frames held that no window had.
    for item in stretch:
        if skip:
            skip -= 1
            tally["frames of no clip"] += 1
            continue
        held.append(item)
        fresh += 1
        if len(held) == most:
            yield _run(piece, list(held), rate, exact)
            fresh = 0
            for _ in range(min(stride, most)):
                held.popleft()
            skip = max(0, stride - most)
    # What is left is a clip of its own only when it shows something that the window before did not.
    if fresh and len(held) >= fewest:
        yield _run(piece, list(held), rate, exact)
    else:
        tally["frames of no clip"] += fresh


def _run(piece: int, items: list[_Timed], rate: float, exact: bool) -> Segment:
    start = items[0].time
    # Where a container rounds times to more than the contract allows, the even spacing is the truth.
    stamps = [item.time if exact else start + round(number * _MICROSECONDS / rate) for number, item in enumerate(items)]
    return Segment(piece, items[0].index, stamps, [item.frame for item in items])


def _few(stamps: list[int]) -> str:
    return f"{len(stamps)}: {', '.join(map(str, stamps[:5]))}"
