"""Rain rate and radar reflectivity: `Z = a R**b` with a = 200 and b = 1.6 (Marshall and Palmer 1948)."""

import numpy as np

# The units as configurations and clips spell them.
RATE = "mm/h"
REFLECTIVITY = "dBZ"

_FACTOR, _POWER = 200.0, 1.6


def rain_to_dbz(rate: np.ndarray | float) -> np.ndarray:
    """Returns the reflectivity in dBZ of a rain rate above 0 in mm/h, as float64 of its shape."""
    return 10 * np.log10(_FACTOR * np.asarray(rate, np.float64) ** _POWER)
