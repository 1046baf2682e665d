"""Runs a task as KFP's launcher does in its pod: downloads inputs, runs the command, uploads outputs.

A folder simulates the root of the pod's file system. Reference: `backend/src/v2/component/launcher_v2.go` in
github.com/kubeflow/pipelines.
"""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from framecast.pipeline.kubeflow.local.driver import parse, text_of, with_defaults
from framecast.pipeline.kubeflow.local.metadata import ClusterMetadata, Outputs
from framecast.pipeline.kubeflow.local.spec import PLACEHOLDER, Task, type_name
from framecast.pipeline.kubeflow.local.store import Store, local_path

# Tells `pipeline.kubeflow.entrypoint` the parent of /minio, /s3 and /gcs, which is / on a cluster.
LAUNCHER_ROOT = "FRAMECAST_LAUNCHER_ROOT"


class TaskError(RuntimeError):
    """The command of a task failed, or its outputs are invalid."""


def execute(
    task: Task, executor_input: Any, *, store: Store, metadata: ClusterMetadata, pod: pathlib.Path, log: IO[str]
) -> tuple[Outputs, list[str]]:
    """Runs a task in its own process.

    Args:
        task: The task, with a container. The command runs in this environment, not in its image.
        executor_input: Its resolved `ExecutorInput`.
        store: Holds inputs and outputs.
        metadata: Numbers the outputs.
        pod: An empty folder that simulates the root of the task's file system; the working directory.
        log: Receives the output of the command.

    Returns:
        The outputs, and the names of output artifacts without files.

    Raises:
        TaskError: If the task failed.
    """
    _download(executor_input, store, pod, log)
    _prepare_folders(executor_input, pod)
    command = _command(task, with_defaults(task, executor_input), pod)
    log.flush()
    _run(command, _environment(task, pod), pod, log)
    try:
        return _collect(task, executor_input, store, metadata, pod, log)
    except (OSError, ValueError, json_format.ParseError) as error:
        raise TaskError(str(error)) from error


def _download(executor_input: Any, store: Store, pod: pathlib.Path, log: IO[str]) -> None:
    for name, given in executor_input.inputs.artifacts.items():
        for artifact in given.artifacts:
            to = local_path(pod, artifact.uri)
            if to is None:
                print(f"launcher: input {name}: {artifact.uri} is not in an object store, not downloaded", file=log)
            else:
                store.download(artifact.uri, to)


def _prepare_folders(executor_input: Any, pod: pathlib.Path) -> None:
    """Creates the parent folders of the outputs."""
    outputs = executor_input.outputs
    paths = [pathlib.Path(parameter.output_file) for parameter in outputs.parameters.values()]
    paths += [_existing(local_path(pod, made.artifacts[0].uri)) for made in outputs.artifacts.values()]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)


def _command(task: Task, executor_input: Any, pod: pathlib.Path) -> list[str]:
    """Returns command and arguments with their placeholders replaced."""
    whole = json_format.MessageToJson(executor_input, indent=None)

    def filled(found: re.Match[str]) -> str:
        return whole if not found[1] else _filled(found[0], found[1], executor_input, pod)

    container = task.executor.container
    return [PLACEHOLDER.sub(filled, text) for text in [*container.command, *container.args]]


def _filled(placeholder: str, body: str, executor_input: Any, pod: pathlib.Path) -> str:
    _, way, kind, rest = re.split(r"[.\[]", body, maxsplit=3)
    name, field = re.fullmatch(r"'([^']+)'\](?:\.(\w+))?", rest).groups()  # type: ignore[union-attr]
    half = getattr(executor_input, way)
    if kind == "artifacts":
        if name in half.artifacts:
            uri = half.artifacts[name].artifacts[0].uri
            return uri if field == "uri" else str(_existing(local_path(pod, uri)))
    elif way == "outputs":
        if name in half.parameters:
            return half.parameters[name].output_file
    elif name in half.parameter_values:
        return text_of(half.parameter_values[name])
    raise TaskError(f"{placeholder}: expected a value, found none")


def _environment(task: Task, pod: pathlib.Path) -> dict[str, str]:
    """Returns this process's environment plus the task's, with `python` as the running interpreter."""
    found = os.environ.get("PATH", os.defpath)
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(pathlib.Path(sys.executable).parent), found]),
        **{variable.name: variable.value for variable in task.executor.container.env},
        LAUNCHER_ROOT: str(pod),
    }


def _run(command: list[str], environment: dict[str, str], pod: pathlib.Path, log: IO[str]) -> None:
    """Runs a command; kills its process group if this process is interrupted.

    Raises:
        TaskError: If the command cannot start, or fails.
    """
    with _deferred_signals() as deferred:
        try:
            process = subprocess.Popen(
                command,
                cwd=pod,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise TaskError(f"{command[0]}: {error.strerror}") from error
    with process:
        try:
            for number in deferred:
                signal.raise_signal(number)
            code = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if code:
        ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise TaskError(f"{command[0]}: {ended}")


@contextlib.contextmanager
def _deferred_signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT, because an exception inside `Popen` would lose the process.

    A signal mask is no alternative: another thread of this process receives what one thread blocks.
    """
    deferred: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: deferred.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield deferred
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _collect(
    task: Task, executor_input: Any, store: Store, metadata: ClusterMetadata, pod: pathlib.Path, log: IO[str]
) -> tuple[Outputs, list[str]]:
    """Uploads the outputs; returns them, and the names of those without files."""
    reported = _read_reported(pathlib.Path(executor_input.outputs.output_file))
    parameters = _parameters(task, executor_input, reported)
    artifacts, missing = {}, []
    for name, provisioned in sorted(executor_input.outputs.artifacts.items()):
        artifact = provisioned.artifacts[0]
        if name in reported.artifacts and reported.artifacts[name].artifacts:
            changed = reported.artifacts[name].artifacts[0]
            artifact.uri = changed.uri or artifact.uri
            artifact.metadata.update(changed.metadata)
        source = local_path(pod, artifact.uri)
        if source is None:
            print(f"launcher: output {name}: {artifact.uri} is not in an object store, not uploaded", file=log)
        else:
            store.upload(source, artifact.uri)
        if source is None or not _existing(store.path(artifact.uri)).exists():
            missing.append(name)
        artifacts[name] = metadata.record(name, artifact)
    return Outputs(artifacts, parameters), missing


def _read_reported(path: pathlib.Path) -> Any:
    """Reads the `ExecutorOutput` that the command wrote as JSON; empty if it wrote none."""
    reported = pb.ExecutorOutput()
    if path.exists():
        try:
            json_format.Parse(path.read_text(encoding="utf-8"), reported)
        except json_format.ParseError as error:
            raise ValueError(f"{path.name}: expected an ExecutorOutput: {error}") from error
    return reported


def _parameters(task: Task, executor_input: Any, reported: Any) -> dict[str, Any]:
    values = dict(reported.parameter_values)
    for name, parameter in executor_input.outputs.parameters.items():
        if name in values:
            continue
        path = pathlib.Path(parameter.output_file)
        if not path.exists():
            raise ValueError(f"output parameter {name}: expected a value in {path}, which does not exist")
        try:
            kind = type_name(task.component.output_definitions.parameters[name])
            values[name] = parse(path.read_text(encoding="utf-8"), kind)
        except ValueError as error:
            raise ValueError(f"output parameter {name}: {error}") from error
    return values


def _existing(path: pathlib.Path | None) -> pathlib.Path:
    assert path is not None  # The pipeline's root is in an object store.
    return path
