"""Runs the pipeline on this machine and records the result: `framecast run`.

result = run(load("configs/demo.yaml"), "work")
result.verdict, result.why, result.figures["mse"]
"""

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

from framecast.clips.files import exclusive, write_whole
from framecast.pipeline.config.config import Config, check_functions, to_yaml
from framecast.pipeline.config.inputs import LATEST, Inputs, find_inputs, select_span
from framecast.pipeline.runs import provenance, records
from framecast.pipeline.runs.result import RunResult
from framecast.pipeline.runs.screen import Screen, logged_to
from framecast.pipeline.runs.span import find_finished_run
from framecast.pipeline.runs.workdir import check_workdir


def run(
    config: Config,
    workdir: str,
    from_node: str | None = None,
    to_node: str | None = None,
    quiet: bool = False,
    span: str | None = None,
) -> RunResult:
    """Runs the pipeline and returns the result.

    With `span="latest"` nothing is run or recorded, and the verdict is `unchanged`, if an earlier run in this work
    directory ended with that span or no span is complete.

    Args:
        config: The configuration.
        workdir: Folder of artifacts, metadata, training state and run records.
        from_node: First component to run, on the artifacts of the newest run that finished every component before it.
        to_node: Last component to run.
        quiet: Print nothing.
        span: The newest span to use, a number or `latest`; see `framecast.pipeline.config.inputs.select_span`.

    Raises:
        ConfigError: If there are no input files, the span does not exist, the model builder cannot be imported, or the
            work directory is a file or has wildcards in its path.
        FolderBusyError: If another run uses this work directory.
    """
    base = pathlib.Path(workdir).resolve()
    check_workdir(base)
    skipped = ""
    if span is not None:
        selected, skipped = select_span(config, span)
        if selected is None:
            return _nothing_to_do(skipped, quiet)
        config = selected
    inputs = find_inputs(config)
    first = not base.exists()
    if first:  # A builder that cannot be imported leaves no work directory behind.
        check_functions(config)
    base.mkdir(parents=True, exist_ok=True)
    with exclusive(base, "run"):
        if span == LATEST and (before := find_finished_run(config.data.train, inputs.spans[-1], base)) is not None:
            done = f"run {before.name} ended with span {inputs.spans[-1]}: {before.record['verdict']}"
            return _nothing_to_do("; ".join(filter(None, (done, skipped))), quiet)
        if not first:  # Only now, because it imports Keras.
            check_functions(config)
        return _recorded_run(config, inputs, base, from_node, to_node, quiet)


def _nothing_to_do(why: str, quiet: bool) -> RunResult:
    result = RunResult(verdict="unchanged", why=f"nothing to do: {why}")
    if not quiet:
        print(f"{result.verdict}: {result.why}")
    return result


def _recorded_run(
    config: Config, inputs: Inputs, base: pathlib.Path, from_node: str | None, to_node: str | None, quiet: bool
) -> RunResult:
    """Runs the pipeline, and writes the configuration, the log, the report and `run.json` to the run's folder."""
    now = datetime.datetime.now().astimezone()
    folder = records.make_folder(base, now)
    write_whole(folder / "config.yaml", to_yaml(config))
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
            _write_record(result, folder / "run.json", screen)

        def interrupted(name: str) -> None:
            result.verdict = "failed"
            result.why = f"{name} during {screen.current}; the same command resumes there"
            record()

        with _ending_on_signals(interrupted):
            folders = _run_pipeline(config, inputs, base, folder.name, screen, result, from_node, to_node)
            result.seconds = round(time.monotonic() - started, 1)
            result.report = _write_report(config, folder / "report", result, folders)
        record()
    return result


def _write_record(result: RunResult, path: pathlib.Path, screen: Screen) -> None:
    write_whole(path, json.dumps(dataclasses.asdict(result), indent=1) + "\n")
    style = {"rejected": "yellow", "failed": "red"}.get(result.verdict, "green")
    screen.say(f"{result.verdict}: {result.why}", style)
    screen.say(f"{result.seconds:.0f} s, record {path}, log {result.log}")
    if result.report:
        screen.say(f"report {result.report}")


@contextlib.contextmanager
def _ending_on_signals(interrupted: Callable[[str], None]) -> Iterator[None]:
    """Ends the process on SIGINT and SIGTERM, after `interrupted(name of the signal)`.

    The process ends by `os._exit`, because components run in Beam's threads, which no exception in the main thread
    stops. The next run resumes, because no half-written file or folder has its final name.
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


def _run_pipeline(
    config: Config,
    inputs: Inputs,
    base: pathlib.Path,
    name: str,
    screen: Screen,
    result: RunResult,
    from_node: str | None,
    to_node: str | None,
) -> dict[str, str]:
    """Runs the components, fills the result, and returns the folders of the artifacts that the report needs."""
    screen.running("loading TFX")
    from tfx.orchestration import metadata

    from framecast.pipeline.dag import dag
    from framecast.pipeline.runs import runner
    from framecast.pipeline.runs.progress import Watcher

    if where := config.beam.describe(inputs.bytes):
        screen.say(where)
    connection = metadata.sqlite_metadata_connection_config(str(base / "metadata.sqlite"))
    watcher = Watcher(screen, result, config.task.kind)
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
    result.lineage = _read_lineage(connection, name)
    return watcher.folders


def _read_lineage(connection: Any, name: str) -> list[dict[str, Any]]:
    """Reads the lineage for `run.json`, which outlives the database; empty on an error."""
    from tfx.orchestration import metadata

    from framecast.pipeline.runs.lineage import read_lineage

    try:
        with metadata.Metadata(connection) as handle:
            return [dataclasses.asdict(execution) for execution in read_lineage(handle.store, name)]
    except Exception:
        logging.getLogger(__name__).exception("the lineage was not read")
        return []


def _write_report(config: Config, folder: pathlib.Path, result: RunResult, folders: dict[str, str]) -> str:
    """Writes the report and returns the path of its page; empty on an error, which leaves the verdict as it is."""
    from framecast.pipeline.runs import report

    try:
        return report.write(folder, config, dataclasses.asdict(result), folders)
    except Exception:
        logging.getLogger(__name__).exception("the report was not written")
        return ""
