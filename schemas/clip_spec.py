"""Defines a legal clip: the `clip` section of the configuration."""

import math
from typing import Annotated, Literal

import pydantic

from framecast.schemas.section import Section

DType = Literal["uint8", "uint16", "float32"]

# An image whose header declares more pixels is rejected before it is decoded.
MAX_FRAME_PIXELS = 2**26


class FrameRange(Section):
    """The legal number of frames in a clip, inclusive at both ends."""

    min: int = pydantic.Field(ge=1)
    max: int = pydantic.Field(ge=1)

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> "FrameRange":
        if self.max < self.min:
            raise ValueError(f"expected max >= min, received min {self.min} and max {self.max}")
        return self


# For requests: every frame is context, so the frame range of training clips (context plus horizon) does not apply.
ANY_LENGTH = FrameRange(min=1, max=2**31 - 1)


class PixelValue(Section):
    """The physical value of a pixel: `pixel * scale + offset` in `unit`."""

    unit: str
    scale: float = 1.0
    offset: float = 0.0


class LabelSpec(Section):
    """The label of a clip: a class (int64, from 0) or numbers (float32).

    Args:
        name: The context feature (per clip) or the feature list (per frame) that holds the label.
        per: `clip` for one label per clip, `frame` for one per frame.
        classes: Number of classes; None if the label is a number.
        numbers: How many numbers a label has; more than one only per clip.
        required: Whether an unlabelled clip is a bad clip.
    """

    name: str
    per: Literal["clip", "frame"]
    classes: int | None
    numbers: int = pydantic.Field(default=1, ge=1)
    required: bool = True


class ClipSpec(Section):
    """The clip contract: every clip of a run must meet it.

    Args:
        channels: Channels per frame.
        dtype: Pixel type of the encoded frames. Integer pixels are divided by the type's maximum; float32 pixels must
            be in [0, 1].
        frames: Legal number of frames. A clip outside this range is a bad clip.
        height: Frame height in pixels; any height if None.
        width: Frame width in pixels; any width if None.
        missing: Pixel value reserved for "no data", in the clips' dtype; None if no pixel is missing.
        value: Physical value of a pixel; None if unknown.
        intervals: Legal seconds between frames, with a tolerance of 5 %. If empty, all clips of a run have one
            interval.
    """

    channels: int = pydantic.Field(default=1, ge=1)
    dtype: DType = "uint8"
    frames: FrameRange
    height: int | None = pydantic.Field(default=None, ge=1)
    width: int | None = pydantic.Field(default=None, ge=1)
    missing: float | None = None
    value: PixelValue | None = None
    intervals: tuple[Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)], ...] = ()

    @property
    def max_pixel(self) -> float:
        """The pixel value that becomes 1 in the model."""
        return {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}[self.dtype]

    @property
    def raw(self) -> bool:
        """Whether frames are stored as raw array bytes (`image/format` RAW), because PNG and JPEG cannot hold them."""
        return self.dtype == "float32" or self.channels > 4

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "ClipSpec":
        if (self.height is None) != (self.width is None):
            raise ValueError("expected both height and width or neither")
        if self.missing is not None:
            if self.dtype != "float32" and not (
                float(self.missing).is_integer() and 0 <= self.missing <= self.max_pixel
            ):
                raise ValueError(f"missing: expected a {self.dtype} value, received {self.missing}")
            if math.isnan(self.missing):
                raise ValueError("missing: expected a number, received nan")
        return self
