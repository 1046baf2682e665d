"""Converts frames to grey, RGB or radar colours for display, and errors to blue and orange."""

import numpy as np

from framecast.schemas.clip_spec import PixelValue

_TOO_LOW, _TOO_HIGH = (70, 160, 255), (255, 150, 40)
_FULL_ERROR = 0.5  # Share of the pixel range at which the error colour saturates.
_MISSING = (70, 60, 60)

# Lower bound of each colour in dBZ, as on radar displays: from blue (drizzle) to violet (hail).
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
    """Converts a frame to radar colours if its unit is dBZ, else to grey or RGB.

    Args:
        frame: `(height, width, channel)`, uint8, uint16 or float32 in [0, 1]. Of 2 or more than 3 channels, only the
            first is shown.
        dtype: The clip's dtype, which `value` refers to.
        value: Physical value of a pixel.
        missing: Value of `frame` reserved for "no data", shown in a separate colour.

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
    """Converts an error to blue (forecast too low), orange (too high) and black (no error).

    Args:
        error: `(height, width, channel)`, forecast minus truth in [-1, 1]; the colour saturates at 0.5. Of 3 channels
            the mean is shown, otherwise the first channel.
        truth: The observed frame, same shape as `error`.
        missing: Value of `truth` reserved for "no data", shown in a separate colour.

    Returns:
        `(height, width, 3)` uint8.
    """
    mean = error.mean(axis=-1, keepdims=True) if error.shape[-1] == 3 else error[..., :1]
    share = np.clip(np.abs(mean) / _FULL_ERROR, 0, 1)
    full = np.where(mean < 0, np.array(_TOO_LOW), np.array(_TOO_HIGH))
    return _marked(np.round(share * full).astype(np.uint8), truth, missing)


def unit_range(frame: np.ndarray) -> np.ndarray:
    """Scales pixels of any dtype to [0, 1]; NaN becomes 0."""
    return frame / np.iinfo(frame.dtype).max if np.issubdtype(frame.dtype, np.integer) else np.nan_to_num(frame)


def _marked(picture: np.ndarray, frame: np.ndarray, missing: float | None) -> np.ndarray:
    if missing is None:
        return picture
    return np.where((frame == missing).all(axis=-1, keepdims=True), np.array(_MISSING, np.uint8), picture)
