"""Finds the range of gridded values that cannot be pixels as they are stored, such as temperatures in K.

A first pass over the sources, only if no range is given. Workers write what they find to the state folder.
"""

import contextlib
import dataclasses
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from framecast.clips.convert import state
from framecast.clips.convert.quantize import PixelScale
from framecast.clips.convert.sources.grids import Grid
from framecast.clips.convert.sources.source import BadSource, Recording, Source
from framecast.clips.convert.spec import ConvertSpec, ValueSpec

_EXACT = (np.uint8, np.uint16, np.bool_)  # Always pixels as they are stored.


@dataclasses.dataclass
class SeenValues:
    """Physical values of some sources.

    Args:
        low: Least value.
        high: Largest value.
        storable: Whether all values can be pixels as they are stored.
    """

    low: float = math.inf
    high: float = -math.inf
    storable: bool = True

    def add(self, other: "SeenValues") -> None:
        """Adds other values."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.storable &= other.storable


def is_needed(sources: Sequence[Source], spec: ConvertSpec) -> bool:
    """Returns whether the values of the sources may need a range that is not given."""
    return spec.value.low is None and all(isinstance(source, Grid) for source in sources)


def survey(sources: Sequence[Source], spec: ConvertSpec, folder: pathlib.Path, number: int) -> None:
    """Writes the values of some sources to the state folder, unless an earlier run has. Skips what cannot be read."""
    path = _path(folder, number)
    if path.exists():
        return
    seen = SeenValues()
    for source in sources:
        # The conversion names what cannot be read.
        with contextlib.suppress(BadSource):
            for recording in source.recordings():
                recording.skip = _ignore
                seen.add(_values_of(recording, spec))
    state.write_json(path, dataclasses.asdict(seen))


def with_range(spec: ConvertSpec, folder: pathlib.Path, count: int) -> ConvertSpec:
    """Returns the options with the range of all values, if these cannot be pixels as they are stored.

    Args:
        spec: The options.
        folder: The state folder.
        count: How many times `survey` was called.
    """
    seen = SeenValues()
    for number in range(count):
        seen.add(SeenValues(**json.loads(_path(folder, number).read_text())))
    if seen.storable or seen.low > seen.high:
        return spec
    low, high = round_outward(seen.low, seen.high)
    # 16 bits, because extremes may leave the common values few of 255 pixels.
    return _replaced(spec, low=low, high=high, dtype=spec.value.dtype or "uint16")


def round_outward(low: float, high: float) -> tuple[float, float]:
    """Returns a range of round numbers that holds all values, wider by at most a fifth."""
    if low == high:
        high = low + 1
    digits = 1 - math.floor(math.log10(high - low))
    step = 10.0**-digits
    return round(math.floor(low / step) * step, digits), round(math.ceil(high / step) * step, digits)


def _values_of(recording: Recording, spec: ConvertSpec) -> SeenValues:
    seen = SeenValues()
    scale: PixelScale | None = None
    plain: PixelScale | None = None
    recording.use_part(spec.cut.crop)
    for frame in recording.frames:
        values = frame.values
        if values.dtype in _EXACT and spec.value.dtype is None:
            return seen
        if scale is None:
            scale = _scale(_replaced(spec, low=0.0, high=1.0).value, recording, values.dtype)
            try:
                plain = _scale(spec.value, recording, values.dtype)
            except ValueError:
                seen.storable = False  # The value for no data is no pixel.
        physical = scale.physical(values)
        physical = physical[np.isfinite(physical)]
        if physical.size:
            fits = plain is not None and plain.can_store(values)
            seen.add(SeenValues(float(physical.min()), float(physical.max()), fits))
    return seen


def _scale(value: ValueSpec, recording: Recording, stored: np.dtype) -> PixelScale:
    return PixelScale(value, recording.encoding, stored, limits=recording.limits)


def _replaced(spec: ConvertSpec, **value: Any) -> ConvertSpec:
    return spec.model_copy(update={"value": spec.value.model_copy(update=value)})


def _path(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f"values-{number:05d}.json"


def _ignore(error: BadSource) -> None:
    """The conversion names the error."""
