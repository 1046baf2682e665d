"""What every kind of source gives: recordings, each a stream of frames that is never whole in memory."""

import dataclasses
import os
from collections.abc import Iterator
from typing import Protocol

import numpy as np


class BadSource(ValueError):
    """A source that cannot be read on.

    Args:
        place: The file, and frame or record in it.
        message: What was expected and what was received.
    """

    def __init__(self, place: str, message: str):
        super().__init__(place, message)
        self.place = place
        self.message = message

    def __str__(self) -> str:
        """Returns the message, headed by the place."""
        return f"{self.place}: {self.message}"


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame as it is stored.

    Args:
        values: `(height, width, channel)`.
        time: Microseconds, from any origin; None where the source says nothing of times.
        place: File, and where in it, for messages.
    """

    values: np.ndarray
    time: int | None
    place: str


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What a source says of its values: physical value = stored value * scale + offset, in `unit`.

    Args:
        scale: As above.
        offset: As above.
        unit: None when the source names none.
        fill: Stored values that say that there is none.
    """

    scale: float = 1.0
    offset: float = 0.0
    unit: str | None = None
    fill: tuple[float, ...] = ()


@dataclasses.dataclass
class Recording:
    """Frames that belong together, in order.

    Args:
        name: Unique among all sources; clips are named after it.
        frames: The frames; raises BadSource where they cannot be read on.
        rate: Frames a second; None when the source does not say.
        resolution: Microseconds that the source's way of storing times may shift one by.
        meaning: Of the values.
        label: A class of the recording, as the source names it.
        label_index: A class of the recording, as a number.
        media_id: What it belongs to, where clips of several recordings must share a split; the name unless given.
    """

    name: str
    frames: Iterator[Frame]
    rate: float | None = None
    resolution: float = 0.0
    meaning: Meaning = Meaning()
    label: str | None = None
    label_index: int | None = None
    media_id: str | None = None


class Source(Protocol):
    """Something that can be converted on its own, on any worker."""

    @property
    def name(self) -> str:
        """Unique among all sources."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it is read from."""
        ...

    def recordings(self) -> Iterator[Recording]:
        """Yields the recordings, one after the other.

        Raises:
            BadSource: Where the source cannot be read on.
        """
        ...


def size_of(source: Source) -> int:
    """Returns the size of a source's files in bytes."""
    return sum(os.path.getsize(file) for file in source.files)
