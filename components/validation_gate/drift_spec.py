"""Defines the `data.drift` section of the configuration."""

from typing import Literal

import pydantic

from framecast.schemas import features
from framecast.schemas.section import Section


class DriftSpec(Section):
    """Drift of a span from the span before it.

    Args:
        action: `fail`: drift ends the run. `warn`: drift is reported, and the span is accepted.
        threshold: Largest Jensen-Shannon divergence (base 2: 0 to 1) between the distributions of a feature.
        features: Thresholds of single features, which replace `threshold`; 1 disables the check.
    """

    action: Literal["fail", "warn"] = "fail"
    threshold: float = pydantic.Field(default=0.3, ge=0, le=1)
    features: dict[str, float] = {}

    @pydantic.model_validator(mode="after")
    def _known(self) -> "DriftSpec":
        for name, threshold in self.features.items():
            if name not in features.DRIFT_FEATURES:
                raise ValueError(f"features: expected any of {', '.join(features.DRIFT_FEATURES)}, received {name}")
            if not 0 <= threshold <= 1:
                raise ValueError(f"features.{name}: expected a divergence from 0 to 1, received {threshold}")
        return self

    @property
    def thresholds(self) -> dict[str, float]:
        """The threshold of each feature that is compared."""
        return {name: self.features.get(name, self.threshold) for name in features.DRIFT_FEATURES}
