"""Sharpness: how much of the truth's power a forecast keeps, by wavelength, from sums over clips by lead time.

The model and every reference forecast have the same metrics: `power_4px`, `power_4px_persistence`, each the mean power
of the forecast's waves of around 4 pixels over that of the truth's. Below 1 a forecast is too smooth, above too rough.
What the power is stands in `framecast.evaluation.sums.spectrum`.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from framecast.evaluation.metrics.forecast import FORECASTS
from framecast.evaluation.metrics.ratio import ratio

# Middles of the bands in pixels: half octaves from the shortest wave that a row of pixels can hold. They are the same
# whatever a frame's size, so that sums over clips of different sizes add.
WAVELENGTHS = tuple(2.0 ** (1 + band / 2) for band in range(13))

TRUTH = "_truth"

# The fields that have a spectrum, as the outputs end.
FIELDS = (TRUTH, *FORECASTS)


class SpectrumMetric(NamedTuple):
    """What a metric's name stands for.

    Args:
        band: Place in `WAVELENGTHS`.
        forecast: One of `FORECASTS`.
    """

    band: int
    forecast: str


# The metrics by name.
NAMES = {
    f"power_{wavelength:.0f}px{forecast}": SpectrumMetric(band, forecast)
    for forecast in FORECASTS
    for band, wavelength in enumerate(WAVELENGTHS)
}

# What the `evaluate` signature of a forecast returns: float32 `(batch, horizon, band)` each. `spectra` counts the
# frames and channels that have a band, `power<field>` sums the power of each.
OUTPUTS = ("spectra", *(f"power{field}" for field in FIELDS))


def outputs() -> dict[str, tuple[int, ...]]:
    """Returns `OUTPUTS` and their axes after batch and horizon."""
    return dict.fromkeys(OUTPUTS, (len(WAVELENGTHS),))


def compute(sums: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Returns one of `NAMES`; nan where no frame has the band, or the truth has no power in it.

    Args:
        sums: For each of `OUTPUTS`, `(..., lead time, band)`: those that are pooled. What is returned has the axes in
            front.
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
