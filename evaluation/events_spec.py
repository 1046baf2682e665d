"""Defines the `evaluate.events` section: which pixels are events, such as rain of 2 mm/h or more."""

import itertools
from typing import Annotated

import pydantic

from framecast.schemas.clip_spec import ClipSpec
from framecast.schemas.section import Section
from framecast.schemas.units import RATE, REFLECTIVITY, rain_to_dbz

Finite = Annotated[float, pydantic.Field(allow_inf_nan=False)]
Side = Annotated[int, pydantic.Field(ge=1)]


class EventsSpec(Section):
    """Events: pixels whose value is at or above a threshold.

    Args:
        thresholds: Ascending, in `unit`. Metric names contain them in the format `%g`: `csi_0.5`.
        unit: `clip.value.unit` unless given. Clips in dBZ may have thresholds in mm/h. Without `clip.value`, thresholds
            are pixels from 0 to 1 and there is no unit.
        scales: Sides of the square windows of FSS in pixels, ascending and odd, so that a window has a centre.
    """

    thresholds: tuple[Finite, ...] = pydantic.Field(min_length=1)
    unit: str | None = None
    scales: tuple[Side, ...] = pydantic.Field(default=(1, 5, 17), min_length=1)

    @pydantic.field_validator("thresholds", "scales")
    @classmethod
    def _ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if any(left >= right for left, right in itertools.pairwise(values)):
            raise ValueError(f"expected ascending values, received {', '.join(f'{value:g}' for value in values)}")
        return values

    @pydantic.field_validator("thresholds")
    @classmethod
    def _distinct_names(cls, thresholds: tuple[float, ...]) -> tuple[float, ...]:
        for left, right in itertools.pairwise(thresholds):
            if f"{left:g}" == f"{right:g}":
                raise ValueError(f"expected values that differ in 6 digits, received {left} and {right}")
        return thresholds

    @pydantic.field_validator("scales")
    @classmethod
    def _odd(cls, scales: tuple[int, ...]) -> tuple[int, ...]:
        for scale in scales:
            if scale % 2 == 0:
                raise ValueError(f"expected odd numbers of pixels, received {scale}")
        return scales

    def in_pixels(self, clip: ClipSpec) -> tuple[float, ...]:
        """Returns the thresholds as pixels in (0, 1], as the model receives them.

        Raises:
            ValueError: When a value does not fit the clips; the message names the key.
        """
        value = clip.value
        if value is None:
            if self.unit is not None:
                raise ValueError(
                    "unit: expected none, because without clip.value thresholds are pixels from 0 to 1, "
                    f"received {self.unit}"
                )
            shares = {threshold: threshold for threshold in self.thresholds}
            legal = "values above 0, up to 1, because clip.value is not given"
        else:
            if value.scale <= 0:
                raise ValueError(f"expected clip.value.scale above 0, received {value.scale:g}")
            physical = self._in_unit(value.unit)
            largest = clip.max_pixel * value.scale
            shares = {threshold: (number - value.offset) / largest for threshold, number in physical.items()}
            legal = f"values above {value.offset:g} {value.unit}, up to {value.offset + largest:g} (clip.value)"
        for threshold, share in shares.items():
            if not 0 < share <= 1:
                raise ValueError(f"thresholds: expected {legal}, received {threshold:g} {self.unit or ''}".rstrip())
        return tuple(shares.values())

    def _in_unit(self, unit: str) -> dict[float, float]:
        """Returns each threshold in the clips' unit."""
        if self.unit is None or self.unit == unit:
            return {threshold: threshold for threshold in self.thresholds}
        if (self.unit, unit) != (RATE, REFLECTIVITY):
            expected = f"{unit} (clip.value.unit)" + (f" or {RATE}" if unit == REFLECTIVITY else "")
            raise ValueError(f"unit: expected {expected}, received {self.unit}")
        if self.thresholds[0] <= 0:
            raise ValueError(f"thresholds: expected values above 0 {RATE}, received {self.thresholds[0]:g}")
        return {threshold: float(rain_to_dbz(threshold)) for threshold in self.thresholds}
