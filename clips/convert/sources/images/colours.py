"""Converts stored colours to gray or RGB, and states what was converted."""

import dataclasses

import numpy as np

_ALPHA_NOTE = "frames with transparent pixels, shown on black (--keep-alpha keeps alpha as a channel)"
CMYK_NOTE = "frames in CMYK, converted to RGB"
INVERTED_NOTE = "frames stored with 0 as white, inverted"


@dataclasses.dataclass(frozen=True)
class Still:
    """One image.

    Args:
        values: `(height, width, channel)`.
        notes: What was converted; see `Frame.notes`.
    """

    values: np.ndarray
    notes: tuple[str, ...] = ()


def compose(values: np.ndarray, keep_alpha: bool, *, premultiplied: bool = False) -> Still:
    """Composites an image over black, which is the colour that later steps pad with.

    Args:
        values: Integers or shares `(height, width, channel)`; the last channel is alpha.
        keep_alpha: Whether to return the values with alpha.
        premultiplied: Whether the colours already include alpha.
    """
    if keep_alpha:
        return Still(values)
    colours, alpha = values[..., :-1], values[..., -1:]
    largest = np.iinfo(values.dtype).max if np.issubdtype(values.dtype, np.integer) else 1
    if (alpha == largest).all():
        return Still(colours)
    if premultiplied:
        return Still(colours, (_ALPHA_NOTE,))
    if largest == 1:
        return Still((colours * alpha).astype(values.dtype), (_ALPHA_NOTE,))
    product = colours.astype(np.uint64) * alpha
    return Still(((2 * product + largest) // (2 * largest)).astype(values.dtype), (_ALPHA_NOTE,))


def from_cmyk(values: np.ndarray) -> np.ndarray:
    """Converts CMYK to RGB `(height, width, 3)` without a colour profile."""
    largest = np.uint64(np.iinfo(values.dtype).max)
    light = largest - values.astype(np.uint64)
    return ((2 * light[..., :3] * light[..., 3:] + largest) // (2 * largest)).astype(values.dtype)


def widen(values: np.ndarray, bits: int) -> np.ndarray:
    """Scales samples of 1, 2 or 4 bits to 0 to 255, as for a PNG; returns other samples unchanged."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if bits in (1, 2, 4):
        return values.astype(np.uint8) * np.uint8(255 // (2**bits - 1))
    return values
