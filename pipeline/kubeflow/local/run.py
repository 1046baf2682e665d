"""Runs a compiled KFP v2 pipeline on this machine, without a cluster: `framecast kubeflow run-local`.

Plays the roles of KFP's driver and launcher. Tasks run one after the other, each as a separate process in a separate
folder that holds only its inputs.
"""

import contextlib
import dataclasses
import datetime
import json
import pathlib
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format

from framecast.clips.files import exclusive, write_whole
from framecast.pipeline.config.config import ConfigError
from framecast.pipeline.config.kubeflow import INPUT_FILES
from framecast.pipeline.kubeflow.local import driver, launcher
from framecast.pipeline.kubeflow.local import spec as kfp_spec
from framecast.pipeline.kubeflow.local.cache import fingerprint
from framecast.pipeline.kubeflow.local.metadata import ClusterMetadata, Outputs
from framecast.pipeline.kubeflow.local.store import Store, local_path
from framecast.pipeline.kubeflow.parameter_checks import check_parameters
from framecast.pipeline.runs.screen import Screen
from framecast.pipeline.runs.workdir import check_workdir

_TAIL = 20  # Lines of a log in an error message.


@dataclasses.dataclass
class TaskRun:
    """The record of a task.

    Args:
        task: Task name.
        state: `done`, `cached` or `failed`.
        seconds: Wall time of all attempts.
        attempts: Number of times that its command was started.
        fingerprint: Cache key; empty if the task is not cached.
        artifacts: URI of each output.
        parameters: Value of each output parameter.
        without_files: Outputs without files.
        not_enforced: Settings that only a cluster applies.
        log: Log file; empty if no process was started.
    """

    task: str
    state: str = "failed"
    seconds: float = 0.0
    attempts: int = 0
    fingerprint: str = ""
    artifacts: dict[str, str] = dataclasses.field(default_factory=dict)
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    without_files: list[str] = dataclasses.field(default_factory=list)
    not_enforced: dict[str, Any] = dataclasses.field(default_factory=dict)
    log: str = ""


@dataclasses.dataclass
class CompiledRunResult:
    """The outcome of a run, written as `run.json`.

    Args:
        pipeline: Pipeline name.
        run: Run name.
        parameters: Value of each runtime parameter.
        state: `succeeded` or `failed`.
        why: Reason of a failure, with the end of the task's log.
        tasks: Records of the started tasks, in order.
        seconds: Wall time.
    """

    pipeline: str
    run: str
    parameters: dict[str, Any]
    state: str = "failed"
    why: str = ""
    tasks: list[TaskRun] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """The command's exit code."""
        return 0 if self.state == "succeeded" else 1


def run_local(
    path: str,
    workdir: str,
    *,
    parameters: list[str] | None = None,
    root: str | None = None,
    cache: bool = False,
    quiet: bool = False,
) -> CompiledRunResult:
    """Runs a pipeline until its end, or until a task fails.

    Args:
        path: The compiled pipeline, YAML.
        workdir: Holds `store` (the buckets), `metadata.json` (artifact numbers, cached tasks) and `runs`.
        parameters: `NAME=VALUE` for the pipeline's runtime parameters.
        root: Parent URI of the artifacts; default: the pipeline's.
        cache: Use cached outputs where KFP would.
        quiet: Print nothing.

    Raises:
        ConfigError: If the pipeline uses an unsupported feature, a parameter is wrong, or the work directory is a file
            or has wildcards in its path; before any task starts.
        FolderBusyError: If another run uses this work directory.
    """
    pipeline = kfp_spec.read(path)
    values = driver.runtime_parameters(pipeline, parameters or [])
    check_parameters(_plain(values), _volumes(pipeline))
    root = (root or pipeline.root).rstrip("/")
    if local_path(pathlib.Path(), root) is None:
        raise ConfigError(f"{root}: expected a pipeline root in an object store (minio://, s3:// or gs://)")
    base = pathlib.Path(workdir).resolve()
    check_workdir(base)
    base.mkdir(parents=True, exist_ok=True)
    with exclusive(base, "run"), _ending_on_sigterm(), Screen(sys.stdout, quiet) as screen:
        return _Run(pipeline, values, root, base, cache, screen).run()


class _Run:
    def __init__(
        self,
        pipeline: kfp_spec.Pipeline,
        parameters: dict[str, Any],
        root: str,
        base: pathlib.Path,
        cache: bool,
        screen: Screen,
    ):
        now = datetime.datetime.now(datetime.timezone.utc)
        name = now.strftime("%Y%m%d-%H%M%S-%f")
        self._pipeline, self._parameters, self._cache, self._screen = pipeline, parameters, cache, screen
        self._root = f"{root}/{pipeline.name}/{name}"
        self._folder = base / "runs" / name
        self._store = Store(base / "store")
        self._metadata = ClusterMetadata(base / "metadata.json")
        self._names = {
            "{{$.pipeline_job_name}}": name,
            "{{$.pipeline_job_resource_name}}": name,
            "{{$.pipeline_job_uuid}}": name,
            "{{$.pipeline_job_create_time_utc}}": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "{{$.pipeline_job_schedule_time_utc}}": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        self._done: dict[str, Outputs] = {}
        self._result = CompiledRunResult(pipeline.name, name, _plain(parameters))

    def run(self) -> CompiledRunResult:
        """Runs the tasks and writes the record."""
        self._folder.mkdir(parents=True)
        result, started = self._result, time.monotonic()
        self._screen.say(f"{result.pipeline}: {len(self._pipeline.tasks)} tasks, artifacts under {self._store.folder}")
        for line in _describe_not_enforced(self._pipeline.tasks):
            self._screen.say(line)
        try:
            for task in self._pipeline.tasks:
                self._run_task(task)
            result.state = "succeeded"
        except launcher.TaskError as error:
            result.why = str(error)
        except (KeyboardInterrupt, SystemExit):
            result.why = f"interrupted during {self._screen.current}"
            raise
        finally:
            result.seconds = round(time.monotonic() - started, 1)
            self._write_record()
        self._screen.say(
            f"{result.state}{': ' if result.why else ''}{result.why}", "green" if result.state == "succeeded" else "red"
        )
        self._screen.say(f"{result.seconds:.0f} s, record {self._folder / 'run.json'}")
        return result

    def _write_record(self) -> None:
        write_whole(self._folder / "run.json", json.dumps(dataclasses.asdict(self._result), indent=1) + "\n")

    def _run_task(self, task: kfp_spec.Task) -> None:
        """Runs a task, or takes its outputs from the cache.

        Raises:
            TaskError: If it failed, with its name and the end of its log.
        """
        run = TaskRun(task.name, not_enforced=_not_enforced(task))
        self._result.tasks.append(run)
        self._screen.running(task.name)
        started = time.monotonic()
        names = {**self._names, "{{$.pipeline_task_name}}": task.name, "{{$.pipeline_task_uuid}}": task.name}
        try:
            if task.executor.WhichOneof("spec") == "importer":
                outputs, run.state = self._import(task, names), "done"
            else:
                outputs = self._execute_or_reuse(task, names, run)
        except (ValueError, launcher.TaskError) as error:
            raise launcher.TaskError(f"{task.name}: {error}{_tail(run.log)}") from error
        finally:
            run.seconds = round(time.monotonic() - started, 1)
            self._screen.done(run.task, run.state, run.seconds, _note(run))
        self._done[task.name] = outputs

    def _execute_or_reuse(self, task: kfp_spec.Task, names: dict[str, str], run: TaskRun) -> Outputs:
        folder = self._folder / task.name
        folder.mkdir()
        task_root, pod = f"{self._root}/{task.name}", folder / "pod"
        given = driver.executor_input(task, self._parameters, self._done, names=names, task_root=task_root, pod=pod)
        (folder / "executor_input.json").write_text(json_format.MessageToJson(given, indent=1) + "\n")
        outputs = None
        if self._cache and task.spec.caching_options.enable_cache:
            run.fingerprint = fingerprint(task, given)
            outputs = self._metadata.cached(self._pipeline.name, run.fingerprint)
        run.state = "cached" if outputs else "failed"
        if outputs is None:
            run.log = str(folder / "log.txt")
            outputs = self._attempts(task, given, pod, run)
            run.state = "done"
            if run.fingerprint:
                self._metadata.cache(self._pipeline.name, run.fingerprint, outputs)
        run.artifacts = {name: artifact.uri for name, artifact in outputs.artifacts.items()}
        run.parameters = _plain(outputs.parameters)
        return outputs

    def _attempts(self, task: kfp_spec.Task, given: Any, pod: pathlib.Path, run: TaskRun) -> Outputs:
        """Runs a task until it succeeds or its retries are used up, each time in an empty folder, without backoff."""
        while True:
            run.attempts += 1
            pod.mkdir()
            with open(run.log, "a") as log:
                try:
                    outputs, run.without_files = launcher.execute(
                        task, given, store=self._store, metadata=self._metadata, pod=pod, log=log
                    )
                except launcher.TaskError as error:
                    if run.attempts > task.spec.retry_policy.max_retry_count:
                        raise  # The pod folder is kept for inspection.
                    print(f"launcher: attempt {run.attempts}: {error}", file=log)
                    outputs = None
            shutil.rmtree(pod)
            if outputs is not None:
                return outputs

    def _import(self, task: kfp_spec.Task, names: dict[str, str]) -> Outputs:
        artifact = driver.imported(task, self._parameters, names)
        path = self._store.path(artifact.uri)
        if path is None:
            raise ValueError(f"import of {artifact.uri}: expected a URI in an object store (minio://, s3:// or gs://)")
        if not path.exists():
            raise ValueError(f"import of {artifact.uri}: expected an object in {path}, which does not exist")
        (output,) = task.component.output_definitions.artifacts
        self._result.tasks[-1].artifacts = {output: artifact.uri}
        reimport = task.executor.importer.reimport
        found = self._metadata.find_or_record_import(self._pipeline.name, output, artifact, reimport)
        return Outputs({output: found}, {})


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Turns SIGTERM into SystemExit, so that the processes of the current task are killed too."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _volumes(pipeline: kfp_spec.Pipeline) -> str | None:
    for task in pipeline.tasks:
        if task.name == INPUT_FILES and "volumes" in task.spec.inputs.parameters:
            return task.spec.inputs.parameters["volumes"].runtime_value.constant.string_value
    return None


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: json_format.MessageToDict(value) for name, value in values.items()}


def _not_enforced(task: kfp_spec.Task) -> dict[str, Any]:
    container = task.executor.container
    asked = {"image": container.image, **task.resources, **task.platform}
    return {name: value for name, value in asked.items() if value}


def _describe_not_enforced(tasks: list[kfp_spec.Task]) -> list[str]:
    """Returns a line for each setting that only a cluster applies, with its tasks."""
    tasks_by_setting: dict[str, list[str]] = {}
    for task in tasks:
        for name, value in _not_enforced(task).items():
            tasks_by_setting.setdefault(f"{name} {_brief(value)}", []).append(task.name)
    return [
        f"not enforced: {setting} ({'every task' if len(names) == len(tasks) else ', '.join(names)})"
        for setting, names in tasks_by_setting.items()
    ]


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_brief(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(_brief, value))
    return str(value)


def _note(run: TaskRun) -> str:
    parts = [f"{run.attempts} attempts"] if run.attempts > 1 else []
    if run.without_files:
        parts.append(f"no files of {', '.join(run.without_files)}")
    return "; ".join(parts)


def _tail(log: str) -> str:
    """Returns the last lines of a log, indented, and its path; empty if there is no log."""
    if not log or not pathlib.Path(log).exists():
        return ""
    lines = pathlib.Path(log).read_text(errors="replace").splitlines()[-_TAIL:]
    return "".join(f"\n  {line}" for line in lines) + f"\nlog {log}"
