"""Units and codes for no data of MRMS, whose GRIB2 messages lack them (discipline 209).

From https://github.com/NOAA-National-Severe-Storms-Laboratory/mrms-support, UserTable_MRMS_v12.2.csv. Only parameters
whose codes are no measurements.
"""

import dataclasses

DISCIPLINE = 209


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter of MRMS.

    Args:
        unit: Its unit.
        fill: Codes for no data.
        undetect: Codes for "observed, but nothing detected".
    """

    unit: str
    fill: tuple[float, ...]
    undetect: tuple[float, ...] = ()


# The table's "missing" of a reflectivity is a place that a radar observes, without an echo.
_REFLECTIVITY = Parameter("dBZ", fill=(-999.0,), undetect=(-99.0,))
_RATE = Parameter("mm/h", fill=(-3.0, -1.0))
_DEPTH = Parameter("mm", fill=(-3.0, -1.0))
_ECHO_TOP = Parameter("km", fill=(-3.0, -1.0))
_VIL = Parameter("kg/m2", fill=(-3.0, -1.0))

# By category and number.
PARAMETERS = {
    **{(3, number): _DEPTH for number in range(28, 35)},  # Hail size.
    (3, 41): _VIL,
    **{(3, number): _ECHO_TOP for number in range(44, 48)},
    **{(3, number): _REFLECTIVITY for number in range(52, 59)},
    (6, 1): _RATE,
    **{(6, number): _DEPTH for number in (*range(2, 9), *range(30, 44), 45, 46)},
    (8, 8): _REFLECTIVITY,
    (9, 0): _REFLECTIVITY,
    **{(10, number): _REFLECTIVITY for number in (0, 2, 4, 5, 6, 7, 9, 10)},
    **{(11, number): _REFLECTIVITY for number in range(4)},
}
