"""Names of forecasts and metrics, apart from any heavy import: the configuration is checked against them."""

import difflib
from collections.abc import Iterable

MODEL = "model"
REFERENCES = ("persistence", "climatology", "black", "persistence_blurred")
OUTPUTS = ("pixels", "squared_error", "absolute_error", *(f"squared_error_{name}" for name in REFERENCES))

# Per-pixel means in [0, 1] and skills; see `framecast.evaluation.metrics`.
METRICS = (
    "mse",
    "mae",
    "skill",
    *(f"skill_{name}" for name in REFERENCES),
    *(f"mse_{name}" for name in REFERENCES),
)


def check_names(names: Iterable[str]) -> None:
    """Raises ValueError for a name that is no metric's, with the closest one."""
    for name in names:
        if name not in METRICS:
            close = difflib.get_close_matches(name, METRICS, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"thresholds: expected a metric of {', '.join(METRICS)}, received {name}{hint}")


def metric_key(metric: str, lead_time: int | None) -> str:
    """Returns the name of a metric at one lead time (1 is the first forecast frame), or over all of them."""
    return metric if lead_time is None else f"{metric}@{lead_time}"


def split_key(key: str) -> tuple[str, int | None]:
    """Undoes `metric_key`."""
    metric, at, lead = key.partition("@")
    return metric, int(lead) if at else None
