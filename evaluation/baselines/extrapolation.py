"""Forecasts by optical-flow extrapolation with pySTEPS: the reference for fields that move. Imports NumPy only.

    if available():
        forecast, reached = extrapolate(context, known, horizon)

The motion of the last frames is estimated by dense Lucas-Kanade (Bouguet 2001, `pysteps.motion.lucaskanade`). The last
frame is advected by the semi-Lagrangian scheme (Germann and Zawadzki 2002, `pysteps.extrapolation.semilagrangian`).
`framecast[extrapolation]` installs pySTEPS and OpenCV.
"""

import contextlib
import functools
import importlib.util
import io
from collections.abc import Callable

import numpy as np

NAME = "extrapolation"
# The message where pySTEPS is not installed.
MISSING = (
    "not compared with extrapolation, which needs pySTEPS (and a C compiler to install it): "
    "pip install framecast[extrapolation]"
)

_FRAMES = 4  # Most frames that the motion is estimated from.


def available() -> bool:
    """Returns whether pySTEPS and OpenCV are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("pysteps", "cv2"))


def extrapolate(context: np.ndarray, known: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts one clip: advects the last frame by the motion of the last four.

    All channels move alike, by the motion of their mean. The motion is 0 for a single frame and where no motion is
    detected.

    Args:
        context: `(time, height, width, channel)` float32 in [0, 1]; ignored where not known.
        known: bool of that shape.
        horizon: Frames to forecast.

    Returns:
        `(forecast, reached)`: `(horizon, height, width, channel)` float32 in [0, 1], and bool of that shape. Where a
        pixel's path starts outside of the frame or at a missing pixel, `reached` is False and the forecast is 0.
    """
    _, advect = _methods()
    motion = _motion(context, known)
    last = np.where(known[-1], context[-1], np.nan).astype(np.float64)
    forecast = np.full((horizon, *last.shape), np.nan)
    for channel in range(last.shape[-1]):
        if known[-1, ..., channel].any():  # pySTEPS rejects a frame without values.
            forecast[..., channel] = advect(last[..., channel], motion, horizon, allow_nonfinite_values=True)
    reached = np.isfinite(forecast)
    return np.where(reached, forecast, 0.0).astype(np.float32), reached


def _motion(context: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns the motion `(2, height, width)`, in pixels per frame to the right and down."""
    count = known[-_FRAMES:].sum(axis=-1)
    total = np.where(known[-_FRAMES:], context[-_FRAMES:], 0.0).sum(axis=-1, dtype=np.float64)
    frames = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    # pySTEPS fails on frames without a known pixel, so only the frames after the last of these are used.
    empty = np.flatnonzero(np.isnan(frames).all(axis=(1, 2)))
    frames = frames[empty[-1] + 1 :] if empty.size else frames
    if len(frames) < 2:
        return np.zeros((2, *context.shape[1:3]))
    track, _ = _methods()
    return track(np.ma.masked_invalid(frames))


@functools.lru_cache(maxsize=1)
def _methods() -> tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]:
    with contextlib.redirect_stdout(io.StringIO()):  # Importing pySTEPS prints a banner.
        from pysteps.extrapolation import semilagrangian
        from pysteps.motion import lucaskanade
    return lucaskanade.dense_lucaskanade, semilagrangian.extrapolate
