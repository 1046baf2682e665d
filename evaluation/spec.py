"""The `evaluate` section of the configuration: which figures a candidate must reach."""

import pydantic

from framecast.schemas.section import Section


class Threshold(Section):
    """Bounds on one metric over the whole eval split.

    Args:
        min: Smallest accepted value.
        max: Largest accepted value.
        max_increase_vs_serving: Largest accepted value of candidate minus serving model; left out when nothing is
            serving.
        per_lead_time: Hold the bounds at every lead time rather than over all of them.
    """

    min: float | None = None
    max: float | None = None
    max_increase_vs_serving: float | None = None
    per_lead_time: bool = False

    @pydantic.model_validator(mode="after")
    def _some(self) -> "Threshold":
        if self.min is None and self.max is None and self.max_increase_vs_serving is None:
            raise ValueError("expected at least one of min, max and max_increase_vs_serving")
        return self


class EvaluateSpec(Section):
    """Thresholds by metric name (`framecast.evaluation.metrics.NAMES`)."""

    thresholds: dict[str, Threshold] = {}
