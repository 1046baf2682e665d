"""Defines sources: each yields recordings, and each recording streams frames."""

import collections
import dataclasses
import math
import os
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np


class BadSource(ValueError):
    """A source that cannot be read completely.

    Args:
        place: The file, and the frame or record in it.
        message: Expected and received value.
    """

    def __init__(self, place: str, message: str):
        super().__init__(place, message)
        self.place = place
        self.message = message

    def __str__(self) -> str:
        """Returns `place: message`."""
        return f"{self.place}: {self.message}"


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame as stored in its source.

    Args:
        values: `(height, width, channel)`.
        time: Microseconds from any origin; None if the source has no times.
        place: The file and position in it, for messages.
        position: Index in the recording, counting missing frames; None if no frame is missing. Only without times.
        notes: What the source converted or left out, in the plural; the manifest has the number of frames of each.
        cropped: Whether `values` are only the recording's `crop`.
    """

    values: np.ndarray
    time: int | None
    place: str
    position: int | None = None
    notes: tuple[str, ...] = ()
    cropped: bool = False


@dataclasses.dataclass(frozen=True)
class ValueEncoding:
    """How a source stores values: physical value = stored value * scale + offset, in `unit`.

    Args:
        scale: See above.
        offset: See above.
        unit: The unit; None if the source has none.
        fill: Stored values for no data; NaN if the source says that NaN may occur.
    """

    scale: float = 1.0
    offset: float = 0.0
    unit: str | None = None
    fill: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class ValueLimits:
    """Which stored values are measurements.

    Args:
        valid: Least and largest valid stored value; values outside are no data.
        undetect: Stored values for "observed, but nothing detected"; they become the lowest pixel.
    """

    valid: tuple[float, float] = (-math.inf, math.inf)
    undetect: tuple[float, ...] = ()

    @property
    def bounded(self) -> bool:
        """Whether a value can be invalid."""
        return self.valid != (-math.inf, math.inf)


def _fail(error: BadSource) -> None:
    raise error


@dataclasses.dataclass
class Recording:
    """A sequence of frames, in order.

    Args:
        name: Folder and name of the file, and what else selects the recording. The name does not depend on other files.
        frames: The frames; raises BadSource at a frame that cannot be read.
        rate: Frames per second that the source declares; None if it has none.
        resolution: Largest rounding error of the source's times, in microseconds.
        encoding: How the source stores values.
        limits: Which stored values are measurements.
        label: Class of the recording, as text.
        label_index: Class of the recording, as a number.
        left_out: Counts of frames that the source leaves out, by reason; complete after the last frame.
        group: Name that recordings share if their clips must be in the same split; by default the name.
        digest: Digest of the files, which makes equal names unique. Set by the reader of the frames.
        media_id: The recording that the source itself names, if it does.
        crop: The part of each frame that a source may read alone; see `use_part`.
        skip: Called with the error of a frame that cannot be read, if later frames can; raises it by default.
    """

    name: str
    frames: Iterator[Frame]
    rate: float | None = None
    resolution: float = 0.0
    encoding: ValueEncoding = ValueEncoding()
    limits: ValueLimits = ValueLimits()
    label: str | None = None
    label_index: int | None = None
    group: str | None = None
    digest: str = ""
    media_id: str | None = None
    left_out: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    crop: tuple[int, int, int, int] | None = None
    skip: Callable[[BadSource], None] = _fail

    def use_part(self, crop: tuple[int, int, int, int] | None) -> None:
        """Cuts all frames to a part: top, left, height, width. Call it before the first frame is read.

        The frames raise BadSource if they are smaller.
        """
        if crop is not None:
            self.crop = crop
            self.frames = _cropped(self.frames, crop)

    def identify(self, name: str) -> str:
        """Returns a name of this recording or its group, unique across conversions: `folder/file@digest`."""
        return f"{name}@{self.digest}" if self.digest else name


def _cropped(frames: Iterator[Frame], crop: tuple[int, int, int, int]) -> Iterator[Frame]:
    for frame in frames:
        if frame.cropped:
            yield frame
            continue
        top, left, height, width = crop
        if top + height > frame.values.shape[0] or left + width > frame.values.shape[1]:
            received = f"received {frame.values.shape[0]}x{frame.values.shape[1]}"
            raise BadSource(frame.place, f"expected at least {top + height}x{left + width} pixels (--crop), {received}")
        # A copy, so that the whole frame is not kept in memory.
        part = frame.values[top : top + height, left : left + width].copy()
        yield dataclasses.replace(frame, values=part, cropped=True)


class Source(Protocol):
    """A unit that any worker can convert independently."""

    @property
    def name(self) -> str:
        """Folder and name of the file, independent of other sources."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """The files to read."""
        ...

    def recordings(self) -> Iterator[Recording]:
        """Yields the recordings.

        Raises:
            BadSource: If the source cannot be read.
        """
        ...


def size_of(source: Source) -> int:
    """Returns the total size of a source's files in bytes."""
    return sum(os.path.getsize(file) for file in source.files)


def name_of(path: str) -> str:
    """Returns the folder and the name of a file or folder: a name that does not depend on how the path is given."""
    return os.sep.join(os.path.abspath(path).split(os.sep)[-2:])


def class_of(name: str) -> str:
    """Returns the folder of a name, which is the class of a source if folders name classes."""
    return os.path.basename(os.path.dirname(name))
