"""Adds up the physical values of a conversion, so that a lost scale or unit is visible."""

import collections
import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass
class UnitStatistics:
    """Statistics of values in one unit.

    Args:
        min: Least value; None if all are missing.
        max: Largest value.
        total: Sum of the values.
        count: Number of known values in which something was detected.
        missing: Number of missing values.
        undetected: Number of values for "nothing detected".
    """

    min: float | None = None
    max: float | None = None
    total: float = 0.0
    count: int = 0
    missing: int = 0
    undetected: int = 0

    def merge(self, other: "UnitStatistics") -> None:
        """Adds other values."""
        self.min = min((value for value in (self.min, other.min) if value is not None), default=None)
        self.max = max((value for value in (self.max, other.max) if value is not None), default=None)
        self.total += other.total
        self.count += other.count
        self.missing += other.missing
        self.undetected += other.undetected

    def describe(self) -> dict[str, Any]:
        """Returns minimum, maximum, mean and the shares of missing and undetected values."""
        size = max(1, self.count + self.missing + self.undetected)
        return {
            "min": self.min,
            "max": self.max,
            "mean": self.total / self.count if self.count else None,
            "missing": self.missing / size,
            "undetected": self.undetected / size,
        }


class FieldStatistics:
    """Statistics of physical values, by unit."""

    def __init__(self) -> None:
        self._by_unit: dict[str, UnitStatistics] = collections.defaultdict(UnitStatistics)

    def add(self, unit: str, values: np.ndarray, missing: int, undetected: int) -> None:
        """Adds the values of a frame.

        Args:
            unit: Unit of the values.
            values: The known values, float64.
            missing: Number of missing values.
            undetected: Number of values for "nothing detected".
        """
        seen = UnitStatistics(missing=missing, undetected=undetected)
        if values.size:
            low, high = float(values.min()), float(values.max())
            seen = UnitStatistics(low, high, float(values.sum()), values.size, missing, undetected)
        self._by_unit[unit].merge(seen)

    def merge(self, units: dict[str, dict[str, Any]]) -> None:
        """Adds the result of another `to_json`."""
        for unit, values in units.items():
            self._by_unit[unit].merge(UnitStatistics(**values))

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Returns the sums by unit."""
        return {unit: dataclasses.asdict(values) for unit, values in sorted(self._by_unit.items())}

    def describe(self) -> dict[str, dict[str, Any]]:
        """Returns minimum, maximum, mean and shares by unit."""
        return {unit: values.describe() for unit, values in sorted(self._by_unit.items())}
