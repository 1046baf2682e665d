"""Metrics of every task, computed from sums that can be merged in any order.

    sums = Sums().update(outputs).merge(other_worker)    # outputs: what the `evaluate` signature returns
    sums.compute("skill"), sums.compute("mse", lead_time=3)

The same algebra (init, update, merge, compute) serves a loop, a Beam CombineFn and the report. Pixels are in [0, 1].
Forecasts are summed by lead time; over all lead times, sums are pooled: `mse` is the sum of all squared errors over the
number of all pixels, `csi_2` comes from the counts of all frames. What the sums mean stands in `forecast_metrics`,
`spectrum_metrics`, `event_metrics`, `anomaly_metrics` and `label_metrics`.
"""

import dataclasses
import difflib
import functools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics import anomaly as anomaly_metrics
from framecast.evaluation.metrics import events as event_metrics
from framecast.evaluation.metrics import forecast as forecast_metrics
from framecast.evaluation.metrics import labels as label_metrics
from framecast.evaluation.metrics import spectrum as spectrum_metrics

_OUTPUTS = {
    "forecast": (*forecast_metrics.OUTPUTS, *spectrum_metrics.OUTPUTS),
    "anomaly": anomaly_metrics.OUTPUTS,
    "classify": label_metrics.CLASSIFY_OUTPUTS,
    "regress": label_metrics.REGRESS_OUTPUTS,
}
_NAMES = {
    "forecast": forecast_metrics.NAMES,
    "anomaly": anomaly_metrics.NAMES,
    "classify": label_metrics.CLASSIFY_NAMES,
    "regress": label_metrics.REGRESS_NAMES,
}

# By task, the metric that must be finite.
ERROR_BY_TASK = {"forecast": "mse", "anomaly": "mse", "classify": "cross_entropy", "regress": "mse"}


def outputs_of(task: str, events: EventsSpec | None = None) -> tuple[str, ...]:
    """Returns what the `evaluate` signature of a task returns, with the events that are counted."""
    counts = event_metrics.outputs(len(events.thresholds), len(events.scales)) if events else ()
    return (*_OUTPUTS[task], *counts)


@functools.cache
def names_of(task: str, events: EventsSpec | None = None) -> tuple[str, ...]:
    """Returns the metrics of a task: those that every model of the task has, then those of the events."""
    spectrum = spectrum_metrics.NAMES if task == "forecast" else ()
    return (*_NAMES[task], *spectrum, *(event_metrics.names(events) if events else ()))


def always_of(task: str) -> tuple[str, ...]:
    """Returns the metrics of a task that are few; those of wavelengths and of events are hundreds."""
    return _NAMES[task]


def check_names(received: Iterable[str], task: str = "forecast", events: EventsSpec | None = None) -> None:
    """Refuses a name that is no metric of `task`.

    Raises:
        ValueError: Naming the received name and the closest metric.
    """
    known = names_of(task, events)
    for name in received:
        if name in known:
            continue
        if task == "forecast" and events is None and name.partition("_")[0] in event_metrics.FAMILIES:
            raise ValueError(f"{name}: expected evaluate.events, which says what an event is, received none")
        closest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.0)[0]
        listed = [*always_of(task)]
        if task == "forecast":
            listed.append("those of a wavelength, such as power_4px")
        if events:
            listed.append("those of evaluate.events")
        raise ValueError(f"expected one of {', '.join(listed)}, received {name}; the closest is {closest}")


def direction(name: str) -> Literal["lower", "higher", "one"]:
    """Tells which value of the metric `name` is the better one: the smaller, the larger, or the nearer to 1."""
    if name.startswith(("mse", "mae", "cross_entropy", "far_")) or name.endswith("false_alarm_rate"):
        return "lower"
    return "one" if name.startswith(("bias_", "power_")) else "higher"


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
        values: float64, for each output of the task's `evaluate` signature its shape without the batch, for a forecast
            `(horizon, ...)`; none before the first update. For `compute_each` they may have axes in front.
        task: Kind of the task.
        events: What a forecast's events are, when they are counted.
    """

    values: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    task: str = "forecast"
    events: EventsSpec | None = None

    def update(self, outputs: Mapping[str, np.ndarray]) -> "Sums":
        """Adds clips.

        Args:
            outputs: The outputs of the task's `evaluate` signature, with or, for a single clip, without the batch.

        Raises:
            ValueError: Naming an output that is missing or has another shape than the others say.
        """
        expected = outputs_of(self.task, self.events)
        for name in expected:
            if name not in outputs:
                raise ValueError(
                    f"evaluate signature: expected the outputs {', '.join(expected)}, received none called {name} "
                    f"among {', '.join(sorted(outputs))}"
                )
        added = {}
        first = np.shape(outputs[expected[0]])
        for name in expected:
            values, rank = np.asarray(outputs[name], np.float64), self._rank(name)
            # Outputs of a forecast all have its lead times.
            shape = (*first, *self._axes.get(name, ()))
            if values.ndim not in (rank, rank + 1) or (self.task == "forecast" and values.shape != shape):
                raise ValueError(
                    f"evaluate signature: {name}: expected shape {shape} as {expected[0]}, received {values.shape}"
                    if self.task == "forecast"
                    else f"evaluate signature: {name}: expected {rank} axes after the batch, received {values.shape}"
                )
            # TFMA hands over single clips, scalars of which it makes arrays of one.
            added[name] = values.sum(axis=0) if values.ndim > rank else values
        return self.merge(dataclasses.replace(self, values=added))

    def merge(self, other: "Sums") -> "Sums":
        """Returns the sums over both; commutative, and associative up to float64 rounding.

        Raises:
            ValueError: When the horizons or the events differ.
        """
        if self.events != other.events:
            raise ValueError(f"expected sums of the events {self.events}, received {other.events}")
        if not self.values or not other.values:
            return self if self.values else other
        if self.horizon != other.horizon:
            raise ValueError(f"expected sums over {self.horizon} lead times, received {other.horizon}")
        return dataclasses.replace(self, values={name: self.values[name] + other.values[name] for name in self.values})

    @property
    def horizon(self) -> int:
        """Number of a forecast's lead times; 0 before the first update, and for another task."""
        return self.values["pixels"].shape[-1] if self.values and self.task == "forecast" else 0

    def compute(self, name: str, lead_time: int | None = None) -> float:
        """Returns a metric; nan where it is undefined, such as when nothing was counted.

        Args:
            name: A metric of the task.
            lead_time: 1 to horizon; over all of them unless given.

        Raises:
            ValueError: For an unknown name or a lead time outside of the horizon.
        """
        return float(self.compute_each(name, lead_time))

    def compute_each(self, name: str, lead_time: int | None = None) -> np.ndarray:
        """Returns what `compute` does for every entry of the axes that all values have in front."""
        check_names([name], self.task, self.events)
        if lead_time is not None and not 1 <= lead_time <= self.horizon:
            raise ValueError(f"{name}: expected a lead time from 1 to {self.horizon}, received {lead_time}")
        if not self.values:
            return np.array(np.nan)
        if self.task != "forecast":
            compute = {
                "anomaly": anomaly_metrics.compute,
                "classify": label_metrics.compute_classify,
                "regress": label_metrics.compute_regress,
            }[self.task]
            return compute(self.values, name)
        pooled = self.values if lead_time is None else self._at(lead_time)
        if name in forecast_metrics.NAMES:
            return forecast_metrics.compute(pooled, name)
        if name in spectrum_metrics.NAMES:
            return spectrum_metrics.compute(pooled, name)
        assert self.events is not None
        return event_metrics.compute(pooled, self.events, name)

    def figures(self) -> dict[str, float]:
        """Returns every metric of the task by `key`: over all lead times of a forecast, and at each."""
        names = names_of(self.task, self.events)
        found = {key(name): self.compute(name) for name in names}
        if self.horizon:
            # Each lead time is a forecast of one: a metric is computed at all of them at once.
            apart = {name: np.expand_dims(values, 1) for name, values in self.values.items()}
            each = dataclasses.replace(self, values=apart)
            at = {name: each.compute_each(name).tolist() for name in names}
            found |= {key(name, lead + 1): at[name][lead] for lead in range(self.horizon) for name in names}
        return found

    def to_json(self) -> str:
        """Returns the sums as text."""
        return json.dumps(
            {
                "task": self.task,
                "events": self.events.model_dump(mode="json") if self.events else None,
                "values": {name: values.tolist() for name, values in self.values.items()},
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> "Sums":
        """Returns the sums that `to_json` wrote, to the bit."""
        read = json.loads(text)
        return cls(
            {name: np.array(values, np.float64) for name, values in read["values"].items()},
            read["task"],
            EventsSpec.model_validate(read["events"]) if read["events"] else None,
        )

    def _at(self, lead_time: int) -> Mapping[str, np.ndarray]:
        """Returns a forecast's values at one lead time: views, since a metric looks at a few of dozens."""
        found = {}
        for name, values in self.values.items():
            place: tuple[Any, ...] = (..., slice(lead_time - 1, lead_time), *[slice(None)] * (self._rank(name) - 1))
            found[name] = values[place]
        return found

    @functools.cached_property
    def _axes(self) -> Mapping[str, tuple[int, ...]]:
        """The axes of a forecast's outputs after the lead times, of those that have any."""
        events = event_metrics.outputs(len(self.events.thresholds), len(self.events.scales)) if self.events else {}
        return {**spectrum_metrics.outputs(), **events}

    def _rank(self, name: str) -> int:
        """Returns how many axes an output has, the batch apart."""
        if self.task == "forecast":
            return 1 + len(self._axes.get(name, ()))
        if name in anomaly_metrics.HISTOGRAMS:
            return 1
        return 2 if name == "confusion" else 0
