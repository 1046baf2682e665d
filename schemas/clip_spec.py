"""What a legal clip is: the `clip` section of the configuration."""

import math
from typing import Literal

import pydantic

from framecast.schemas.section import Section

DType = Literal["uint8", "uint16", "float32"]

# A header that claims more pixels than this is refused before anything is decoded.
MAX_FRAME_PIXELS = 2**26


class FrameRange(Section):
    """The legal number of frames of a clip, both ends included."""

    min: int = pydantic.Field(ge=1)
    max: int = pydantic.Field(ge=1)

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> "FrameRange":
        if self.max < self.min:
            raise ValueError(f"expected max >= min, received min {self.min} and max {self.max}")
        return self


# Of clips of which every frame is context: what is legal of training clips, context and horizon, says nothing of them.
ANY_LENGTH = FrameRange(min=1, max=2**31 - 1)


class PixelValue(Section):
    """The physical value of a pixel: `pixel * scale + offset`, in `unit`."""

    unit: str
    scale: float = 1.0
    offset: float = 0.0


class LabelSpec(Section):
    """What clips are labelled with: a class (int64, from 0) or a number (float32).

    Args:
        name: The context feature, or the feature list with one entry a frame.
        per: Whether a clip has one label or every frame its own.
        classes: Number of classes; None for a number.
        required: Whether a clip without a label is a bad clip.
    """

    name: str
    per: Literal["clip", "frame"]
    classes: int | None
    required: bool = True


class ClipSpec(Section):
    """The clip contract that every clip of a run is held to.

    Args:
        channels: Channels of a frame.
        dtype: Pixel type of the encoded frames. Integer pixels map to [0, 1] by the type's maximum; float32 pixels
            are expected in [0, 1].
        frames: Legal number of frames. A clip outside of it is a bad clip.
        height: Height of every frame in pixels; free unless given.
        width: Width of every frame in pixels; free unless given.
        missing: The pixel value reserved for "no data", in the clips' own dtype; none unless given.
        value: The physical meaning of a pixel value.
    """

    channels: int = pydantic.Field(default=1, ge=1)
    dtype: DType = "uint8"
    frames: FrameRange
    height: int | None = pydantic.Field(default=None, ge=1)
    width: int | None = pydantic.Field(default=None, ge=1)
    missing: float | None = None
    value: PixelValue | None = None

    @property
    def max_pixel(self) -> float:
        """The pixel value that enters the model as 1."""
        return {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}[self.dtype]

    @property
    def raw(self) -> bool:
        """Whether frames are stored as an array's bytes (`image/format` RAW), because no image format holds them."""
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
