"""Selects from figures, which are metric values by `registry.key`.

overall({"mse": 0.1, "mse/lead_1": 0.05, "power_2px": 0.8})    # {"mse": 0.1}
"""

from collections.abc import Mapping, Sequence

from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics import spectrum as spectrum_metrics
from framecast.evaluation.metrics.forecast import REFERENCES

# None where a metric is not a finite number.
Figures = Mapping[str, float | None]

# The one power that is listed with the other metrics, because it measures blur. Blur removes the shortest waves first,
# but power at 2 and 3 pixels includes the noise of single pixels, which no forecast should reproduce.
SHARPNESS = "power_4px"


def is_detail(name: str) -> bool:
    """Returns whether lists leave a metric out: powers by wavelength, except `SHARPNESS`."""
    return name in spectrum_metrics.NAMES and not name.startswith(SHARPNESS)


def overall(figures: Figures) -> dict[str, float | None]:
    """Returns the figures over all lead times, without details."""
    return {key: value for key, value in figures.items() if registry.parse_key(key)[1] is None and not is_detail(key)}


def powers(figures: Figures) -> dict[str, float | None]:
    """Returns the powers over all lead times that `overall` leaves out."""
    return {key: value for key, value in figures.items() if registry.parse_key(key)[1] is None and is_detail(key)}


def horizon(figures: Figures) -> int:
    """Returns the last lead time that has a figure; 0 when none has."""
    return max((registry.parse_key(key)[1] or 0 for key in figures), default=0)


def base_metric(name: str, names: Sequence[str]) -> str | None:
    """Returns the metric in `names` that `name` measures of a reference forecast, such as `mse` for `mse_black`."""
    for reference in REFERENCES:
        base = name.removesuffix(f"_{reference}")
        if base != name and base in names:
            return base
    return None
