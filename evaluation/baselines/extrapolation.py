"""Optical-flow extrapolation by pySTEPS: the reference forecast of fields that move as a whole. Imports NumPy only.

    if available():
        forecast, reached = extrapolate(context, known, horizon)

The motion is dense Lucas-Kanade's over the last frames (Bouguet 2001, as `pysteps.motion.lucaskanade`), the last frame
is carried on by the semi-Lagrangian scheme (Germann and Zawadzki 2002, as `pysteps.extrapolation.semilagrangian`).
pySTEPS and OpenCV come with `framecast[extrapolation]`.
"""

import contextlib
import functools
import importlib.util
import io
from collections.abc import Callable

import numpy as np

NAME = "extrapolation"
# What to tell a person who has no pySTEPS.
MISSING = (
    "not beside extrapolation, which needs pySTEPS and a C compiler to install it: pip install framecast[extrapolation]"
)

_FRAMES = 4  # Frames that the motion is taken from, at most.


def available() -> bool:
    """Tells whether pySTEPS and what it needs to see motion are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("pysteps", "cv2"))


def extrapolate(context: np.ndarray, known: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts one clip: the last frame, moved on as the last four moved.

    All channels move alike, by the motion of their mean. Without a second frame, or with nothing to see moving, the
    motion is 0.

    Args:
        context: `(time, height, width, channel)` float32 in [0, 1]; never read where not known.
        known: bool of that shape.
        horizon: Frames to forecast.

    Returns:
        `(forecast, reached)`: `(horizon, height, width, channel)` float32 in [0, 1], and bool of that shape, False, and
        the forecast 0, where the path of a pixel comes from outside of the frame or from a missing pixel.
    """
    _, carry = _methods()
    motion = _motion(context, known)
    last = np.where(known[-1], context[-1], np.nan).astype(np.float64)
    forecast = np.full((horizon, *last.shape), np.nan)
    for channel in range(last.shape[-1]):
        if known[-1, ..., channel].any():  # pySTEPS refuses a frame without any value.
            forecast[..., channel] = carry(last[..., channel], motion, horizon, allow_nonfinite_values=True)
    reached = np.isfinite(forecast)
    return np.where(reached, forecast, 0.0).astype(np.float32), reached


def _motion(context: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns `(2, height, width)`, pixels a frame to the right and down."""
    count = known[-_FRAMES:].sum(axis=-1)
    total = np.where(known[-_FRAMES:], context[-_FRAMES:], 0.0).sum(axis=-1, dtype=np.float64)
    frames = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    # Of frames without a known pixel pySTEPS can make nothing: only those after the last such one are looked at.
    empty = np.flatnonzero(np.isnan(frames).all(axis=(1, 2)))
    frames = frames[empty[-1] + 1 :] if empty.size else frames
    if len(frames) < 2:
        return np.zeros((2, *context.shape[1:3]))
    track, _ = _methods()
    return track(np.ma.masked_invalid(frames))


@functools.lru_cache(maxsize=1)
def _methods() -> tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]:
    with contextlib.redirect_stdout(io.StringIO()):  # pySTEPS greets whoever imports it.
        from pysteps.extrapolation import semilagrangian
        from pysteps.motion import lucaskanade
    return lucaskanade.dense_lucaskanade, semilagrangian.extrapolate
