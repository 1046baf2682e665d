"""`framecast run`: one run of the pipeline on this machine, its verdict and its record."""

import contextlib
import dataclasses
import datetime
import json
import logging
import os
import pathlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from framecast.pipeline.config import config as configuration
from framecast.pipeline.config.inputs import LATEST, Inputs, find_inputs, select_span
from framecast.pipeline.runs import provenance
from framecast.pipeline.runs.lock import exclusive
from framecast.pipeline.runs.screen import Screen, logged_to
from framecast.pipeline.runs.span import find_finished_run

EXIT_CODES = {"pushed": 0, "unchanged": 0, "lost": 3, "failed": 1}


@dataclasses.dataclass
class RunResult:
    """The outcome of a run, written as `run.json`.

    Args:
        verdict: `pushed`, `unchanged`, `lost` or `failed`.
        why: One sentence to a few lines.
        figures: Every metric of the candidate over the eval split (`framecast.evaluation.gate.verdict.Verdict`).
        misses: Every threshold that was missed.
        components: State, seconds, peak memory (bytes, of the whole process; None when cached) and the number that
            matters of each component.
        bad_clips: How many clips and files are in quarantine, by reason.
        spans: The spans whose clips were used, lowest first.
        drift: What the ValidationGate compared, span by span (`framecast.components.validation_gate.drift.SpanDrift`).
        trials: Every trial of a search for settings (`framecast.models.tuning.tuner_fn.TrialTuner.records`).
        version: The version that is serving after the run.
        log: The full log.
        report: The HTML page; empty when there is none.
        seconds: Wall time.
        time: When the run began, ISO 8601 with the zone.
        data: Digest of the records that were read; None when ClipExampleGen did not end well.
        code: Digest of our code.
        packages: Version of Python and of each package that the result depends on.
        lineage: Executions and artifacts of the run in ML Metadata (`framecast.pipeline.runs.lineage.Execution`).
    """

    verdict: str = "failed"
    why: str = ""
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
        """The command's exit code."""
        return EXIT_CODES[self.verdict]


def run(
    config: configuration.Config,
    workdir: str,
    from_node: str | None = None,
    to_node: str | None = None,
    quiet: bool = False,
    span: str | None = None,
) -> RunResult:
    """Runs the pipeline and returns what became of the candidate.

    With the latest span, there is nothing to do when a run in this work directory ended with it before, or none is
    whole: nothing is recorded, and the verdict is `unchanged`.

    Args:
        config: The run's contract.
        workdir: Artifacts, metadata, state and the records of runs.
        from_node: First component to run, on the artifacts of the newest run that finished everything before it.
        to_node: Last component to run.
        quiet: Print nothing.
        span: The newest span that is used, a number or `latest`; see `framecast.pipeline.config.inputs.select_span`.

    Raises:
        ConfigError: When there are no input files, no such span, or the model's builder cannot be imported.
        WorkdirBusyError: When another run is in this work directory.
    """
    skipped = ""
    if span is not None:
        selected, skipped = select_span(config, span)
        if selected is None:
            return _nothing_to_do(skipped, quiet)
        config = selected
    inputs = find_inputs(config)
    base = pathlib.Path(workdir).resolve()
    first = not base.exists()
    if first:  # A builder that cannot be imported leaves no work directory behind.
        configuration.check_builder(config)
    base.mkdir(parents=True, exist_ok=True)
    with exclusive(base):
        if span == LATEST and (before := find_finished_run(config.data.train, inputs.spans[-1], base)) is not None:
            done = f"span {inputs.spans[-1]} is what run {before.name} ended with: {before.record['verdict']}"
            return _nothing_to_do("; ".join(filter(None, (done, skipped))), quiet)
        if not first:  # Not sooner: it imports Keras, and there may be nothing to do.
            configuration.check_builder(config)
        return _recorded_run(config, inputs, base, from_node, to_node, quiet)


def _nothing_to_do(why: str, quiet: bool) -> RunResult:
    result = RunResult(verdict="unchanged", why=f"nothing to do: {why}")
    if not quiet:
        print(f"{result.verdict}: {result.why}")
    return result


def _recorded_run(
    config: configuration.Config,
    inputs: Inputs,
    base: pathlib.Path,
    from_node: str | None,
    to_node: str | None,
    quiet: bool,
) -> RunResult:
    now = datetime.datetime.now().astimezone()
    folder = base / "runs" / now.strftime("%Y%m%d-%H%M%S-%f")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(configuration.to_yaml(config))
    started = time.monotonic()
    result = RunResult(
        log=str(folder / "log.txt"),
        time=now.isoformat(timespec="seconds"),
        code=provenance.code(),
        packages=provenance.packages(),
    )
    with logged_to(result.log) as stream, Screen(stream, quiet) as screen:

        def record() -> None:
            result.seconds = round(time.monotonic() - started, 1)
            part = folder / "run.json.part"
            part.write_text(json.dumps(dataclasses.asdict(result), indent=1) + "\n")
            part.rename(folder / "run.json")
            style = {"lost": "yellow", "failed": "red"}.get(result.verdict, "green")
            screen.say(f"{result.verdict}: {result.why}", style)
            screen.say(f"{result.seconds:.0f} s, record {folder / 'run.json'}, log {result.log}")
            if result.report:
                screen.say(f"report {result.report}")

        def interrupted(name: str) -> None:
            result.verdict = "failed"
            result.why = f"{name} during {screen.current}; the same command goes on from there"
            record()

        with _ending_on_signals(interrupted):
            folders = _run(config, inputs, base, folder.name, screen, result, from_node, to_node)
            result.seconds = round(time.monotonic() - started, 1)
            result.report = _report(config, folder / "report", result, folders)
        record()
    return result


@contextlib.contextmanager
def _ending_on_signals(interrupted: Callable[[str], None]) -> Iterator[None]:
    """Ends the process at once on SIGINT and SIGTERM, after `interrupted(signal's name)`.

    Components run in Beam's threads, which no exception in the main thread would stop. Whatever they leave half done,
    the next run finds: nothing half-written has a final name.
    """

    def end(number: int, _: object) -> None:
        try:
            interrupted(signal.Signals(number).name)
        finally:
            os._exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(
    config: configuration.Config,
    inputs: Inputs,
    base: pathlib.Path,
    name: str,
    screen: Screen,
    result: RunResult,
    from_node: str | None,
    to_node: str | None,
) -> dict[str, str]:
    """Returns the folders of the artifacts that a report is written from."""
    screen.running("loading TFX")
    from tfx.orchestration import metadata

    from framecast.pipeline.dag import dag
    from framecast.pipeline.runs import runner
    from framecast.pipeline.runs.progress import Watcher

    if where := config.beam.describe(inputs.bytes):
        screen.say(where)
    watcher = Watcher(screen, result, config.task.kind)
    connection = metadata.sqlite_metadata_connection_config(str(base / "metadata.sqlite"))
    started = time.monotonic()
    try:
        pipeline = dag.create_pipeline(
            config,
            inputs,
            name="framecast",
            root=str(base / "artifacts"),
            workdir=str(base),
            metadata=connection,
            beam_flags=config.beam.beam_flags(inputs.bytes),
        )
        runner.LocalRunner().run_watched(pipeline, name, watcher, from_node, to_node)
    except Exception as error:
        logging.getLogger(__name__).exception("the run failed")
        if watcher.error is None:  # Not raised by a component.
            watcher.failed("framecast", error, time.monotonic() - started, None)
    watcher.conclude()
    result.lineage = _lineage(connection, name)
    return watcher.folders


def _lineage(connection: Any, name: str) -> list[dict[str, Any]]:
    """Reads what made what, for a record that outlives the database; nothing when that failed."""
    from tfx.orchestration import metadata

    from framecast.pipeline.runs.lineage import read_lineage

    try:
        with metadata.Metadata(connection) as handle:
            return [dataclasses.asdict(execution) for execution in read_lineage(handle.store, name)]
    except Exception:
        logging.getLogger(__name__).exception("the lineage was not read")
        return []


def _report(config: configuration.Config, folder: pathlib.Path, result: RunResult, folders: dict[str, str]) -> str:
    """Writes the run's report and returns its page; empty when that failed, which changes nothing of the verdict."""
    from framecast.pipeline.runs import report as run_report

    try:
        return run_report.write(folder, config, dataclasses.asdict(result), folders)
    except Exception:
        logging.getLogger(__name__).exception("the report was not written")
        return ""
