"""Prints a line for each finished component and collects the run's result from the artifacts."""

import dataclasses
import json
import os
from typing import Any

from framecast.components import tuner
from framecast.components.artifact_properties import property_of
from framecast.components.clip_example_gen import splits as ingest_splits
from framecast.components.clip_example_gen import summary as ingest_summary
from framecast.components.outcome import outcome
from framecast.components.validation_gate import component as validation_gate
from framecast.components.validation_gate import drift
from framecast.evaluation.gate.verdict import Verdict, read_verdict
from framecast.models.training import summary as training_summary
from framecast.pipeline.runs import formatting
from framecast.pipeline.runs.result import RunResult
from framecast.pipeline.runs.runner import NodeRun
from framecast.pipeline.runs.screen import Screen

_SHOWN_LINES = 12


class Watcher:
    """Observes a run: prints a line for each component and fills the run's result."""

    def __init__(self, screen: Screen, result: RunResult, task: str):
        self._screen = screen
        self._task = task
        self._result = result
        self._runs: dict[str, NodeRun] = {}
        self._verdict: Verdict | None = None
        self.error: Exception | None = None

    def started(self, name: str) -> None:
        """Shows that a component runs."""
        self._screen.running(name)

    def finished(self, run: NodeRun) -> None:
        """Prints the component's line."""
        self._runs[run.name] = run
        if run.name == "Evaluator":
            self._verdict = read_verdict(run.outputs["evaluation"].uri)
        self._line(run.name, "cached" if run.cached else "done", run.seconds, run.peak_memory, self._note(run))
        if run.name == "ValidationGate":
            self._result.drift = _read_json(run.outputs["gate"].uri, validation_gate.DRIFT)
        if run.name == "Tuner":
            self._result.trials = tuner.read_trials(run.outputs["tuner_results"].uri)
            self._screen.say(f"  {formatting.as_options(tuner.best_values(self._result.trials))}")
        if run.name == "ClipExampleGen":
            summary = _read_json(run.outputs["examples"].uri, ingest_summary.SUMMARY)
            self._result.spans, self._result.bad_clips = summary["spans"], summary["reasons"]
            self._result.data = summary["digest"]
            for reason, count in sorted(self._result.bad_clips.items(), key=lambda pair: -pair[1]):
                self._screen.say(f"  {count:7} {reason}", "yellow")

    def failed(self, name: str, error: Exception, seconds: float, peak_memory: int | None) -> None:
        """Prints the component's line and sets the verdict `failed`."""
        self.error = error
        if isinstance(error, validation_gate.DataDriftError):
            self._result.drift = [dataclasses.asdict(comparison) for comparison in error.comparisons]
        lines = str(error).strip().splitlines() or [type(error).__name__]
        self._line(name, "failed", seconds, peak_memory, type(error).__name__)
        self._result.verdict = "failed"
        self._result.why = f"{name}: " + "\n".join(lines[:_SHOWN_LINES])

    def conclude(self) -> None:
        """Sets the verdict and the figures from the outputs of the components."""
        if self._verdict is not None:
            self._result.figures = self._verdict.figures
            self._result.misses = [dataclasses.asdict(miss) for miss in self._verdict.misses]
        if "Pusher" not in self._runs:
            if self.error is None:
                self._result.verdict = "unchanged"
                self._result.why = "stopped before the Pusher, as asked"
            return
        # The verdict is about the candidate: a component that fails after the Pusher does not change it.
        pusher, infra = self._runs["Pusher"], self._runs.get("SavedModelInfraValidator")
        end = outcome(pusher.outputs["pushed_model"], infra.outputs["blessing"] if infra else None, self._verdict)
        self._result.verdict = "unchanged" if end.verdict == "pushed" and pusher.cached else end.verdict
        self._result.version = end.version
        self._result.why = end.why if self.error is None else f"{end.why}\n{self._result.why}"

    @property
    def folders(self) -> dict[str, str]:
        """Folders of the artifacts that the report needs; see `framecast.components.report.evidence.gather`."""
        outputs = {
            "ClipExampleGen": ("ClipExampleGen", "examples"),
            "ValidationGate": ("ValidationGate", "gate"),
            "Trainer": ("Trainer", "model_run"),
            "model": ("Trainer", "model"),
            "Evaluator": ("Evaluator", "evaluation"),
            "Tuner": ("Tuner", "tuner_results"),
            "Report": ("Report", "report"),
        }
        return {
            key: self._runs[component].outputs[output].uri
            for key, (component, output) in outputs.items()
            if component in self._runs
        }

    def _line(self, name: str, state: str, seconds: float, peak_memory: int | None, note: str) -> None:
        self._screen.done(name, state, seconds, note)
        part = {"name": name, "state": state, "seconds": round(seconds, 1), "peak_memory": peak_memory, "note": note}
        self._result.components.append(part)

    def _note(self, run: NodeRun) -> str:
        describe = {
            "ClipExampleGen": _clips,
            "ValidationGate": _gate,
            "Tuner": _search,
            "Trainer": _training,
            "ServingModel": _serving,
            "SavedModelInfraValidator": _infra,
            "Pusher": _push,
            "BulkInference": _answers,
        }.get(run.name)
        if run.name == "Evaluator":
            assert self._verdict is not None
            return self._verdict.summary(self._task)
        return describe(run.outputs) if describe else ""


def _read_json(*path: str) -> Any:
    with open(os.path.join(*path)) as file:
        return json.load(file)


def _clips(outputs: dict[str, Any]) -> str:
    summary = _read_json(outputs["examples"].uri, ingest_summary.SUMMARY)
    counts = ", ".join(f"{split} {summary['splits'][split]['clips']}" for split in ingest_splits.SPLITS)
    short = f", {summary['short']} too short for context + horizon, left out" if summary["short"] else ""
    quarantine = os.path.join(outputs["examples"].uri, ingest_summary.QUARANTINE)
    bad = f", {len(summary['bad'])} bad, in {quarantine}" if summary["bad"] else ""
    names = ", ".join(map(str, summary["spans"]))
    spans = f" of span{'s' if len(summary['spans']) > 1 else ''} {names}" if names else ""
    return f"clips{spans}: {counts}{short}{bad}"


def _gate(outputs: dict[str, Any]) -> str:
    compared = _read_json(outputs["gate"].uri, validation_gate.DRIFT)
    return "; ".join(["no anomalies", *(drift.SpanDrift(**comparison).describe() for comparison in compared)])


def _search(outputs: dict[str, Any]) -> str:
    trials = tuner.read_trials(outputs["tuner_results"].uri)
    (best,) = (trial for trial in trials if trial["best"])
    counts = [
        f"{sum(trial['status'] == status for trial in trials)} {status}"
        for status in ("finished", "stopped", "failed")
        if any(trial["status"] == status for trial in trials)
    ]
    counted = f"{len(trials)} trials, {', '.join(counts)}"
    return f"{counted}; the best, trial {best['trial']}: val loss {best['val_loss']:.5f}"


def _training(outputs: dict[str, Any]) -> str:
    summary = _read_json(outputs["model_run"].uri, training_summary.FILE)
    train = summary["train"]
    start = f"{summary['start']}, " if summary["start"] else ""
    return (
        f"{start}trained in {summary['precision']}, val loss {summary['best']['val_loss']:.5f}, "
        f"padded frames {100 * train['padding_share']:.1f} %, {train['bytes_per_pixel']:.2f} bytes a pixel"
    )


def _serving(outputs: dict[str, Any]) -> str:
    model = outputs["model"]
    return property_of(model, "reason") or f"version {property_of(model, 'version')}"


def _infra(outputs: dict[str, Any]) -> str:
    blessing = outputs["blessing"]
    return property_of(blessing, "reason") or f"answers in {property_of(blessing, 'latency_ms')} ms"


def _push(outputs: dict[str, Any]) -> str:
    pushed = outputs["pushed_model"]
    if property_of(pushed, "pushed"):
        return f"version {property_of(pushed, 'pushed_version')}"
    return f"not pushed: {property_of(pushed, 'reason')}"


def _answers(outputs: dict[str, Any]) -> str:
    answers = outputs["answers"]
    if reason := property_of(answers, "reason"):
        return f"no answers: {reason}"
    clips, left_out, bad = (property_of(answers, name) for name in ("clips", "left_out", "bad"))
    skipped = f", {bad} bad skipped" if bad else ""
    return f"{clips} clips answered, {left_out} too short left out{skipped}, in {property_of(answers, 'folder')}"
