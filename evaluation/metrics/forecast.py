"""Computes metrics of forecast frames and of the reference forecasts from sums over clips by lead time."""

from collections.abc import Mapping

import numpy as np

from framecast.evaluation.metrics.ratio import ratio

# The forecasts that every model is compared with; see `framecast.evaluation.baselines.in_graph`.
REFERENCES = ("persistence", "climatology", "black", "persistence_blurred")

# The endings of outputs and metrics: none for the model, then one for each reference.
FORECASTS = ("", *(f"_{reference}" for reference in REFERENCES))

SSIM_OUTPUTS = ("ssim", "ssim_openstl", "ssim_frames")

# Outputs of the `evaluate` signature, float32 `(batch, horizon)` each; see `framecast.evaluation.sums.forecast`.
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

# `mse` and `mae` are means over pixels. `mse_frame` and `mae_frame` are sums over a frame's pixels, then means over
# frames. `psnr` (dB), `ssim` and `ssim_openstl` are means over frames. A skill is the share of a reference's squared
# error that the model avoids.
NAMES = (*_RATIOS, "skill", *(f"skill_{reference}" for reference in REFERENCES))


def compute(sums: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Returns one of `NAMES`; nan where nothing was counted or the reference has no error.

    `skill = 1 - sum(squared error) / sum(squared error of the best reference at each lead time)`.

    Args:
        sums: For each of `OUTPUTS`, `(..., lead time)`. Lead times are pooled, axes in front are kept.
        name: The metric.
    """
    if name in _RATIOS:
        numerator, denominator = (sums[statistic] for statistic in _RATIOS[name])
        return ratio(numerator.sum(-1), denominator.sum(-1))
    references = REFERENCES if name == "skill" else [name.removeprefix("skill_")]
    errors = [sums[f"squared_error_{reference}"] for reference in references]
    return 1.0 - ratio(sums["squared_error"].sum(-1), np.min(errors, axis=0).sum(-1))
