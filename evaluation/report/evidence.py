"""Collects the inputs of a report: the facts of one run, as plain JSON.

    evidence = Evidence(config, record, training=training, curves={"loss": [[10, 0.2], [20, 0.1]]})
    Evidence.from_json(evidence.to_json()) == evidence

Parts that a run did not reach are None or empty, and the report says so.
"""

import dataclasses
import json
from typing import Any

Figures = dict[str, float | None]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The facts of one run.

    Args:
        config: The resolved configuration.
        record: The content of `run.json`, as far as known: `verdict`, `why`, `version`, `figures`, `misses`,
            `components`, `code`, `packages`, `seconds`, `time`, `drift`, `bad_clips`, `trials`.
        ingest: ClipExampleGen's summary.
        validated: Whether the data passed ValidationGate.
        training: The Trainer's summary.
        curves: Pairs of step and value by TensorBoard tag.
        card: The exported model's `framecast.json`.
        slices: The candidate's figures by slice, named `feature: value`.
        serving: The serving model's figures; empty if the candidate was compared with none.
        intervals: The fields of `framecast.evaluation.gate.verdict.Intervals`; empty before there are figures.
        spectra: See `framecast.evaluation.gate.verdict.Verdict`.
        extrapolation: The comparison with extrapolation over the same pixels, see
            `serving.predictions.extrapolation_comparison`: `clips`, and `figures` by forecaster; empty without pySTEPS.
        shown: Example forecasts: `role`, `clip`, `mse`, `skill_persistence`, `frames` and `gif` (base64) of each.
        sample: The clips of the eval split that the model was run on: the number of `clips`, and the `rule` by which
            `shown` were chosen; for the other tasks `sums`, each output of the `evaluate` signature.
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
    extrapolation: dict[str, Any] = dataclasses.field(default_factory=dict)
    shown: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    sample: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """Encodes the evidence as a JSON object, one key for each field."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Evidence":
        """Decodes the output of `to_json`."""
        return cls(**json.loads(text))


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested sections, with keys joined by dots: `{"train.steps": 500}`."""
    flat = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat
