"""Turns frames upright, by EXIF orientation or by a video's display matrix."""

import struct

import numpy as np

EXIF_TAG = 0x112
# EXIF orientation by the signs of a display matrix (a, b, c, d): x' = ax + cy, y' = bx + dy, y pointing down.
_BY_MATRIX = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
_ROUNDING = 0.001  # Of the matrix's largest entry: counts as 0.


def turn_upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Returns `(height, width, channel)` values as they are to be displayed.

    Args:
        values: As stored.
        orientation: EXIF orientation, 1 (upright) to 8; any other value counts as 1.
    """
    if orientation in (5, 6, 7, 8):
        values = values.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values


def matrix_orientation(matrix: bytes) -> int:
    """Returns the EXIF orientation of a display matrix: nine 32-bit integers in native byte order.

    Raises:
        ValueError: If the matrix turns by another angle than a multiple of 90 degrees.
    """
    a, b, _, c, d = struct.unpack_from("=5i", matrix)
    largest = max(map(abs, (a, b, c, d)))
    signs = tuple(0 if abs(entry) <= _ROUNDING * largest else entry // abs(entry) for entry in (a, b, c, d))
    if signs not in _BY_MATRIX:
        raise ValueError(f"expected a display matrix that turns by a multiple of 90 degrees, received {a, b, c, d}")
    return _BY_MATRIX[signs]
