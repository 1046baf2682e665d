"""Computes sharpness from sums over clips by lead time: the share of the truth's power that a forecast keeps.

The model and every reference forecast have the same metrics. `power_4px` and `power_4px_persistence` are the mean power
of the forecast at wavelengths around 4 pixels over that of the truth: below 1 the forecast is too smooth, above 1 too
rough. `framecast.evaluation.sums.spectrum` defines the power.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from framecast.evaluation.metrics.forecast import FORECASTS
from framecast.evaluation.metrics.ratio import ratio

# Centres of the bands in pixels, half octaves from the shortest wave that a row of pixels can hold. They do not depend
# on the frame size, so that clips of different sizes add.
WAVELENGTHS = tuple(2.0 ** (1 + band / 2) for band in range(13))

TRUTH = "_truth"

# The endings of outputs: the truth, the model and the references.
FIELDS = (TRUTH, *FORECASTS)


class SpectrumMetric(NamedTuple):
    """The parts of a metric's name.

    Args:
        band: Index in `WAVELENGTHS`.
        forecast: One of `FORECASTS`.
    """

    band: int
    forecast: str


# The metrics, and the parts of their names.
NAMES = {
    f"power_{wavelength:.0f}px{forecast}": SpectrumMetric(band, forecast)
    for forecast in FORECASTS
    for band, wavelength in enumerate(WAVELENGTHS)
}

# Outputs of the `evaluate` signature, float32 `(batch, horizon, band)` each. `spectra` counts the frames and channels
# that have a band, `power<field>` sums the power of each.
OUTPUTS = ("spectra", *(f"power{field}" for field in FIELDS))


def outputs() -> dict[str, tuple[int, ...]]:
    """Returns `OUTPUTS` and their axes after batch and horizon."""
    return dict.fromkeys(OUTPUTS, (len(WAVELENGTHS),))


def compute(sums: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Returns one of `NAMES`; nan where no frame has the band or the truth has no power in it.

    Args:
        sums: For each of `OUTPUTS`, `(..., lead time, band)`. Lead times are pooled, axes in front are kept.
        name: The metric.
    """
    band, forecast = NAMES[name]
    power, truth = (sums[f"power{field}"][..., band].sum(-1) for field in (forecast, TRUTH))
    return ratio(power, truth)


def spectra(sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the mean power over frames and channels.

    Args:
        sums: For each of `OUTPUTS`, `(lead time, band)`.

    Returns:
        For each of `FIELDS`, `(lead time, band)`, in squares of the pixel range; nan where no frame has the band.
    """
    counts = np.where(sums["spectra"] > 0, sums["spectra"], np.nan)
    return {field: sums[f"power{field}"] / counts for field in FIELDS}
