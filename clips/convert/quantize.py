"""Converts stored values to pixels: physical scale, missing values, gray, size.

    scale = PixelScale(ValueSpec(scale=0.12, unit="mm/h", rain_to_dbz=True, low=-10, high=60), encoding, values.dtype)
    pixels = scale(values, "storm.h5")  # (height, width, channel) in scale.dtype

The physical value of pixel p is `p * scale.value.scale + scale.value.offset` in `scale.value.unit`; `scale.missing` is
the pixel for no data.
"""

import collections

import numpy as np

from framecast.clips.convert.field_statistics import FieldStatistics
from framecast.clips.convert.sources.source import BadSource, ValueEncoding, ValueLimits
from framecast.clips.convert.spec import ValueSpec
from framecast.schemas.clip_spec import PixelValue
from framecast.schemas.units import RATE, REFLECTIVITY, rain_to_dbz

_LEAST_RAIN = 0.05  # mm/h; less counts as no rain.
_RATES = ("mm/h", "mm/hr", "mm/hour", "mmh-1", "mmhr-1", "mmhour-1", "mmh^-1", "mm*h-1", "mm.h-1")
_NO_LIMITS = ValueLimits()
_ROUNDING = 1e-6  # Of the range: values this close to it are not beyond it.
_ROWS = 16  # At once: their float64 values fit into a processor's cache.
_FLOAT_MISSING = -1.0  # Outside the legal range of a float32 pixel.


class PixelScale:
    """Converts the frames of a recording to pixels.

    Args:
        spec: Requested scale; overrides the encoding.
        encoding: How the source stores values.
        stored: The dtype of the stored values.
        tally: Receives the counts `values beyond the range`, `values moved off the pixel for missing` and
            `missing values`.
        limits: Which stored values are measurements.
        statistics: Receives the physical values of the frames, before they are clipped; only if `value` is known.

    Attributes:
        dtype: Dtype of the pixels.
        missing: Pixel for no data; None if values are never missing.
        value: Physical value of a pixel; None if unknown.

    Raises:
        ValueError: If `missing` is not a legal pixel.
    """

    def __init__(
        self,
        spec: ValueSpec,
        encoding: ValueEncoding,
        stored: np.dtype,
        tally: collections.Counter[str] | None = None,
        limits: ValueLimits = _NO_LIMITS,
        statistics: FieldStatistics | None = None,
    ):
        self._spec = spec
        self._statistics = statistics
        self._tally = collections.Counter() if tally is None else tally
        self._scale = encoding.scale if spec.scale is None else spec.scale
        self._offset = encoding.offset if spec.offset is None else spec.offset
        self._fill = encoding.fill if spec.fill is None else (spec.fill,)
        self._limits = limits
        self._ranged = spec.low is not None
        self._stored_unit = spec.unit or encoding.unit or (RATE if spec.rain_to_dbz else "1")
        if spec.rain_to_dbz and spec.unit is None and "".join(self._stored_unit.split()).lower() not in _RATES:
            raise ValueError(
                f"rain_to_dbz: expected values in {RATE}, received {self._stored_unit}; set --scale and --unit {RATE}"
            )
        unit = REFLECTIVITY if spec.rain_to_dbz else spec.unit or encoding.unit
        self.dtype = self._pixel_dtype(stored)
        self._largest = 1.0 if self.dtype == np.float32 else float(np.iinfo(self.dtype).max)
        self.missing = self._missing_pixel(spec.missing)
        self.value = self._pixel_value(unit, self._scale / self._largest if stored == np.bool_ else self._scale)

    def __call__(self, values: np.ndarray, place: str) -> np.ndarray:
        """Converts a frame.

        Args:
            values: `(height, width, channel)`, as stored.
            place: The frame, for messages.

        Raises:
            BadSource: If a value cannot be stored as a pixel.
        """
        if self._unchanged(values.dtype):
            return values
        known = self._known(values)
        absent = values.size - int(np.count_nonzero(known))
        if absent and self.missing is None:
            raise BadSource(place, f"{absent} pixels have no data; set the pixel for no data (--missing)")
        self._tally["missing values"] += absent
        detected = self._detected(values, known)
        if self.value is not None:
            self._add_statistics(values, known, detected)
        if self._ranged:
            pixels = self._ranged_pixels(values, known, detected)
        else:
            pixels = self._plain_pixels(values, known, detected, place)
        if self.missing is not None:
            pixels = np.where(known, pixels, self.dtype.type(self.missing))
        return pixels

    def physical(self, values: np.ndarray) -> np.ndarray:
        """Returns the physical values of a frame, except of pixels without data or in which nothing was detected."""
        return values[self._detected(values, self._known(values))].astype(np.float64) * self._scale + self._offset

    def can_store(self, values: np.ndarray) -> bool:
        """Returns whether a frame's values are pixels without a range."""
        if np.issubdtype(values.dtype, np.floating) and self.dtype != np.float32:
            return False
        seen = values[self._detected(values, self._known(values))]
        return bool(((seen >= 0) & (seen <= self._largest)).all())

    def _detected(self, values: np.ndarray, known: np.ndarray) -> np.ndarray:
        return known & ~np.isin(values, self._limits.undetect) if self._limits.undetect else known

    def _unchanged(self, stored: np.dtype) -> bool:
        """Returns whether stored values are the pixels, and all are known."""
        may_miss = self._fill or self._limits.bounded or self._limits.undetect or self.missing is not None
        integers = stored == self.dtype != np.float32
        return integers and not (self._ranged or may_miss or self.value)

    def _known(self, values: np.ndarray) -> np.ndarray:
        known = np.ones(values.shape, bool)
        for fill in self._fill:
            known &= values != fill
        if np.issubdtype(values.dtype, np.floating):
            known &= ~np.isnan(values)
        if self._limits.bounded:
            low, high = self._limits.valid
            known &= np.isin(values, self._limits.undetect) | ((values >= low) & (values <= high))
        return known

    def _add_statistics(self, values: np.ndarray, known: np.ndarray, detected: np.ndarray) -> None:
        if self._statistics is None:
            return
        seen = values[detected].astype(np.float64) * self._scale + self._offset
        absent = values.size - int(np.count_nonzero(known))
        self._statistics.add(self._stored_unit, seen, absent, int(np.count_nonzero(known & ~detected)))

    def _pixel_dtype(self, stored: np.dtype) -> np.dtype:
        if self._spec.dtype is not None:
            return np.dtype(self._spec.dtype)
        if self._ranged or stored in (np.uint8, np.bool_):
            return np.dtype(np.uint8)
        if np.issubdtype(stored, np.integer):
            return np.dtype(np.uint16)
        return np.dtype(np.float32)

    def _pixel_value(self, unit: str | None, scale: float) -> PixelValue | None:
        low, high = self._spec.low, self._spec.high
        if low is not None and high is not None:
            return PixelValue(unit=unit or "1", scale=(high - low) / self._largest, offset=low)
        if unit is not None or (self._scale, self._offset) != (1.0, 0.0):
            return PixelValue(unit=unit or "1", scale=scale, offset=self._offset)
        return None

    def _missing_pixel(self, asked: float | None) -> float | None:
        if asked is None:
            if self.dtype == np.float32:
                asked = _FLOAT_MISSING
            elif not self._fill and not self._limits.bounded:
                return None  # Without a fill value, only a float (NaN) can be missing.
            elif self._ranged:
                asked = self._largest
            else:
                fills = [fill for fill in self._fill if not np.isnan(fill)]
                possible = [*fills, *([self._largest] if self._limits.valid[1] < self._largest else [])]
                if not possible:
                    return None
                asked = next((pixel for pixel in possible if self._is_pixel(pixel)), possible[0])
        if not self._is_pixel(asked):
            raise ValueError(f"missing: expected a {self.dtype} pixel, received {asked:g} (--missing)")
        return asked

    def _is_pixel(self, value: float) -> bool:
        return self.dtype == np.float32 or (float(value).is_integer() and 0 <= value <= self._largest)

    def _ranged_pixels(self, values: np.ndarray, known: np.ndarray, detected: np.ndarray) -> np.ndarray:
        assert self._spec.low is not None
        assert self._spec.high is not None
        physical = np.where(known, values, 0).astype(np.float64) * self._scale + self._offset
        shares = physical
        if self._spec.rain_to_dbz:
            rain = physical >= _LEAST_RAIN
            physical = rain_to_dbz(np.where(rain, physical, 1.0))
            detected = detected & rain
            shares = np.where(rain, physical, self._spec.low)
        shares = np.where(detected | ~known, shares, self._spec.low)
        shares = (shares - self._spec.low) / (self._spec.high - self._spec.low)
        beyond = detected & ((shares < -_ROUNDING) | (shares > 1 + _ROUNDING))
        self._tally["values beyond the range"] += int(np.count_nonzero(beyond))
        shares = np.clip(shares, 0, 1)
        if self.dtype == np.float32:
            return shares.astype(np.float32)
        pixels = np.rint(shares * self._largest)
        if self.missing is not None:
            taken = pixels == self.missing
            self._tally["values moved off the pixel for missing"] += int(np.count_nonzero(known & taken))
            pixels[taken] += -1 if self.missing else 1
        return pixels.astype(self.dtype)

    def _plain_pixels(self, values: np.ndarray, known: np.ndarray, detected: np.ndarray, place: str) -> np.ndarray:
        if values.dtype == np.bool_:
            values = values * self.dtype.type(self._largest)  # True is white, as in a 1-bit image.
        floating = np.issubdtype(values.dtype, np.floating)
        if floating and self.dtype != np.float32:
            raise BadSource(place, f"expected integers, received {values.dtype}; set the range of the values (--range)")
        bad = detected & ~((values >= 0) & (values <= self._largest))
        if bad.any():
            received = values[bad][0]
            expected = f"expected values from 0 to {self._largest:g} ({self.dtype})"
            raise BadSource(place, f"{expected}, received {received:g}; set their range (--range)")
        if self.missing is not None and (detected & (values == self.missing)).any():
            raise BadSource(
                place, f"the pixel for no data, {self.missing:g}, is also a value; set another one (--missing)"
            )
        moved = known & ~detected & (values != 0)
        if moved.any():
            if self._scale < 0:
                raise BadSource(place, "the value for nothing detected has no pixel; set the range (--range)")
            self._tally["values for nothing detected, stored as pixel 0"] += int(np.count_nonzero(moved))
        return np.where(detected, values, 0).astype(self.dtype)


def luminance(values: np.ndarray, place: str) -> np.ndarray:
    """Converts RGB or RGBA `(height, width, 3 or 4)` to luminance `(height, width, 1)` (ITU-R 601-2).

    Raises:
        BadSource: If the frame has 2 or more than 4 channels.
    """
    if values.shape[-1] == 1:
        return values
    if values.shape[-1] not in (3, 4):
        raise BadSource(place, f"expected 1, 3 or 4 channels (--gray), received {values.shape[-1]}")
    gray = np.empty((*values.shape[:2], 1), values.dtype)
    whole = np.issubdtype(values.dtype, np.integer)
    for top in range(0, len(values), _ROWS):
        rows = values[top : top + _ROWS, :, :3].astype(np.float64) @ (0.299, 0.587, 0.114)
        gray[top : top + _ROWS, :, 0] = np.rint(rows) if whole else rows
    return gray


def resize(pixels: np.ndarray, size: tuple[int, int], missing: float | None) -> np.ndarray:
    """Resizes by bilinear interpolation, with antialiasing when shrinking.

    Args:
        pixels: `(height, width, channel)`.
        size: New height and width.
        missing: Pixel for no data. Only known pixels are interpolated; a new pixel is missing if known pixels have less
            than half of the weight.

    Returns:
        `(*size, channel)` of the same dtype.
    """
    if pixels.shape[:2] == tuple(size):
        return pixels
    filled = pixels
    if missing is not None:
        known = pixels != pixels.dtype.type(missing)
        filled = np.where(known, pixels, 0)
    resized = np.stack([_resize_plane(filled[..., c], size) for c in range(pixels.shape[-1])], axis=-1)
    if missing is not None:
        weight = np.stack([_resize_plane(known[..., c], size) for c in range(pixels.shape[-1])], axis=-1)
        resized = resized / np.maximum(weight, 1e-6)
    if np.issubdtype(pixels.dtype, np.integer):
        resized = np.clip(np.rint(resized), 0, np.iinfo(pixels.dtype).max)
        if missing is not None:
            # An interpolated value equal to `missing` would read as no data.
            resized = np.where(resized == missing, resized + (-1 if missing else 1), resized)
    if missing is not None:
        resized = np.where(weight < 0.5, missing, resized)
    return resized.astype(pixels.dtype)


def _resize_plane(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    image = Image.fromarray(plane.astype(np.float32))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
