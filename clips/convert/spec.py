"""Defines the options of a conversion: how frames are read, scaled and cut.

The fields are also the options of `framecast data convert`, with the same descriptions.
"""

from typing import Any, Literal

import pydantic
from pydantic.config import JsonDict

from framecast.schemas.clip_spec import DType, FrameRange
from framecast.schemas.section import Section

Kind = Literal["video", "images", "arrays", "digits", "grids", "examples"]


def _field(default: Any, description: str, option: str | None = None, metavar: str | None = None, **bounds: Any) -> Any:
    """Returns a field with its description.

    Args:
        default: The default value.
        description: Help text of the option.
        option: Name of the option, if it is not the field's. Fields of one option take its values in order.
        metavar: Names of the option's values in the help text.
        bounds: Constraints of `pydantic.Field`.
    """
    extra: JsonDict = {"option": option, "metavar": metavar}
    return pydantic.Field(default=default, description=description, json_schema_extra=extra, **bounds)


class Digits(Section):
    """Moving digits drawn from an MNIST file."""

    clips: int = _field(1000, "Number of clips to draw from MNIST digits.", ge=1)
    seed: int = _field(0, "Random seed for drawing.")
    canvas: int = _field(64, "Frame side in pixels for drawing.", ge=29)


class ReadSpec(Section):
    """How recordings are found and read."""

    kind: Kind | None = _field(
        None,
        "video, images, arrays, digits (MNIST idx), grids (NetCDF, HDF5, Zarr, GRIB) or examples (tf.train.Example); "
        "by default detected from the file names.",
    )
    variable: str | None = _field(
        None,
        "Path of the variable in NetCDF, HDF5, Zarr and npz; parameter of GRIB, such as t or t/isobaricInhPa; key of "
        "the frames in examples, where {} is the number of the frame, such as {}/image/encoded.",
    )
    axes: str | None = _field(
        None,
        "Axes of an array, a gridded variable or a TIFF: N (recordings), T, H, W, C, such as TNHW; by default detected "
        "from names, metadata and shape.",
    )
    select: tuple[str, ...] = _field(
        (),
        "Value or index of another dimension of a gridded variable or a TIFF, such as level=850 or Z=3; repeatable. "
        "The coordinate's value if the dimension has one, else the index from 0.",
        metavar="DIM=VALUE",
    )
    fps: float | None = _field(
        None,
        "Frames per second: the rate of sources without times; others are resampled to it (nearest frame).",
        gt=0,
        allow_inf_nan=False,
    )
    time_format: str | None = _field(None, "strptime format of the time in file names, such as %Y%m%d%H%M.")
    join: bool = _field(
        False,
        "Take all images or gridded files of a folder as one recording, images in the order of their names, even if "
        "prefixes differ or numbers are missing.",
    )
    raw_size: tuple[int, int] | None = _field(
        None, "Size of frames that are raw pixels in examples, height x width x channels.", metavar="HEIGHT WIDTH"
    )
    raw_dtype: DType | None = _field(
        None, "Type of raw pixels: uint8, uint16 or float32; by default uint8, gray or RGB by the number of bytes."
    )
    raw_channels: int | None = _field(None, "Channels of raw pixels; by default from the number of bytes.", ge=1)
    keep_hidden: bool = _field(False, "Also read the frames that a video's edit list hides.")
    keep_alpha: bool = _field(False, "Keep alpha as a channel; by default transparent pixels are shown on black.")
    labels: str | None = _field(
        None,
        "folders: the last folder's name is the class; or a CSV file: recording and label (class) or value (number).",
        metavar="folders|CSV",
    )
    digits: Digits = Digits()

    @pydantic.model_validator(mode="after")
    def _raw(self) -> "ReadSpec":
        if self.raw_size is None and (self.raw_dtype is not None or self.raw_channels is not None):
            raise ValueError("raw_size: expected the size of raw pixels too")
        if self.raw_size is not None and min(self.raw_size) < 1:
            raise ValueError(f"raw_size: expected height, width > 0, received {self.raw_size}")
        return self

    @pydantic.field_validator("select")
    @classmethod
    def _pairs(cls, select: tuple[str, ...]) -> tuple[str, ...]:
        dims = [pair.partition("=")[0] for pair in select]
        for pair in select:
            if not all(pair.partition("=")):
                raise ValueError(f"expected DIM=VALUE, such as level=850, received {pair}")
        if len(set(dims)) < len(dims):
            raise ValueError(f"expected one value per dimension, received {' '.join(select)}")
        return select

    @pydantic.field_validator("axes")
    @classmethod
    def _letters(cls, axes: str | None) -> str | None:
        if axes is not None and (set(axes) - set("NTHWC") or len(set(axes)) < len(axes) or not {"H", "W"} <= set(axes)):
            raise ValueError("expected distinct letters of N, T, H, W and C, with H and W")
        return axes


class ValueSpec(Section):
    """How stored values become pixels. Scale, offset, unit and fill override those of the source."""

    scale: float | None = _field(None, "Physical value = stored * scale + offset.", allow_inf_nan=False)
    offset: float | None = _field(None, "See --scale.", allow_inf_nan=False)
    unit: str | None = _field(None, "Unit of the physical values.")
    fill: float | None = _field(None, "Stored value for no data; NaN always means no data.")
    rain_to_dbz: bool = _field(False, "Convert rain in mm/h to dBZ, Z = 200 R^1.6; less than 0.05 mm/h is pixel 0.")
    low: float | None = _field(
        None,
        "Physical values of pixel 0 and of the largest pixel; by default values are stored unscaled, or gridded values "
        "that are no pixels get their own range in 16 bits.",
        option="range",
        metavar="LOW HIGH",
        allow_inf_nan=False,
    )
    high: float | None = _field(None, "Physical value of the largest pixel.", option="range", allow_inf_nan=False)
    dtype: DType | None = _field(
        None, "Pixel type: uint8, uint16 or float32; by default uint8 with --range, else a lossless type."
    )
    missing: float | None = _field(
        None,
        "Pixel for no data; by default -1 in float32, else the fill value, or the largest pixel with --range.",
        allow_inf_nan=False,
    )
    gray: bool = _field(False, "Convert RGB to luminance (ITU-R 601-2).")

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
    """How recordings are cut into clips."""

    frames: FrameRange = _field(
        FrameRange(min=8, max=24),
        "Frames per clip. A recording is cut into clips of MAX; the rest makes one more clip if it has at least MIN.",
        metavar="MIN MAX",
    )
    stride: int | None = _field(None, "Frames from clip start to clip start; by default MAX, without overlap.", ge=1)
    crop: tuple[int, int, int, int] | None = _field(
        None, "Part of each frame to use, in pixels.", metavar="TOP LEFT HEIGHT WIDTH"
    )
    size: tuple[int, int] | None = _field(None, "Resize to this size, after cropping.", metavar="HEIGHT WIDTH")
    tile: int | None = _field(
        None,
        "Cut frames into squares of this side, one clip each; the rest at the lower and right edge is dropped.",
        ge=8,
    )
    tile_stride: int | None = _field(None, "Pixels from tile to tile; by default the tile's side.", ge=1)
    min_content: float = _field(0.0, "Least share of known nonzero pixels in a clip.", ge=0, le=1)
    recording_seconds: float | None = _field(
        None,
        "Treat pieces of this length as separate recordings, so that splits can separate them. No clip spans two.",
        gt=0,
        allow_inf_nan=False,
    )

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
    """All options that determine the written clips."""

    read: ReadSpec = ReadSpec()
    value: ValueSpec = ValueSpec()
    cut: CutSpec = CutSpec()
    shard_mb: float = _field(150, "Approximate size of a clip file.", gt=0, allow_inf_nan=False)
    gzip: bool = _field(True, "Compress with gzip, which makes truncated files detectable.")


# Clips of up to 24 frames, however short: for requests, in which every frame is context.
ANY_CLIP = ConvertSpec(cut=CutSpec(frames=FrameRange(min=1, max=24)))
