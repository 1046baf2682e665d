"""Sums over clips, from which every metric of a task is computed.

    sums = Sums().update(outputs).merge(other_worker)    # outputs: those of the `evaluate` signature
    sums.compute("skill"), sums.compute("mse", lead_time=3)

A loop, a Beam CombineFn and the report share this algebra (empty, update, merge, compute), because sums merge in any
order. Forecasts are summed by lead time. Over all lead times, sums are pooled: `mse` is the sum of all squared errors
over the number of all pixels, `csi_2` comes from the counts of all frames.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics.registry import TASKS, axes_of, check_names, key


@dataclasses.dataclass(frozen=True)
class Sums:
    """Sums over clips; `Sums()` is empty, for a forecast.

    Args:
        values: float64. For each output of the task's `evaluate` signature its shape without the batch, for a forecast
            `(horizon, ...)`; empty before the first update. For `compute_each` they may have axes in front.
        task: Kind of the task.
        events: What counts as an event in a forecast, if events are counted.
    """

    values: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    task: str = "forecast"
    events: EventsSpec | None = None

    def update(self, outputs: Mapping[str, np.ndarray]) -> "Sums":
        """Adds clips.

        Args:
            outputs: The outputs of the task's `evaluate` signature, of a batch or of a single clip.

        Raises:
            ValueError: When an output is missing, or its shape differs from that of the others.
        """
        expected, by_lead_time = axes_of(self.task, self.events), TASKS[self.task].lead_times
        for name in expected:
            if name not in outputs:
                raise ValueError(
                    f"evaluate signature: expected the outputs {', '.join(expected)}, received none called {name} "
                    f"among {', '.join(sorted(outputs))}"
                )
        first = next(iter(expected))
        added = {}
        for name, axes in expected.items():
            values, rank = np.asarray(outputs[name], np.float64), len(axes)
            shape = (*np.shape(outputs[first]), *axes[1:])  # All outputs have the same batch and lead times.
            if values.ndim not in (rank, rank + 1) or (by_lead_time and values.shape != shape):
                raise ValueError(
                    f"evaluate signature: {name}: expected shape {shape} as {first}, received {values.shape}"
                    if by_lead_time
                    else f"evaluate signature: {name}: expected {rank} axes after the batch, received {values.shape}"
                )
            # TFMA passes single clips, and turns their scalars into arrays of one.
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
        """Number of lead times; 0 before the first update, and for a task without lead times."""
        return self.values["pixels"].shape[-1] if self.values and TASKS[self.task].lead_times else 0

    def compute(self, name: str, lead_time: int | None = None) -> float:
        """Returns a metric; nan where it is undefined, such as without any counted clip.

        Args:
            name: A metric of the task.
            lead_time: 1 to horizon; all of them unless given.

        Raises:
            ValueError: For an unknown name or a lead time outside of the horizon.
        """
        return float(self.compute_each(name, lead_time))

    def compute_each(self, name: str, lead_time: int | None = None) -> np.ndarray:
        """Returns a metric for every entry of the axes that all values have in front; see `compute`."""
        check_names([name], self.task, self.events)
        if lead_time is not None and not 1 <= lead_time <= self.horizon:
            raise ValueError(f"{name}: expected a lead time from 1 to {self.horizon}, received {lead_time}")
        if not self.values:
            return np.array(np.nan)
        values = self.values if lead_time is None else self._at(lead_time)
        return registry.compute(self.task, self.events, values, name)

    def figures(self) -> dict[str, float]:
        """Returns every metric of the task by `registry.key`: over all lead times of a forecast, and at each."""
        names = registry.names_of(self.task, self.events)
        found = {key(name): self.compute(name) for name in names}
        if self.horizon:
            # Every lead time becomes a forecast of one frame, so that one call computes a metric at all lead times.
            split = {name: np.expand_dims(values, 1) for name, values in self.values.items()}
            each = dataclasses.replace(self, values=split)
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
        """Reads the output of `to_json`, without loss."""
        read = json.loads(text)
        return cls(
            {name: np.array(values, np.float64) for name, values in read["values"].items()},
            read["task"],
            EventsSpec.model_validate(read["events"]) if read["events"] else None,
        )

    def _at(self, lead_time: int) -> Mapping[str, np.ndarray]:
        """Returns the values at one lead time, as views, because a metric reads few of the dozens of arrays."""
        axes = axes_of(self.task, self.events)
        found = {}
        for name, values in self.values.items():
            place: tuple[Any, ...] = (..., slice(lead_time - 1, lead_time), *[slice(None)] * (len(axes[name]) - 1))
            found[name] = values[place]
        return found
