"""Pixels as colours for people: frames grey, as they are or as radar displays show them; errors blue and orange."""

import numpy as np

from framecast.schemas.clip_spec import PixelValue

_TOO_LOW, _TOO_HIGH = (70, 160, 255), (255, 150, 40)
_FULL_ERROR = 0.5  # Of the pixel range: the error from which colours stay the same.
_MISSING = (70, 60, 60)

# Reflectivity from which a colour holds, in dBZ, in the order of colours that radar displays have: blue, green, yellow,
# red, violet from light drizzle to hail.
DBZ_COLOURS = (
    (-np.inf, (0, 0, 0)),
    (5, (30, 60, 110)),
    (10, (40, 110, 190)),
    (15, (70, 170, 230)),
    (20, (40, 200, 120)),
    (25, (20, 160, 60)),
    (30, (10, 115, 30)),
    (35, (250, 230, 60)),
    (40, (245, 180, 30)),
    (45, (250, 120, 20)),
    (50, (230, 40, 30)),
    (55, (170, 10, 30)),
    (60, (220, 60, 220)),
    (65, (245, 190, 250)),
)


def frame_colours(
    frame: np.ndarray, dtype: np.dtype, value: PixelValue | None = None, missing: float | None = None
) -> np.ndarray:
    """Returns a frame as radar colours where its unit is dBZ, else as it is: grey or RGB.

    Args:
        frame: `(height, width, channel)`, uint8, uint16 or float32 in [0, 1]; of 2 and of more than 3 channels the
            first is shown.
        dtype: The clip's, in which `value` is given.
        value: Physical meaning of a pixel.
        missing: Value of `frame` reserved for "no data", which gets a colour of its own.

    Returns:
        `(height, width, 3)` uint8.
    """
    pixels = unit_range(frame)
    if value is not None and value.unit == "dBZ":
        highest = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1.0
        physical = pixels[..., 0] * highest * value.scale + value.offset
        starts, colours = zip(*DBZ_COLOURS, strict=True)
        picture = np.asarray(colours, np.uint8)[np.searchsorted(starts, physical, side="right") - 1]
    else:
        grey = np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
        picture = grey if grey.shape[-1] == 3 else np.repeat(grey[..., :1], 3, axis=-1)
    return _marked(picture, frame, missing)


def error_colours(error: np.ndarray, truth: np.ndarray, missing: float | None = None) -> np.ndarray:
    """Returns an error as blue where the forecast is too low, orange where it is too high, black where it is right.

    Args:
        error: `(height, width, channel)`, forecast minus truth in [-1, 1]; full colour from half of the range on. Of 3
            channels the mean is shown, of 2 and of more than 3 the first.
        truth: What happened, shaped as `error`.
        missing: Value of `truth` reserved for "no data", which gets a colour of its own.

    Returns:
        `(height, width, 3)` uint8.
    """
    mean = error.mean(axis=-1, keepdims=True) if error.shape[-1] == 3 else error[..., :1]
    share = np.clip(np.abs(mean) / _FULL_ERROR, 0, 1)
    full = np.where(mean < 0, np.array(_TOO_LOW), np.array(_TOO_HIGH))
    return _marked(np.round(share * full).astype(np.uint8), truth, missing)


def unit_range(frame: np.ndarray) -> np.ndarray:
    """Returns pixels of any dtype in [0, 1]."""
    return frame / np.iinfo(frame.dtype).max if np.issubdtype(frame.dtype, np.integer) else np.nan_to_num(frame)


def _marked(picture: np.ndarray, frame: np.ndarray, missing: float | None) -> np.ndarray:
    if missing is None:
        return picture
    return np.where((frame == missing).all(axis=-1, keepdims=True), np.array(_MISSING, np.uint8), picture)
