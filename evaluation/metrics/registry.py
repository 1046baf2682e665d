"""Defines the metrics of each kind of task: names, inputs, direction.

    TASKS["forecast"].headline                # ("mse", "skill")
    names_of("forecast"), outputs_of("forecast")
    parse_key(key("mse", 3))                  # ("mse", 3)

Pixels are in [0, 1]. The modules `forecast`, `spectrum`, `events`, `anomaly` and `labels` define each metric.
"""

import dataclasses
import difflib
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import numpy as np

from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics import anomaly as anomaly_metrics
from framecast.evaluation.metrics import events as event_metrics
from framecast.evaluation.metrics import forecast as forecast_metrics
from framecast.evaluation.metrics import labels as label_metrics
from framecast.evaluation.metrics import spectrum as spectrum_metrics

Axes = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class TaskMetrics:
    """Defines the metrics of one kind of task, without those of events (`names_of` adds them).

    Args:
        outputs: The outputs of the `evaluate` signature and their axes after the batch, None for any size.
        names: The main metrics. Those by wavelength and of events are hundreds more.
        headline: The metrics that a one-line summary shows.
        error: The metric that must be finite, or the candidate is rejected.
        compute: Returns one of `names` from the sums of `outputs`. Sums may have axes in front, which the result keeps.
        lead_times: Whether the first axis of every output is the lead time.
        spectra: Whether power by wavelength is measured.
        events: Whether events can be counted.
    """

    outputs: Mapping[str, Axes]
    names: tuple[str, ...]
    headline: tuple[str, ...]
    error: str
    compute: Callable[[Mapping[str, np.ndarray], str], np.ndarray]
    lead_times: bool = False
    spectra: bool = False
    events: bool = False


TASKS: Mapping[str, TaskMetrics] = {
    "forecast": TaskMetrics(
        outputs={
            **dict.fromkeys(forecast_metrics.OUTPUTS, (None,)),
            **{name: (None, *axes) for name, axes in spectrum_metrics.outputs().items()},
        },
        names=forecast_metrics.NAMES,
        headline=("mse", "skill"),
        error="mse",
        compute=forecast_metrics.compute,
        lead_times=True,
        spectra=True,
        events=True,
    ),
    "anomaly": TaskMetrics(
        outputs={name: (None,) if name in anomaly_metrics.HISTOGRAMS else () for name in anomaly_metrics.OUTPUTS},
        names=anomaly_metrics.NAMES,
        headline=("clip_roc_auc", "frame_roc_auc"),
        error="mse",
        compute=anomaly_metrics.compute,
    ),
    "classify": TaskMetrics(
        outputs={name: (None, None) if name == "confusion" else () for name in label_metrics.CLASSIFY_OUTPUTS},
        names=label_metrics.CLASSIFY_NAMES,
        headline=("accuracy", "cross_entropy"),
        error="cross_entropy",
        compute=label_metrics.compute_classify,
    ),
    "regress": TaskMetrics(
        outputs={name: (None,) if name in label_metrics.BY_NUMBER else () for name in label_metrics.REGRESS_OUTPUTS},
        names=label_metrics.REGRESS_NAMES,
        headline=("mse", "r2"),
        error="mse",
        compute=label_metrics.compute_regress,
    ),
}


@functools.cache
def axes_of(task: str, events: EventsSpec | None = None) -> Mapping[str, Axes]:
    """Returns the outputs of a task's `evaluate` signature and their axes after the batch, None for any size."""
    counts = event_metrics.outputs(len(events.thresholds), len(events.scales)) if events else {}
    return {**TASKS[task].outputs, **{name: (None, *axes) for name, axes in counts.items()}}


def outputs_of(task: str, events: EventsSpec | None = None) -> tuple[str, ...]:
    """Returns the names of the outputs of a task's `evaluate` signature."""
    return tuple(axes_of(task, events))


@functools.cache
def names_of(task: str, events: EventsSpec | None = None) -> tuple[str, ...]:
    """Returns the metrics of a task: the main ones, those by wavelength, those of events."""
    spectrum = spectrum_metrics.NAMES if TASKS[task].spectra else ()
    return (*TASKS[task].names, *spectrum, *(event_metrics.names(events) if events else ()))


def compute(task: str, events: EventsSpec | None, sums: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Returns one of `names_of(task, events)`.

    Args:
        task: Kind of the task.
        events: What counts as an event, if events were counted.
        sums: For each of `outputs_of(task, events)`, its sum over clips. Axes in front are kept.
        name: The metric.
    """
    if name in TASKS[task].names:
        return TASKS[task].compute(sums, name)
    if name in spectrum_metrics.NAMES:
        return spectrum_metrics.compute(sums, name)
    assert events is not None
    return event_metrics.compute(sums, events, name)


def check_names(received: Iterable[str], task: str = "forecast", events: EventsSpec | None = None) -> None:
    """Checks that every name is a metric of `task`.

    Raises:
        ValueError: With the unknown name and the closest metric.
    """
    known = names_of(task, events)
    for name in received:
        if name in known:
            continue
        if TASKS[task].events and events is None and name.partition("_")[0] in event_metrics.FAMILIES:
            raise ValueError(f"{name}: expected evaluate.events, which defines an event, received none")
        closest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.0)[0]
        listed = [*TASKS[task].names]
        if TASKS[task].spectra:
            listed.append("those of a wavelength, such as power_4px")
        if events:
            listed.append("those of evaluate.events")
        raise ValueError(f"expected one of {', '.join(listed)}, received {name}; the closest is {closest}")


def direction(name: str) -> Literal["lower", "higher", "one"]:
    """Returns which values of a metric are better: the lower, the higher, or those nearer to 1."""
    if name.startswith(("mse", "mae", "cross_entropy", "far_")) or name.endswith("false_alarm_rate"):
        return "lower"
    return "one" if name.startswith(("bias_", "power_")) else "higher"


def judges_model(name: str) -> bool:
    """Checks whether a metric depends on the model, not only on a reference such as persistence or the majority."""
    references = tuple(f"_{reference}" for reference in (*forecast_metrics.REFERENCES, "majority"))
    return name.startswith("skill") or not name.endswith(references)


def cost(name: str, value: float) -> float:
    """Returns a number that is lower for a better value of a metric; nan if the value is."""
    way = direction(name)
    return value if way == "lower" else -value if way == "higher" else abs(value - 1)


def key(name: str, lead_time: int | None = None) -> str:
    """Returns the key of a metric in results: `mse` over all lead times, `mse/lead_3` at the third."""
    return name if lead_time is None else f"{name}/lead_{lead_time}"


def parse_key(text: str) -> tuple[str, int | None]:
    """Returns the metric and the lead time of a `key`."""
    match = re.fullmatch(r"(.+)/lead_(\d+)", text)
    return (match[1], int(match[2])) if match else (text, None)
