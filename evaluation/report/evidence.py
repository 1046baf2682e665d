"""What a report is written from: everything that is known of one run, as plain JSON.

    evidence = Evidence(config, record, training=training, curves={"loss": [[10, 0.2], [20, 0.1]]})
    Evidence.from_json(evidence.to_json()) == evidence

Whatever a run did not get to is None or empty, and the report says so.
"""

import dataclasses
import json
from typing import Any

Figures = dict[str, float | None]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """One run.

    Args:
        config: The resolved configuration.
        record: What `run.json` holds, or as much of it as is known: `verdict`, `why`, `version`, `figures`, `misses`,
            `components`, `code`, `packages`, `seconds`, `time`, `drift`, `bad_clips`, `trials`.
        ingest: ClipExampleGen's summary.
        validated: Whether ValidationGate let the data pass.
        training: The Trainer's summary.
        curves: By TensorBoard tag, pairs of step and value.
        card: What the exported model says of itself (`framecast.json`).
        slices: The candidate's figures by slice, named `feature: value`.
        serving: The serving model's figures; empty when there was none to compare with.
        intervals: `framecast.evaluation.gate.verdict.Intervals`, a field a key; empty before there are figures.
        spectra: See `framecast.evaluation.gate.verdict.Verdict`.
        beside: A forecast's figures and those of extrapolation over the same pixels, see
            `serving.predictions.extrapolation_comparison`: `clips`, and `figures` by forecaster; empty without pySTEPS.
        shown: Forecasts to look at: `role`, `clip`, `mse`, `skill_persistence`, `frames` and `gif` (base64) of each.
        sample: The clips of the eval split that the model was asked about: how many `clips`, and the `rule` by which
            `shown` were chosen; for the other tasks `sums`, the arrays of the `evaluate` signature, by name.
    """

    config: dict[str, Any]
    record: dict[str, Any]
    ingest: dict[str, Any] | None = None
    validated: bool = False
    training: dict[str, Any] | None = None
    curves: dict[str, list[list[float]]] = dataclasses.field(default_factory=dict)
    card: dict[str, Any] | None = None
    slices: dict[str, Figures] = dataclasses.field(default_factory=dict)
    serving: Figures = dataclasses.field(default_factory=dict)
    intervals: dict[str, Any] = dataclasses.field(default_factory=dict)
    spectra: dict[str, list[list[float | None]]] = dataclasses.field(default_factory=dict)
    beside: dict[str, Any] = dataclasses.field(default_factory=dict)
    shown: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    sample: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """Returns it as a JSON object, a field a key."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Evidence":
        """Returns what `to_json` wrote."""
        return cls(**json.loads(text))


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested sections as one, keys joined by dots: `{"train.steps": 500}`."""
    flat = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat
