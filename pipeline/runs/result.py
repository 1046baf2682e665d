"""Defines the result of a run: verdict, exit code and the content of `run.json`."""

import dataclasses
from typing import Any

EXIT_CODES = {"pushed": 0, "unchanged": 0, "rejected": 3, "failed": 1}


@dataclasses.dataclass
class RunResult:
    """The result of a run, written as `run.json`.

    Args:
        verdict: `pushed`, `unchanged`, `rejected` or `failed`.
        why: The reason, one sentence to a few lines.
        decision: Pusher's decision, `pushed`, `unchanged` or `rejected`; empty if Pusher did not finish. The verdict
            differs if a later component failed.
        figures: Every metric of the candidate over the eval split (`framecast.evaluation.gate.verdict.Verdict`).
        misses: Every threshold that was missed.
        components: State, seconds, peak memory (bytes; None if cached) and note of each component.
        bad_clips: Number of clips and files in quarantine, by reason.
        spans: The spans whose clips were used, lowest first.
        drift: ValidationGate's comparisons, by span (`framecast.components.validation_gate.drift.SpanDrift`).
        trials: Every trial of a search (`framecast.models.tuning.tuner_fn.TrialTuner.records`).
        version: The version that serves after the run.
        log: Path of the full log.
        report: Path of the HTML page; empty if there is none.
        seconds: Wall time.
        time: Start of the run, ISO 8601 with the time zone.
        data: Digest of the records that were read; None if ClipExampleGen did not finish.
        code: Digest of Framecast's code.
        packages: Versions of Python and of each package that the result depends on.
        lineage: Executions and artifacts of the run in ML Metadata (`framecast.pipeline.runs.lineage.Execution`).
    """

    verdict: str = "failed"
    why: str = ""
    decision: str = ""
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)
    misses: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    components: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    bad_clips: dict[str, int] = dataclasses.field(default_factory=dict)
    spans: list[int] = dataclasses.field(default_factory=list)
    drift: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    trials: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    version: str | None = None
    log: str = ""
    report: str = ""
    seconds: float = 0.0
    time: str = ""
    data: str | None = None
    code: str = ""
    packages: dict[str, str] = dataclasses.field(default_factory=dict)
    lineage: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """Exit code of `framecast run`."""
        return EXIT_CODES[self.verdict]
