"""Describes the result of each component in a few words, for its line on the terminal and in `run.json`.

describe("Pusher", outputs, None, "forecast")  # "version 7"
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from framecast.components import tuner
from framecast.components.artifact_properties import NO_BASELINE, property_of
from framecast.components.clip_example_gen import splits as ingest_splits
from framecast.components.clip_example_gen import summary as ingest_summary
from framecast.components.validation_gate import component as validation_gate
from framecast.components.validation_gate import drift
from framecast.evaluation.gate.verdict import Verdict
from framecast.models.training import summary as training_summary


def describe(component: str, outputs: Mapping[str, Any], verdict: Verdict | None, task: str) -> str:
    """Returns the note of a finished component; empty for components without one.

    Args:
        component: Name of the component.
        outputs: Its output artifacts of ML Metadata, by key.
        verdict: The Evaluator's verdict; None before it.
        task: Kind of the task.
    """
    if component == "Evaluator":
        assert verdict is not None
        baseline = property_of(outputs["blessing"], NO_BASELINE)
        return "; ".join(filter(None, [verdict.summary(task), baseline]))
    return _NOTES[component](outputs) if component in _NOTES else ""


def read_json(*path: str) -> Any:
    """Reads a JSON file."""
    with open(os.path.join(*path)) as file:
        return json.load(file)


def _clips(outputs: Mapping[str, Any]) -> str:
    summary = read_json(outputs["examples"].uri, ingest_summary.SUMMARY)
    counts = ", ".join(f"{split} {summary['splits'][split]['clips']}" for split in ingest_splits.SPLITS)
    short = f", {summary['short']} too short for context + horizon, left out" if summary["short"] else ""
    quarantine = os.path.join(outputs["examples"].uri, ingest_summary.QUARANTINE)
    bad = f", {len(summary['bad'])} bad, in {quarantine}" if summary["bad"] else ""
    names = ", ".join(map(str, summary["spans"]))
    spans = f" of span{'s' if len(summary['spans']) > 1 else ''} {names}" if names else ""
    warnings = "".join(f"; {warning}" for warning in summary["warnings"])
    return f"clips{spans}: {counts}{short}{bad}{warnings}"


def _gate(outputs: Mapping[str, Any]) -> str:
    compared = read_json(outputs["gate"].uri, validation_gate.DRIFT)
    return "; ".join(["no anomalies", *(drift.SpanDrift(**comparison).describe() for comparison in compared)])


def _search(outputs: Mapping[str, Any]) -> str:
    trials = tuner.read_trials(outputs["tuner_results"].uri)
    (best,) = (trial for trial in trials if trial["best"])
    counts = [
        f"{sum(trial['status'] == status for trial in trials)} {status}"
        for status in ("finished", "stopped", "failed")
        if any(trial["status"] == status for trial in trials)
    ]
    best_trial = f"best trial {best['trial']}: val loss {best['val_loss']:.5f}"
    return f"{len(trials)} trials, {', '.join(counts)}; {best_trial}"


def _training(outputs: Mapping[str, Any]) -> str:
    summary = read_json(outputs["model_run"].uri, training_summary.FILE)
    train = summary["train"]
    start = f"{summary['start']}, " if summary["start"] else ""
    warning = f"; {summary['warning']}" if summary.get("warning") else ""
    chosen = "".join(f", val {name} {value:.5f}" for name, value in summary["best"].get("metric", {}).items())
    return (
        f"{start}trained in {summary['precision']}, val loss {summary['best']['val_loss']:.5f}{chosen}, "
        f"padded frames {100 * train['padding_share']:.1f} %, {train['bytes_per_pixel']:.2f} bytes per pixel{warning}"
    )


def _serving(outputs: Mapping[str, Any]) -> str:
    model = outputs["model"]
    return property_of(model, "reason") or f"version {property_of(model, 'version')}"


def _infra(outputs: Mapping[str, Any]) -> str:
    blessing = outputs["blessing"]
    return property_of(blessing, "reason") or f"answers in {property_of(blessing, 'latency_ms')} ms"


def _push(outputs: Mapping[str, Any]) -> str:
    pushed = outputs["pushed_model"]
    if property_of(pushed, "pushed"):
        return f"version {property_of(pushed, 'pushed_version')}"
    return f"not pushed: {property_of(pushed, 'reason')}"


def _predictions(outputs: Mapping[str, Any]) -> str:
    answers = outputs["answers"]
    if reason := property_of(answers, "reason"):
        return f"no predictions: {reason}"
    clips, left_out, bad = (property_of(answers, name) for name in ("clips", "left_out", "bad"))
    skipped = f", {bad} bad skipped" if bad else ""
    return f"{clips} clips predicted, {left_out} too short left out{skipped}, in {property_of(answers, 'folder')}"


_NOTES = {
    "ClipExampleGen": _clips,
    "ValidationGate": _gate,
    "Tuner": _search,
    "Trainer": _training,
    "ServingModel": _serving,
    "SavedModelInfraValidator": _infra,
    "Pusher": _push,
    "BulkInference": _predictions,
}
