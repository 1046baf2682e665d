"""The `evaluate` section of the configuration: which figures a candidate must reach."""

from typing import Annotated

import pydantic

from framecast.evaluation import metrics
from framecast.evaluation.events_spec import EventsSpec
from framecast.schemas.section import Section

Bound = Annotated[float, pydantic.Field(allow_inf_nan=False)]


class Threshold(Section):
    """Bounds on one metric over the whole eval split. A value on the bound passes; one that is not a number fails.

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

    @pydantic.model_validator(mode="after")
    def _some(self) -> "Threshold":
        if self.min is None and self.max is None and self.max_increase_vs_serving is None:
            raise ValueError("expected at least one of min, max and max_increase_vs_serving")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"expected min <= max, received min {self.min} and max {self.max}")
        return self


class EvaluateSpec(Section):
    """What is measured of a candidate, and what it must reach.

    Whatever stands here, a candidate whose error (`mse`, `cross_entropy`) is not a finite number is never blessed.

    Args:
        thresholds: By metric name (`framecast.evaluation.metrics.names_of`).
        events: What a forecast's events are; without, none are counted.
    """

    events: EventsSpec | None = None
    thresholds: dict[str, Threshold] = pydantic.Field(default={})

    @pydantic.field_validator("thresholds")
    @classmethod
    def _meaningful(cls, thresholds: dict[str, Threshold]) -> dict[str, Threshold]:
        for name, threshold in thresholds.items():
            # A skill is measured against references that each model fitted on its own training data: a difference of
            # two skills compares the references too.
            if threshold.max_increase_vs_serving is not None and metrics.direction(name) != "lower":
                raise ValueError(
                    f"{name}: max_increase_vs_serving: expected a metric where lower is better, such as mse"
                )
        return thresholds
