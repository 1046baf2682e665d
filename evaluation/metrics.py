"""Forecast metrics, computed from sums that can be merged in any order.

    sums = Sums().update(outputs).merge(other_worker)    # outputs: what the `evaluate` signature returns
    sums.compute("skill"), sums.compute("mse", lead_time=3)

The same algebra (init, update, merge, compute) serves a loop, a Beam CombineFn and the report. Pixels are in [0, 1].
Over all lead times, sums are pooled: `mse` is the sum of all squared errors over the number of all pixels.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping

import numpy as np

# Forecasts that every model is compared with; see `framecast.evaluation.references`.
REFERENCES = ("persistence", "climatology", "black", "persistence_blurred")

# What the `evaluate` signature returns: float32 `(batch, horizon)` each; see `framecast.evaluation.sums`.
OUTPUTS = (
    "pixels",
    "frames",
    "squared_error",
    "absolute_error",
    "psnr",
    *(f"squared_error_{reference}" for reference in REFERENCES),
)

# `mse` and `mae` are means over pixels; `mse_frame` and `mae_frame` sum over a frame's pixels and are means over
# frames; `psnr` (dB) is a mean over frames; skills are shares of a reference's squared error that the model avoids.
NAMES = (
    "mse",
    "mae",
    "mse_frame",
    "mae_frame",
    "psnr",
    *(f"mse_{reference}" for reference in REFERENCES),
    "skill",
    *(f"skill_{reference}" for reference in REFERENCES),
)

_RATIOS = {
    "mse": ("squared_error", "pixels"),
    "mae": ("absolute_error", "pixels"),
    "mse_frame": ("squared_error", "frames"),
    "mae_frame": ("absolute_error", "frames"),
    "psnr": ("psnr", "frames"),
    **{f"mse_{reference}": (f"squared_error_{reference}", "pixels") for reference in REFERENCES},
}


def check_names(names: Iterable[str]) -> None:
    """Refuses a name that is not in `NAMES`.

    Raises:
        ValueError: Naming the received name and the closest metric.
    """
    for name in names:
        if name not in NAMES:
            closest = difflib.get_close_matches(name.lower(), NAMES, n=1, cutoff=0.0)[0]
            raise ValueError(f"expected one of {', '.join(NAMES)}, received {name}; the closest is {closest}")


def lower_is_better(name: str) -> bool:
    """Tells whether a smaller value of the metric `name` is the better one."""
    return name != "psnr" and not name.startswith("skill")


def key(name: str, lead_time: int | None = None) -> str:
    """Returns how results name a metric: `mse` over all lead times, `mse/lead_3` at the third."""
    return name if lead_time is None else f"{name}/lead_{lead_time}"


def parse_key(text: str) -> tuple[str, int | None]:
    """Returns name and lead time of what `key` returned."""
    match = re.fullmatch(r"(.+)/lead_(\d+)", text)
    return (match[1], int(match[2])) if match else (text, None)


@dataclasses.dataclass(frozen=True)
class Sums:
    """Sums over clips by lead time; `Sums()` is the empty one.

    Args:
        by_lead_time: float64 `(horizon,)` for each of `OUTPUTS`; none before the first update.
    """

    by_lead_time: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def update(self, outputs: Mapping[str, np.ndarray]) -> "Sums":
        """Adds clips.

        Args:
            outputs: For each of `OUTPUTS`, `(batch, horizon)`, or `(horizon,)` for a single clip.

        Raises:
            ValueError: Naming an output that is missing or has another shape than `pixels`.
        """
        added = {}
        for name in OUTPUTS:
            if name not in outputs:
                raise ValueError(
                    f"evaluate signature: expected the outputs {', '.join(OUTPUTS)}, received none called {name} "
                    f"among {', '.join(sorted(outputs))}"
                )
            values, pixels = np.shape(outputs[name]), np.shape(outputs["pixels"])
            if values != pixels:
                raise ValueError(f"evaluate signature: {name}: expected shape {pixels} as pixels, received {values}")
            added[name] = np.atleast_2d(np.asarray(outputs[name], np.float64)).sum(axis=0)
        return self.merge(Sums(added))

    def merge(self, other: "Sums") -> "Sums":
        """Returns the sums over both; commutative, and associative up to float64 rounding.

        Raises:
            ValueError: When the horizons differ.
        """
        if not self.by_lead_time or not other.by_lead_time:
            return self if self.by_lead_time else other
        if self.horizon != other.horizon:
            raise ValueError(f"expected sums over {self.horizon} lead times, received {other.horizon}")
        return Sums({name: self.by_lead_time[name] + other.by_lead_time[name] for name in OUTPUTS})

    @property
    def horizon(self) -> int:
        """Number of lead times; 0 before the first update."""
        return len(self.by_lead_time["pixels"]) if self.by_lead_time else 0

    def compute(self, name: str, lead_time: int | None = None) -> float:
        """Returns a metric; nan where it is undefined: no pixel was counted, or a reference made no error.

        `skill = 1 - sum(squared error) / sum(squared error of the best reference at each lead time)`.

        Args:
            name: One of `NAMES`.
            lead_time: 1 to horizon; over all of them unless given.

        Raises:
            ValueError: For an unknown name or a lead time outside of the horizon.
        """
        check_names([name])
        if lead_time is not None and not 1 <= lead_time <= self.horizon:
            raise ValueError(f"{name}: expected a lead time from 1 to {self.horizon}, received {lead_time}")
        if name in _RATIOS:
            numerator, denominator = (self._at(statistic, lead_time) for statistic in _RATIOS[name])
            return _ratio(numerator.sum(), denominator.sum())
        references = REFERENCES if name == "skill" else [name.removeprefix("skill_")]
        errors = [self._at(f"squared_error_{reference}", lead_time) for reference in references]
        return 1.0 - _ratio(self._at("squared_error", lead_time).sum(), np.min(errors, axis=0).sum())

    def _at(self, statistic: str, lead_time: int | None) -> np.ndarray:
        values = self.by_lead_time.get(statistic, np.zeros(0))
        return values if lead_time is None else values[lead_time - 1 : lead_time]


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator else float("nan")
