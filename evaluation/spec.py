"""The `evaluate` section of the configuration: which figures a candidate must reach."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

import pydantic

from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics import registry
from framecast.schemas import features
from framecast.schemas.section import Section

Bound = Annotated[float, pydantic.Field(allow_inf_nan=False)]


# One of `features.SLICES`.
Slice = Literal["length", "content", "movement", "label", "source"]

# In place of the value of a slice: every value that a clip of the eval split has.
EACH = "each"


class Bounds(Section):
    """Bounds on one metric. A value on the bound passes; one that is not a number fails.

    Args:
        min: Smallest accepted value.
        max: Largest accepted value.
        max_increase_vs_serving: Largest accepted value of candidate minus serving model; left out when nothing is
            serving.
        per_lead_time: Hold the bounds at every lead time rather than over all of them.
    """

    min: Bound | None = None
    max: Bound | None = None
    max_increase_vs_serving: Bound | None = None
    per_lead_time: bool = False

    @property
    def any(self) -> bool:
        """Whether there is a bound."""
        return not (self.min is None and self.max is None and self.max_increase_vs_serving is None)

    @pydantic.model_validator(mode="after")
    def _some(self) -> Any:
        if not (self.any or getattr(self, "slices", None)):
            raise ValueError("expected at least one of min, max and max_increase_vs_serving")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"expected min <= max, received min {self.min} and max {self.max}")
        return self


def _as_text(values: Any) -> Any:
    """YAML reads the slices of lengths and labels as numbers."""
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else values


class Threshold(Bounds):
    """Bounds on one metric over the whole eval split, and over slices of it.

    Args:
        slices: Bounds by slice and its value, `{content: {dense: {min: 0.2}}, source: {each: {min: 0}}}`; `each` stands
            for every value that there is. A value that no clip has is a bound missed.
    """

    slices: dict[Slice, Annotated[dict[str, Bounds], pydantic.BeforeValidator(_as_text)]] = pydantic.Field(default={})

    @pydantic.field_validator("slices")
    @classmethod
    def _real(cls, slices: dict[Slice, dict[str, Bounds]]) -> dict[Slice, dict[str, Bounds]]:
        for name, by_value in slices.items():
            words = features.WORDS.get(features.SLICES[name])
            for value in by_value:
                if words and value not in (EACH, *words):
                    raise ValueError(f"{name}: expected {', '.join(words)} or {EACH}, received {value}")
        return slices


class Bounded(NamedTuple):
    """Where bounds hold.

    Args:
        metric: The metric.
        bounds: Its bounds.
        slice: One of `features.SLICES`; None over the whole eval split.
        value: Of the slice; `each` for every one.
    """

    metric: str
    bounds: Bounds
    slice: str | None = None
    value: str = EACH


class EvaluateSpec(Section):
    """What is measured of a candidate, and what it must reach.

    Whatever stands here, a candidate whose error (`mse`, `cross_entropy`) is not a finite number is never blessed.

    Args:
        thresholds: By metric name (`framecast.evaluation.metrics.registry.names_of`).
        events: What a forecast's events are; without, none are counted.
    """

    events: EventsSpec | None = None
    thresholds: dict[str, Threshold] = pydantic.Field(default={})

    def bounded(self) -> Iterator[Bounded]:
        """Yields every place where bounds hold."""
        for name, threshold in self.thresholds.items():
            if threshold.any:
                yield Bounded(name, threshold)
            for feature, by_value in threshold.slices.items():
                for value, bounds in by_value.items():
                    yield Bounded(name, bounds, feature, value)

    @pydantic.model_validator(mode="after")
    def _meaningful(self) -> "EvaluateSpec":
        for name, bounds, *_ in self.bounded():
            # A skill is measured against references that each model fitted on its own training data: a difference of
            # two skills compares the references too.
            if bounds.max_increase_vs_serving is not None and registry.direction(name) != "lower":
                raise ValueError(
                    f"thresholds: {name}: max_increase_vs_serving: expected a metric where lower is better, such as mse"
                )
        return self
