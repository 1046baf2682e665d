"""Converts rain rate to radar reflectivity: `Z = a R**b` with a = 200 and b = 1.6 (Marshall and Palmer 1948)."""

import numpy as np

# Spelling of the units in configurations and clips.
RATE = "mm/h"
REFLECTIVITY = "dBZ"

_FACTOR, _POWER = 200.0, 1.6


def rain_to_dbz(rate: np.ndarray | float) -> np.ndarray:
    """Returns the reflectivity in dBZ (float64, same shape) of a positive rain rate in mm/h."""
    return 10 * np.log10(_FACTOR * np.asarray(rate, np.float64) ** _POWER)
