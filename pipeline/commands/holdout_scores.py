"""Scores forecasts against held-out frames, for `framecast query --holdout`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from framecast.clips.palette import unit_range
from framecast.serving.predictions.prediction import FORECAST, Prediction


def score(predictions: Sequence[Prediction]) -> dict[str, list[float]]:
    """Returns errors by lead time over the known pixels of all clips.

    Args:
        predictions: Forecasts with `truth`.

    Returns:
        `mse` and `mse_persistence`, per known pixel in [0, 1], and `skill_persistence`, by lead time.
    """
    sums: dict[str, Any] = {"mse": 0.0, "mse_persistence": 0.0}
    pixels: Any = 0
    for prediction in predictions:
        assert prediction.truth is not None
        last = prediction.context[-1]
        known = np.ones(prediction.truth.shape, bool)
        if prediction.missing is not None:
            missing = prediction.context.dtype.type(prediction.missing)
            known = prediction.truth != missing
            last = np.where(last == missing, 0, last)  # The model's input for missing pixels.
        truth = unit_range(prediction.truth)
        for name, forecast in (("mse", prediction.outputs[FORECAST]), ("mse_persistence", unit_range(last)[None])):
            sums[name] = sums[name] + np.sum(np.where(known, np.square(forecast - truth), 0), axis=(1, 2, 3))
        pixels = pixels + np.count_nonzero(known, axis=(1, 2, 3))
    mse, mse_persistence = (sums[name] / np.maximum(pixels, 1) for name in ("mse", "mse_persistence"))
    return {
        "mse": mse.tolist(),
        "mse_persistence": mse_persistence.tolist(),
        "skill_persistence": (1 - mse / np.maximum(mse_persistence, 1e-12)).tolist(),
    }
