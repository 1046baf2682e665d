"""Draws moving digits from an MNIST file: Moving MNIST of any size and length."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from framecast.clips.convert.sources.source import BadSource, Frame, Recording
from framecast.clips.convert.spec import Digits
from framecast.clips.demo import moving_digits
from framecast.schemas.clip_spec import FrameRange

_GROUPS = 50  # Groups of digits. Clips of a group share `clip/media_id`, so that splits have different digits.
_SOURCE_CLIPS = 500  # Clips per source.
_MICROSECONDS = 1_000_000


@dataclasses.dataclass(frozen=True)
class MovingDigits:
    """The clips `[start, end)` drawn from an idx file."""

    name: str
    files: tuple[str, ...]
    options: Digits
    frames: FrameRange
    start: int
    end: int

    def recordings(self) -> Iterator[Recording]:
        """Yields one recording per clip: two digits of one group on random straight paths."""
        try:
            digits = moving_digits.source_digits(self.files[0])
        except (ValueError, OSError, EOFError) as error:
            raise BadSource(self.files[0], str(error)) from error
        groups = np.array_split(digits, min(_GROUPS, len(digits)))
        base = self.name.rpartition("/")[0]
        for index in range(self.start, self.end):
            # One generator per clip, so that a clip does not depend on the number of clips.
            rng = np.random.default_rng((self.options.seed, index))
            number = int(rng.integers(len(groups)))
            yield Recording(
                f"{base}/{index:07d}",
                self._frames(rng, groups[number], index),
                rate=moving_digits.FRAME_RATE,
                group=f"{base}/digits-{number:02d}",
            )

    def _frames(self, rng: np.random.Generator, digits: np.ndarray, clip: int) -> Iterator[Frame]:
        length = int(rng.integers(self.frames.min, self.frames.max + 1))
        moving = [(digits[rng.integers(len(digits))], path) for path in moving_digits.digit_paths(rng, length)]
        for index, values in enumerate(moving_digits.draw_digits(moving, length, self.options.canvas)):
            time = round(index * _MICROSECONDS / moving_digits.FRAME_RATE)
            yield Frame(values, time, f"{self.files[0]}, drawn clip {clip}, frame {index}")


def find(name: str, path: str, options: Digits, frames: FrameRange) -> list[MovingDigits]:
    """Returns the sources that draw from an idx file."""
    return [
        MovingDigits(f"{name}/{start:07d}", (path,), options, frames, start, min(start + _SOURCE_CLIPS, options.clips))
        for start in range(0, options.clips, _SOURCE_CLIPS)
    ]
