"""Defines the `evaluate` section of the configuration: the thresholds that a candidate must meet."""

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

# As a slice's value: every value that occurs in the eval split.
EACH = "each"


class Bounds(Section):
    """Bounds on one metric. A value equal to a bound passes; NaN fails.

    Args:
        min: Smallest accepted value.
        max: Largest accepted value.
        max_increase_vs_serving: Largest accepted difference, candidate minus serving model; not checked when no model
            is serving.
        per_lead_time: Whether the bounds apply at every lead time, instead of over all of them.
    """

    min: Bound | None = None
    max: Bound | None = None
    max_increase_vs_serving: Bound | None = None
    per_lead_time: bool = False

    @property
    def any(self) -> bool:
        """Whether any bound is set."""
        return not (self.min is None and self.max is None and self.max_increase_vs_serving is None)

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Any:
        if not (self.any or getattr(self, "slices", None)):
            raise ValueError("expected at least one of min, max and max_increase_vs_serving")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"expected min <= max, received min {self.min} and max {self.max}")
        return self


def _as_text(values: Any) -> Any:
    """Turns keys into text, because YAML reads lengths and labels as numbers."""
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else values


class Threshold(Bounds):
    """Bounds on one metric over the whole eval split, and over slices of it.

    Args:
        slices: Bounds by slice and value, `{content: {dense: {min: 0.2}}, source: {each: {min: 0}}}`; `each` means
            every value in the eval split. A value that no clip has counts as a missed bound.
    """

    slices: dict[Slice, Annotated[dict[str, Bounds], pydantic.BeforeValidator(_as_text)]] = pydantic.Field(default={})

    @pydantic.field_validator("slices")
    @classmethod
    def _known_values(cls, slices: dict[Slice, dict[str, Bounds]]) -> dict[Slice, dict[str, Bounds]]:
        for name, by_value in slices.items():
            words = features.WORDS.get(features.SLICES[name])
            for value in by_value:
                if words and value not in (EACH, *words):
                    raise ValueError(f"{name}: expected {', '.join(words)} or {EACH}, received {value}")
        return slices


class Bounded(NamedTuple):
    """Bounds and where they apply.

    Args:
        metric: The metric.
        bounds: Its bounds.
        slice: One of `features.SLICES`; None for the whole eval split.
        value: The slice's value, or `each`.
    """

    metric: str
    bounds: Bounds
    slice: str | None = None
    value: str = EACH


class EvaluateSpec(Section):
    """What is measured of a candidate, and the thresholds that it must meet.

    A candidate whose error (`mse`, `cross_entropy`) is not finite is rejected under any thresholds.

    Args:
        events: What counts as an event in a forecast; events are not counted unless given.
        thresholds: By metric, one of `framecast.evaluation.metrics.registry.names_of`.
    """

    events: EventsSpec | None = None
    thresholds: dict[str, Threshold] = pydantic.Field(default={})

    def bounded(self) -> Iterator[Bounded]:
        """Yields all bounds, of the whole eval split and of slices."""
        for name, threshold in self.thresholds.items():
            if threshold.any:
                yield Bounded(name, threshold)
            for feature, by_value in threshold.slices.items():
                for value, bounds in by_value.items():
                    yield Bounded(name, bounds, feature, value)

    @pydantic.model_validator(mode="after")
    def _increase_of_errors_only(self) -> "EvaluateSpec":
        for name, bounds, *_ in self.bounded():
            # Each model fits its references on its own training data, so that a difference of two skills would compare
            # the references too.
            if bounds.max_increase_vs_serving is not None and registry.direction(name) != "lower":
                raise ValueError(
                    f"thresholds: {name}: max_increase_vs_serving: expected a metric where lower is better, such as mse"
                )
        return self
