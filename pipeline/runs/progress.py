"""Prints a line for each finished component and collects the run's result from the artifacts."""

import dataclasses

from framecast.components import tuner
from framecast.components.clip_example_gen import summary as ingest_summary
from framecast.components.push_decision import decide
from framecast.components.validation_gate import component as validation_gate
from framecast.evaluation.gate.verdict import Verdict, read_verdict
from framecast.pipeline.runs import formatting
from framecast.pipeline.runs.component_notes import describe, read_json
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

    def found_damage(self, line: str) -> None:
        """Prints the line."""
        self._screen.say(line, "yellow")

    def started(self, name: str) -> None:
        """Shows that a component runs."""
        self._screen.running(name)

    def finished(self, run: NodeRun) -> None:
        """Prints the component's line."""
        self._runs[run.name] = run
        if run.name == "Evaluator":
            self._verdict = read_verdict(run.outputs["evaluation"].uri)
        self._line(
            run.name,
            "cached" if run.cached else "done",
            run.seconds,
            run.peak_memory,
            describe(run.name, run.outputs, self._verdict, self._task),
        )
        if run.name == "ValidationGate":
            self._result.drift = read_json(run.outputs["gate"].uri, validation_gate.DRIFT)
        if run.name == "Tuner":
            self._result.trials = tuner.read_trials(run.outputs["tuner_results"].uri)
            self._screen.say(f"  {formatting.as_options(tuner.best_values(self._result.trials))}")
        if run.name == "ClipExampleGen":
            summary = read_json(run.outputs["examples"].uri, ingest_summary.SUMMARY)
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
                self._result.why = "stopped before the Pusher by --to"
            return
        pusher, infra = self._runs["Pusher"], self._runs.get("SavedModelInfraValidator")
        end = decide(pusher.outputs["pushed_model"], infra.outputs["blessing"] if infra else None, self._verdict)
        result = self._result
        result.decision = "unchanged" if end.verdict == "pushed" and pusher.cached else end.verdict
        result.version = end.version
        if self.error is None:
            result.verdict, result.why = result.decision, end.why
        else:  # A failed run is tried again, also if Pusher pushed.
            result.why += f"\nPusher had finished: {result.decision}: {end.why}"

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
