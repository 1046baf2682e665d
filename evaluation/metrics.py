"""Metrics of every task, computed from sums that can be merged in any order.

    sums = Sums().update(outputs).merge(other_worker)    # outputs: what the `evaluate` signature returns
    sums.compute("skill"), sums.compute("mse", lead_time=3)

The same algebra (init, update, merge, compute) serves a loop, a Beam CombineFn and the report. Pixels are in [0, 1].
Forecasts are summed by lead time; over all lead times, sums are pooled: `mse` is the sum of all squared errors over the
number of all pixels. What the sums of the other tasks mean stands in `anomaly_metrics` and `label_metrics`.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping

import numpy as np

from framecast.evaluation import anomaly_metrics, label_metrics

# Forecasts that every model is compared with; see `framecast.evaluation.references`.
REFERENCES = ("persistence", "climatology", "black", "persistence_blurred")

# What the `evaluate` signature of a forecast returns: float32 `(batch, horizon)` each; see `framecast.evaluation.sums`.
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


# By task: what its `evaluate` signature returns, the metrics computed from that, and the one that must be finite.
OUTPUTS_BY_TASK = {
    "forecast": OUTPUTS,
    "anomaly": anomaly_metrics.OUTPUTS,
    "classify": label_metrics.CLASSIFY_OUTPUTS,
    "regress": label_metrics.REGRESS_OUTPUTS,
}
NAMES_BY_TASK = {
    "forecast": NAMES,
    "anomaly": anomaly_metrics.NAMES,
    "classify": label_metrics.CLASSIFY_NAMES,
    "regress": label_metrics.REGRESS_NAMES,
}
ERROR_BY_TASK = {"forecast": "mse", "anomaly": "mse", "classify": "cross_entropy", "regress": "mse"}


def check_names(names: Iterable[str], task: str = "forecast") -> None:
    """Refuses a name that is no metric of `task`.

    Raises:
        ValueError: Naming the received name and the closest metric.
    """
    known = NAMES_BY_TASK[task]
    for name in names:
        if name not in known:
            closest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.0)[0]
            raise ValueError(f"expected one of {', '.join(known)}, received {name}; the closest is {closest}")


def lower_is_better(name: str) -> bool:
    """Tells whether a smaller value of the metric `name` is the better one."""
    return name.startswith(("mse", "mae", "cross_entropy")) or name.endswith("false_alarm_rate")


def key(name: str, lead_time: int | None = None) -> str:
    """Returns how results name a metric: `mse` over all lead times, `mse/lead_3` at the third."""
    return name if lead_time is None else f"{name}/lead_{lead_time}"


def parse_key(text: str) -> tuple[str, int | None]:
    """Returns name and lead time of what `key` returned."""
    match = re.fullmatch(r"(.+)/lead_(\d+)", text)
    return (match[1], int(match[2])) if match else (text, None)


@dataclasses.dataclass(frozen=True)
class Sums:
    """Sums over clips; `Sums()` is the empty one of forecasts.

    Args:
        values: float64, for each output of the task's `evaluate` signature its shape without the batch: `(horizon,)`
            for a forecast; none before the first update.
        task: Kind of the task.
    """

    values: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    task: str = "forecast"

    def update(self, outputs: Mapping[str, np.ndarray]) -> "Sums":
        """Adds clips.

        Args:
            outputs: The outputs of the task's `evaluate` signature, with or, for a single clip, without the batch.

        Raises:
            ValueError: Naming an output that is missing or has another shape than the others say.
        """
        expected = OUTPUTS_BY_TASK[self.task]
        for name in expected:
            if name not in outputs:
                raise ValueError(
                    f"evaluate signature: expected the outputs {', '.join(expected)}, received none called {name} "
                    f"among {', '.join(sorted(outputs))}"
                )
        added = {}
        for name in expected:
            values, rank = np.asarray(outputs[name], np.float64), self._rank(name)
            first = np.shape(outputs[expected[0]])
            # Outputs of a forecast all have its lead times.
            if values.ndim not in (rank, rank + 1) or (self.task == "forecast" and values.shape != first):
                raise ValueError(
                    f"evaluate signature: {name}: expected shape {first} as {expected[0]}, received {values.shape}"
                    if self.task == "forecast"
                    else f"evaluate signature: {name}: expected {rank} axes after the batch, received {values.shape}"
                )
            # TFMA hands over single clips, scalars of which it makes arrays of one.
            added[name] = values.sum(axis=0) if values.ndim > rank else values
        return self.merge(dataclasses.replace(self, values=added))

    def merge(self, other: "Sums") -> "Sums":
        """Returns the sums over both; commutative, and associative up to float64 rounding.

        Raises:
            ValueError: When the horizons differ.
        """
        if not self.values or not other.values:
            return self if self.values else other
        if self.horizon != other.horizon:
            raise ValueError(f"expected sums over {self.horizon} lead times, received {other.horizon}")
        return dataclasses.replace(self, values={name: self.values[name] + other.values[name] for name in self.values})

    def _rank(self, name: str) -> int:
        """Returns how many axes an output has, the batch apart."""
        if self.task == "forecast" or name in anomaly_metrics.HISTOGRAMS:
            return 1
        return 2 if name == "confusion" else 0

    @property
    def horizon(self) -> int:
        """Number of a forecast's lead times; 0 before the first update, and for another task."""
        return len(self.values["pixels"]) if self.values and self.task == "forecast" else 0

    def compute(self, name: str, lead_time: int | None = None) -> float:
        """Returns a metric; nan where it is undefined: nothing was counted, or a reference made no error.

        `skill = 1 - sum(squared error) / sum(squared error of the best reference at each lead time)`.

        Args:
            name: A metric of the task.
            lead_time: 1 to horizon; over all of them unless given.

        Raises:
            ValueError: For an unknown name or a lead time outside of the horizon.
        """
        check_names([name], self.task)
        if lead_time is not None and not 1 <= lead_time <= self.horizon:
            raise ValueError(f"{name}: expected a lead time from 1 to {self.horizon}, received {lead_time}")
        if self.task != "forecast":
            return self._of_other_tasks(name)
        if name in _RATIOS:
            numerator, denominator = (self._at(statistic, lead_time) for statistic in _RATIOS[name])
            return _ratio(numerator.sum(), denominator.sum())
        references = REFERENCES if name == "skill" else [name.removeprefix("skill_")]
        errors = [self._at(f"squared_error_{reference}", lead_time) for reference in references]
        return 1.0 - _ratio(self._at("squared_error", lead_time).sum(), np.min(errors, axis=0).sum())

    def _of_other_tasks(self, name: str) -> float:
        if not self.values:
            return float("nan")
        compute = {
            "anomaly": anomaly_metrics.compute,
            "classify": label_metrics.compute_classify,
            "regress": label_metrics.compute_regress,
        }[self.task]
        return compute(self.values, name)

    def _at(self, statistic: str, lead_time: int | None) -> np.ndarray:
        values = self.values.get(statistic, np.zeros(0))
        return values if lead_time is None else values[lead_time - 1 : lead_time]


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator else float("nan")
