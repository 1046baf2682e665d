"""Metrics of forecast frames beside the reference forecasts, from sums over clips by lead time."""

from collections.abc import Mapping

import numpy as np

from framecast.evaluation.metrics.ratio import ratio

# Forecasts that every model is compared with; see `framecast.evaluation.baselines.in_graph`.
REFERENCES = ("persistence", "climatology", "black", "persistence_blurred")

# The forecasts that are measured alike, as outputs and metrics end: the model, then the references.
FORECASTS = ("", *(f"_{reference}" for reference in REFERENCES))

SSIM_OUTPUTS = ("ssim", "ssim_openstl", "ssim_frames")

# What the `evaluate` signature of a forecast returns: float32 `(batch, horizon)` each; see `evaluation.sums.forecast`.
OUTPUTS = (
    "pixels",
    "frames",
    "squared_error",
    "absolute_error",
    "psnr",
    *SSIM_OUTPUTS,
    *(f"squared_error_{reference}" for reference in REFERENCES),
)

_RATIOS = {
    "mse": ("squared_error", "pixels"),
    "mae": ("absolute_error", "pixels"),
    "mse_frame": ("squared_error", "frames"),
    "mae_frame": ("absolute_error", "frames"),
    "psnr": ("psnr", "frames"),
    "ssim": ("ssim", "ssim_frames"),
    "ssim_openstl": ("ssim_openstl", "ssim_frames"),
    **{f"mse_{reference}": (f"squared_error_{reference}", "pixels") for reference in REFERENCES},
}

# `mse` and `mae` are means over pixels; `mse_frame` and `mae_frame` sum over a frame's pixels and are means over
# frames; `psnr` (dB), `ssim` and `ssim_openstl` are means over frames; skills are shares of a reference's squared error
# that the model avoids.
NAMES = (*_RATIOS, "skill", *(f"skill_{reference}" for reference in REFERENCES))


def compute(sums: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Returns one of `NAMES`; nan where nothing was counted, or a reference made no error.

    `skill = 1 - sum(squared error) / sum(squared error of the best reference at each lead time)`.

    Args:
        sums: For each of `OUTPUTS`, `(..., lead time)`: those that are pooled. What is returned has the axes in front.
        name: The metric.
    """
    if name in _RATIOS:
        numerator, denominator = (sums[statistic] for statistic in _RATIOS[name])
        return ratio(numerator.sum(-1), denominator.sum(-1))
    references = REFERENCES if name == "skill" else [name.removeprefix("skill_")]
    errors = [sums[f"squared_error_{reference}"] for reference in references]
    return 1.0 - ratio(sums["squared_error"].sum(-1), np.min(errors, axis=0).sum(-1))
