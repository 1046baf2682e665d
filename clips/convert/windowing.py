"""Cuts a stream of frames into segments, one per clip.

for segment in cut(recording, fps=None, spec=CutSpec(), tally=tally):
    ...

Holds the frames of one clip in memory, and those that `frame_times` reads ahead.
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterator

from framecast.clips.convert import frame_times
from framecast.clips.convert.sources.source import Frame, Recording
from framecast.clips.convert.spec import CutSpec

_MICROSECONDS = 1_000_000
_TOLERANCE = 0.01  # Of the frame spacing; the clip contract allows the same.
_ROUNDING = 1  # Microseconds that rounding times to integers can change a spacing by.
NO_CLIP = "frames of no clip"


@dataclasses.dataclass
class Segment:
    """The frames of one clip.

    Args:
        piece: Index of the recording's piece (`recording_seconds`).
        index: Index of the first frame in the recording, or among its resampled frames.
        rate: Frames per second.
        times: Microseconds, evenly spaced.
        frames: The frames.
    """

    piece: int
    index: int
    rate: float
    times: list[int]
    frames: list[Frame]


def cut(
    recording: Recording, *, fps: float | None, spec: CutSpec, tally: collections.Counter[str]
) -> Iterator[Segment]:
    """Yields the segments of a recording.

    Args:
        recording: The recording; its frames are consumed.
        fps: Frame rate of the clips; by default that of the timestamps, run by run.
        spec: Clip lengths, stride and pieces.
        tally: Receives the counts `frames` (read), NO_CLIP, the frames' notes and those of `frame_times.even_runs`.

    Raises:
        BadSource: If the rate is unknown or lower than requested, or if times do not increase.
    """
    runs = frame_times.even_runs(
        _counted(recording.frames, tally),
        nominal=recording.rate,
        resolution=recording.resolution,
        fps=fps,
        place=recording.name,
        tally=tally,
    )
    origin: float | None = None

    def piece_of(item: frame_times.TimedFrame) -> int:
        nonlocal origin
        origin = item.even if origin is None else origin
        elapsed = item.even - origin + 0.5  # Even times are rounded.
        return 0 if spec.recording_seconds is None else int(elapsed // (spec.recording_seconds * _MICROSECONDS))

    for run in runs:
        for piece, stretch in itertools.groupby(run.items, key=piece_of):
            yield from _windows(piece, stretch, run.rate, spec, tally)


def _counted(frames: Iterator[Frame], tally: collections.Counter[str]) -> Iterator[Frame]:
    for frame in frames:
        tally["frames"] += 1
        tally.update(frame.notes)
        yield frame


def _windows(
    piece: int,
    stretch: Iterator[frame_times.TimedFrame],
    rate: float,
    spec: CutSpec,
    tally: collections.Counter[str],
) -> Iterator[Segment]:
    most, fewest = spec.frames.max, spec.frames.min
    stride = spec.stride or most
    buffer: collections.deque[frame_times.TimedFrame] = collections.deque()
    skip = fresh = 0  # Frames to skip before the next window; buffered frames that are in no window yet.
    for item in stretch:
        if skip:
            skip -= 1
            tally[NO_CLIP] += 1
            continue
        buffer.append(item)
        fresh += 1
        if len(buffer) == most:
            yield _segment(piece, list(buffer), rate)
            fresh = 0
            for _ in range(min(stride, most)):
                buffer.popleft()
            skip = max(0, stride - most)
    # The rest is a clip only if it has frames that the previous window did not have.
    if fresh and len(buffer) >= fewest:
        yield _segment(piece, list(buffer), rate)
    else:
        tally[NO_CLIP] += fresh


def _segment(piece: int, items: list[frame_times.TimedFrame], rate: float) -> Segment:
    period = _MICROSECONDS / rate
    spacings = (later.time - earlier.time for earlier, later in itertools.pairwise(items))
    exact = all(abs(spacing - period) <= _TOLERANCE * period + _ROUNDING for spacing in spacings)
    # Times that are less even than the contract requires are replaced by even ones.
    stamps = [item.time if exact else round(item.even) for item in items]
    return Segment(piece, items[0].index, rate, stamps, [item.frame for item in items])
