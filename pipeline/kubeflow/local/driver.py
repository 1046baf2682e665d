"""Resolves the inputs of a task and assigns URIs to its outputs, as KFP's driver does.

Reference: `backend/src/v2/driver` in github.com/kubeflow/pipelines.
"""

import copy
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from framecast.pipeline.config.config import ConfigError
from framecast.pipeline.kubeflow.local.cache import number
from framecast.pipeline.kubeflow.local.metadata import Outputs
from framecast.pipeline.kubeflow.local.spec import Pipeline, Task, type_name
from framecast.pipeline.kubeflow.local.store import local_path

_KINDS = {
    "STRING": "string_value",
    "NUMBER_INTEGER": "number_value",
    "NUMBER_DOUBLE": "number_value",
    "BOOLEAN": "bool_value",
    "LIST": "list_value",
    "STRUCT": "struct_value",
}


def runtime_parameters(pipeline: Pipeline, given: list[str]) -> dict[str, Any]:
    """Returns the value of each runtime parameter.

    Args:
        pipeline: Declares the parameters, their types and defaults.
        given: `NAME=VALUE`, lists and structs as JSON.

    Returns:
        `google.protobuf.Value` by name, without optional parameters that have no value.

    Raises:
        ConfigError: If a parameter is unknown, has no value, or has a wrong type.
    """
    values = {name: spec.default_value for name, spec in pipeline.parameters.items() if spec.HasField("default_value")}
    for setting in given:
        name, separator, text = setting.partition("=")
        if not separator or name not in pipeline.parameters:
            known = ", ".join(sorted(pipeline.parameters)) or "none"
            raise ConfigError(f"--parameter {setting}: expected NAME=VALUE with a parameter of the pipeline ({known})")
        try:
            values[name] = parse(text, type_name(pipeline.parameters[name]))
        except ValueError as error:
            raise ConfigError(f"--parameter {name}: {error}") from error
    for name, spec in sorted(pipeline.parameters.items()):
        if name not in values and not spec.is_optional:
            raise ConfigError(f"expected --parameter {name}=VALUE ({type_name(spec)}), which has no default")
    return values


def parse(text: str, kind: str) -> Any:
    """Parses text as a `google.protobuf.Value` of a KFP type.

    Raises:
        ValueError: If the text has another type.
    """
    if kind == "STRING":
        return struct_pb2.Value(string_value=text)
    word = text.strip()
    try:
        if kind == "NUMBER_INTEGER":
            return struct_pb2.Value(number_value=int(word))
        if kind == "NUMBER_DOUBLE":
            return struct_pb2.Value(number_value=float(word))
        value = json_format.ParseDict(json.loads(word.lower() if kind == "BOOLEAN" else word), struct_pb2.Value())
    except ValueError as error:
        raise ValueError(f"expected {kind}, received {text!r}") from error
    if value.WhichOneof("kind") != _KINDS[kind]:
        raise ValueError(f"expected {kind}, received {text!r}")
    return value


def text_of(value: Any) -> str:
    """Formats a `google.protobuf.Value` for a command line."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        return number(value.number_value)
    if kind in (None, "null_value"):
        return ""
    return json.dumps(json_format.MessageToDict(value), separators=(",", ":"), ensure_ascii=False)


def executor_input(
    task: Task,
    parameters: Mapping[str, Any],
    done: Mapping[str, Outputs],
    *,
    names: Mapping[str, str],
    task_root: str,
    pod: pathlib.Path,
) -> Any:
    """Returns the `ExecutorInput` of a task.

    Args:
        task: The task.
        parameters: The pipeline's runtime parameters.
        done: Outputs of earlier tasks.
        names: Values of placeholders such as `{{$.pipeline_job_uuid}}`.
        task_root: Parent URI of the task's outputs.
        pod: Folder that simulates the root of the task's file system.

    Raises:
        ValueError: If an input has no value or a wrong type.
    """
    resolved = pb.ExecutorInput()
    for name, given in task.spec.inputs.parameters.items():
        value = _parameter(task, name, given, parameters, done, names)
        if value is not None:
            resolved.inputs.parameter_values[name].CopyFrom(value)
    for name, spec in task.component.input_definitions.parameters.items():
        if name in resolved.inputs.parameter_values:
            _check_type(name, spec, resolved.inputs.parameter_values[name])
        elif not spec.is_optional and not spec.HasField("default_value"):
            raise ValueError(f"input {name}: expected a value or a default, found neither")
    for name, given in task.spec.inputs.artifacts.items():
        made = given.task_output_artifact
        artifact = done[made.producer_task].artifacts[made.output_artifact_key]
        resolved.inputs.artifacts[name].artifacts.add().CopyFrom(artifact)
    _provision(task, resolved.outputs, task_root, pod)
    return resolved


def with_defaults(task: Task, given: Any) -> Any:
    """Fills parameters that have no value with the component's defaults."""
    filled = copy.deepcopy(given)
    for name, spec in task.component.input_definitions.parameters.items():
        if spec.HasField("default_value") and name not in filled.inputs.parameter_values:
            filled.inputs.parameter_values[name].CopyFrom(spec.default_value)
    return filled


def imported(task: Task, parameters: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    """Returns the artifact of an importer, a `RuntimeArtifact` with URI, type and metadata.

    Raises:
        ValueError: If its input has no value.
    """
    importer = task.executor.importer
    uri = _import_uri(task, importer.artifact_uri, parameters, names)
    return pb.RuntimeArtifact(uri=uri, type=importer.type_schema, metadata=importer.metadata)


def _import_uri(task: Task, source: Any, parameters: Mapping[str, Any], names: Mapping[str, str]) -> str:
    if source.WhichOneof("value") == "constant":
        return source.constant.string_value
    given = task.spec.inputs.parameters.get(source.runtime_parameter)
    value = _parameter(task, source.runtime_parameter, given, parameters, {}, names) if given else None
    if value is None or not value.string_value:
        raise ValueError(f"input {source.runtime_parameter}: expected the URI to import, found none")
    return value.string_value


def _parameter(
    task: Task,
    name: str,
    given: Any,
    parameters: Mapping[str, Any],
    done: Mapping[str, Outputs],
    names: Mapping[str, str],
) -> Any:
    """Returns the value of an input; None if it is optional and has none."""
    kind = given.WhichOneof("kind")
    if kind == "runtime_value":
        constant = given.runtime_value.constant
        placeholder = constant.string_value
        return struct_pb2.Value(string_value=names[placeholder]) if placeholder in names else constant
    if kind == "task_output_parameter":
        made = given.task_output_parameter
        return done[made.producer_task].parameters[made.output_parameter_key]
    value = parameters.get(given.component_input_parameter)
    if value is None and not task.component.input_definitions.parameters[name].is_optional:
        raise ValueError(
            f"input {name}: expected a value of the parameter {given.component_input_parameter}, found none"
        )
    return value


def _check_type(name: str, spec: Any, value: Any) -> None:
    """Checks the type of a value; a value for a STRING input is formatted as text."""
    kind, found = type_name(spec), value.WhichOneof("kind")
    if kind == "STRING" and found != "string_value":
        value.string_value = text_of(value)
    elif found != _KINDS[kind]:
        raise ValueError(f"input {name}: expected {kind}, received {text_of(value)!r}")


def _provision(task: Task, outputs: Any, task_root: str, pod: pathlib.Path) -> None:
    for name, spec in task.component.output_definitions.artifacts.items():
        artifact = outputs.artifacts[name].artifacts.add(name=name, uri=f"{task_root}/{name}")
        artifact.type.CopyFrom(spec.artifact_type)
        if spec.HasField("metadata"):
            artifact.metadata.CopyFrom(spec.metadata)
    for name in task.component.output_definitions.parameters:
        outputs.parameters[name].output_file = str(pod / "tmp" / "kfp" / "outputs" / name)
    folder = local_path(pod, task_root)
    assert folder is not None
    outputs.output_file = str(folder / "output_metadata.json")
