"""What `framecast data convert` is asked for: how frames are read, cut into clips, and turned into pixels."""

from typing import Literal

import pydantic

from framecast.schemas.clip_spec import DType, FrameRange
from framecast.schemas.section import Section

Kind = Literal["video", "images", "arrays", "digits", "grids", "examples"]


class Digits(Section):
    """Moving digits drawn from an MNIST file.

    Args:
        clips: How many clips are made.
        seed: The same seed gives the same clips.
        canvas: Side of a frame in pixels.
    """

    clips: int = pydantic.Field(default=1000, ge=1)
    seed: int = 0
    canvas: int = pydantic.Field(default=64, ge=29)


class ReadSpec(Section):
    """How frames and what they mean are found in the sources.

    Args:
        kind: What the sources are; told from their names unless given.
        variable: The variable in NetCDF, HDF5, Zarr and npz, by its path; the key of the frames in `tf.train.Example`.
        axes: What the axes of an array are, one letter each of N (recordings), T (time), H, W, C (channel), such as
            `TNHW`; told from the shape unless given.
        fps: Frames a second: of sources that say nothing of their times, theirs; others are brought to it, to the
            nearest frame each.
        time_format: How `datetime.strptime` reads the time in a file's name, such as `%Y%m%d%H%M`.
        labels: `folders`, where the last folder of a source is its class, or a CSV file with the columns `recording`
            and `label` (a class) or `value` (a number).
        digits: What is drawn from an MNIST file.
    """

    kind: Kind | None = None
    variable: str | None = None
    axes: str | None = None
    fps: float | None = pydantic.Field(default=None, gt=0, allow_inf_nan=False)
    time_format: str | None = None
    labels: str | None = None
    digits: Digits = Digits()

    @pydantic.field_validator("axes")
    @classmethod
    def _letters(cls, axes: str | None) -> str | None:
        if axes is not None and (set(axes) - set("NTHWC") or len(set(axes)) < len(axes) or not {"H", "W"} <= set(axes)):
            raise ValueError("expected different letters of N, T, H, W and C, H and W among them")
        return axes


class ValueSpec(Section):
    """How values become pixels.

    A source's own scale, offset, missing values and unit hold unless given here.

    Args:
        scale: A physical value is `stored * scale + offset`.
        offset: As above.
        unit: Of the physical values.
        fill: The stored value that says that there is none. NaN always does.
        rain_to_dbz: Whether rain rates in mm/h are turned into dBZ, by Z = 200 R^1.6; below 0.05 mm/h into the least
            pixel.
        low: The value of pixel 0; values become pixels as they are stored unless low and high are given.
        high: The value of the largest pixel.
        dtype: Of the pixels; what loses nothing unless given, or uint8 with low and high.
        missing: The pixel that stands for "no value", which no value then has; where a fill value is known, by default
            that value, or with low and high the largest pixel; -1 in float32.
        gray: Whether RGB becomes luminance (ITU-R 601-2).
    """

    scale: float | None = pydantic.Field(default=None, allow_inf_nan=False)
    offset: float | None = pydantic.Field(default=None, allow_inf_nan=False)
    unit: str | None = None
    fill: float | None = None
    rain_to_dbz: bool = False
    low: float | None = pydantic.Field(default=None, allow_inf_nan=False)
    high: float | None = pydantic.Field(default=None, allow_inf_nan=False)
    dtype: DType | None = None
    missing: float | None = pydantic.Field(default=None, allow_inf_nan=False)
    gray: bool = False

    @pydantic.model_validator(mode="after")
    def _range(self) -> "ValueSpec":
        if (self.low is None) != (self.high is None):
            raise ValueError("range: expected low and high or neither")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"range: expected low < high, received {self.low:g} and {self.high:g}")
        if self.rain_to_dbz and self.low is None:
            raise ValueError("rain_to_dbz: expected a range in dBZ too, such as -10 60")
        if self.rain_to_dbz and self.unit not in (None, "mm/h", "mm h-1", "dBZ"):
            raise ValueError(f"rain_to_dbz: expected values in mm/h, received {self.unit}")
        return self


class CutSpec(Section):
    """How recordings are cut into clips.

    Args:
        frames: Fewest and most frames of a clip. A recording gives clips of the most, and what is left over at its end
            one more, if that is not below the fewest.
        stride: Frames from the start of a clip to that of the next; the most frames unless given, so that none
            overlap.
        crop: Part of each frame that is used: top, left, height and width in pixels.
        size: Height and width in pixels that frames, cropped, are resized to.
        tile: Side in pixels of the squares that each frame, cropped and resized, is cut into, a clip each; a rest at
            the lower and right edge is left out.
        tile_stride: Pixels from a tile to the next; the side unless given.
        min_content: Share of pixels of a clip that must be known and not 0.
        recording_seconds: Pieces of a recording of this length count as recordings of their own, so that they can fall
            into different splits. No clip spans two.
    """

    frames: FrameRange = FrameRange(min=8, max=24)
    stride: int | None = pydantic.Field(default=None, ge=1)
    crop: tuple[int, int, int, int] | None = None
    size: tuple[int, int] | None = None
    tile: int | None = pydantic.Field(default=None, ge=8)
    tile_stride: int | None = pydantic.Field(default=None, ge=1)
    min_content: float = pydantic.Field(default=0.0, ge=0, le=1)
    recording_seconds: float | None = pydantic.Field(default=None, gt=0, allow_inf_nan=False)

    @pydantic.model_validator(mode="after")
    def _sizes(self) -> "CutSpec":
        if self.crop is not None and (min(self.crop) < 0 or 0 in self.crop[2:]):
            raise ValueError(f"crop: expected top, left >= 0 and height, width > 0, received {self.crop}")
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"size: expected height, width > 0, received {self.size}")
        if self.tile_stride is not None and self.tile is None:
            raise ValueError("tile_stride: expected a tile too")
        return self


class ConvertSpec(Section):
    """Everything that decides what is written."""

    read: ReadSpec = ReadSpec()
    value: ValueSpec = ValueSpec()
    cut: CutSpec = CutSpec()
    shard_mb: float = pydantic.Field(default=150, gt=0, allow_inf_nan=False)
    gzip: bool = True
