"""Reads a compiled KFP v2 pipeline for `framecast kubeflow run-local`, and rejects unsupported features.

The meaning of a spec follows KFP's backend (github.com/kubeflow/pipelines, `backend/src/v2`, 2026-08): what its API
server, driver or launcher rejects is rejected here too.
"""

import dataclasses
import graphlib
import json
import re
from collections.abc import Iterator
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from framecast.pipeline.config.config import ConfigError

SCHEMA_VERSION = "2.1.0"
DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"
PLACEHOLDER = re.compile(r"\{\{\$([^{}]*)\}\}")

_EXECUTED = re.compile(
    r"|\.inputs\.parameters\['[^']+'\]|\.(inputs|outputs)\.artifacts\['[^']+'\]\.(uri|path)"
    r"|\.outputs\.parameters\['[^']+'\]\.output_file"
)
_KUBERNETES_OPERATIONS = ("argostub/createpvc", "argostub/deletepvc")
_ORDINARY_STRATEGIES = ("TRIGGER_STRATEGY_UNSPECIFIED", "ALL_UPSTREAM_TASKS_SUCCEEDED")
_CONTAINER_TYPES = ("TASK_FINAL_STATUS", "TASK_CONFIG")


@dataclasses.dataclass(frozen=True)
class Task:
    """A task of the pipeline.

    Args:
        name: Task name.
        spec: Sources of its inputs (`PipelineTaskSpec`).
        component: Names and types of its inputs and outputs (`ComponentSpec`).
        executor: A container or an importer (`ExecutorSpec`).
        resources: Resources of its container, as in the spec.
        platform: Kubernetes settings from the platform document, such as volumes and node selectors.
    """

    name: str
    spec: Any
    component: Any
    executor: Any
    resources: dict[str, Any]
    platform: dict[str, Any]

    @property
    def claims(self) -> list[str]:
        """Returns the names of the persistent volume claims that it mounts, sorted and unique."""
        return sorted({mount["constant"] for mount in self.platform.get("pvcMount", ()) if "constant" in mount})


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A pipeline that `run-local` can run.

    Args:
        name: Pipeline name.
        root: Default parent URI of the artifacts.
        parameters: Runtime parameters (`ComponentInputsSpec.ParameterSpec`) by name.
        tasks: Tasks in the order of execution.
    """

    name: str
    root: str
    parameters: dict[str, Any]
    tasks: list[Task]


def read(path: str) -> Pipeline:
    """Reads a pipeline file: one YAML document, or two with the platform document.

    Raises:
        ConfigError: If the file is no pipeline, or uses unsupported features; names each of them.
        OSError: If the file cannot be read.
    """
    spec, platform = _documents(path)
    try:
        pipeline = json_format.ParseDict(spec, pb.PipelineSpec())
    except json_format.ParseError as error:
        raise ConfigError(f"{path}: expected a KFP v2 PipelineSpec: {error}") from error
    if pipeline.schema_version != SCHEMA_VERSION:
        raise ConfigError(f"{path}: schemaVersion: expected {SCHEMA_VERSION}, received {pipeline.schema_version!r}")
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    kubernetes = _kubernetes(path, platform)
    tasks = [
        _task(path, name, task, pipeline, executors, kubernetes)
        for name, task in sorted(pipeline.root.dag.tasks.items())
    ]
    refused = [*_refused_of_pipeline(pipeline), *(f"{task.name}: {why}" for task in tasks for why in _refused(task))]
    if refused:
        raise ConfigError("\n".join(f"{path}: {why}; run-local does not support this" for why in refused))
    _check_references(path, pipeline, tasks)
    return Pipeline(
        name=pipeline.pipeline_info.name,
        root=pipeline.default_pipeline_root or DEFAULT_ROOT,
        parameters=dict(pipeline.root.input_definitions.parameters),
        tasks=_ordered(path, tasks),
    )


def producers(task: Task) -> set[str]:
    """Returns the names of the tasks that must end before this task starts."""
    inputs = task.spec.inputs
    artifacts = {artifact.task_output_artifact.producer_task for artifact in inputs.artifacts.values()}
    parameters = {
        parameter.task_output_parameter.producer_task
        for parameter in inputs.parameters.values()
        if parameter.WhichOneof("kind") == "task_output_parameter"
    }
    return {*task.spec.dependent_tasks, *artifacts, *parameters}


def _documents(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        try:
            documents = [document for document in yaml.safe_load_all(file) if document is not None]
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: {error}") from error
    if not 1 <= len(documents) <= 2 or not all(isinstance(document, dict) for document in documents):
        raise ConfigError(
            f"{path}: expected a pipeline document and optionally a platform document, "
            f"received {len(documents)} documents"
        )
    return documents[0], documents[1] if len(documents) == 2 else {}


def _kubernetes(path: str, document: dict[str, Any]) -> dict[str, Any]:
    """Returns the Kubernetes settings of the platform document, by executor."""
    unknown = set(document) - {"platforms"} or set(document.get("platforms", {})) - {"kubernetes"}
    if unknown:
        raise ConfigError(f"{path}: platform document: expected only platforms.kubernetes, received {sorted(unknown)}")
    own = document.get("platforms", {}).get("kubernetes", {})
    extra = sorted(set(own) - {"deploymentSpec"})
    if extra:
        raise ConfigError(f"{path}: platforms.kubernetes: {', '.join(extra)}; run-local does not support this")
    return own.get("deploymentSpec", {}).get("executors", {})


def _task(
    path: str, name: str, task: Any, pipeline: Any, executors: dict[str, Any], kubernetes: dict[str, Any]
) -> Task:
    component = pipeline.components.get(task.component_ref.name)
    if component is None:
        raise ConfigError(f"{path}: {name}: expected a component {task.component_ref.name!r}, found none")
    label = component.executor_label
    raw = json.loads(json.dumps(executors.get(label, {})))
    # Older protos lack some resource fields; resources are not enforced here.
    resources = raw.get("container", {}).pop("resources", {})
    try:
        executor = json_format.ParseDict(raw, pb.PipelineDeploymentConfig.ExecutorSpec())
    except json_format.ParseError as error:
        raise ConfigError(f"{path}: deploymentSpec.executors.{label}: {error}") from error
    return Task(name, task, component, executor, resources, kubernetes.get(label, {}))


def _refused_of_pipeline(pipeline: Any) -> Iterator[str]:
    if pipeline.root.WhichOneof("implementation") != "dag":
        yield "root: a pipeline without a DAG"
    if pipeline.root.input_definitions.artifacts:
        yield f"root: input artifacts of the pipeline ({', '.join(sorted(pipeline.root.input_definitions.artifacts))})"
    outputs = pipeline.root.output_definitions
    if outputs.artifacts or outputs.parameters:
        yield f"root: outputs of the pipeline ({', '.join(sorted([*outputs.artifacts, *outputs.parameters]))})"


def _refused(task: Task) -> Iterator[str]:
    """Yields the unsupported features of a task."""
    yield from _refused_of_flow(task.spec)
    yield from _refused_of_inputs(task.spec.inputs)
    if task.component.WhichOneof("implementation") == "dag":
        yield "a nested DAG"
        return
    yield from _refused_of_types(task.component)
    kind = task.executor.WhichOneof("spec")
    if kind == "container":
        yield from _refused_of_container(task.executor.container)
    elif kind == "importer":
        yield from _refused_of_importer(task.executor.importer)
    else:
        yield f"a {kind} executor" if kind else "a task without an executor"


def _refused_of_flow(spec: Any) -> Iterator[str]:
    if spec.trigger_policy.condition:
        yield f"a condition ({spec.trigger_policy.condition})"
    strategy = spec.trigger_policy.DESCRIPTOR.enum_types_by_name["TriggerStrategy"].values_by_number[
        spec.trigger_policy.strategy
    ]
    if strategy.name not in _ORDINARY_STRATEGIES:
        yield f"an exit handler (trigger strategy {strategy.name})"
    iterator = spec.WhichOneof("iterator")
    if iterator:
        yield f"a loop ({iterator})"
    if getattr(spec.caching_options, "cache_key", ""):
        yield f"a custom cache key ({spec.caching_options.cache_key})"


def _refused_of_inputs(inputs: Any) -> Iterator[str]:
    for name, parameter in inputs.parameters.items():
        kind = parameter.WhichOneof("kind")
        if kind == "runtime_value":
            value = parameter.runtime_value.WhichOneof("value")
            if value != "constant":
                yield f"parameter {name}: a value of kind {value}"
            elif "{{$.workspace_path}}" in parameter.runtime_value.constant.string_value:
                yield f"parameter {name}: a workspace"
        elif kind not in ("component_input_parameter", "task_output_parameter"):
            yield f"parameter {name}: an input of kind {kind}"
        if parameter.parameter_expression_selector:
            yield f"parameter {name}: an expression ({parameter.parameter_expression_selector})"
    for name, artifact in inputs.artifacts.items():
        if artifact.WhichOneof("kind") != "task_output_artifact":
            yield f"artifact {name}: an input of kind {artifact.WhichOneof('kind')}"


def _refused_of_types(component: Any) -> Iterator[str]:
    for way, definitions in (("input", component.input_definitions), ("output", component.output_definitions)):
        for name, artifact in definitions.artifacts.items():
            if artifact.is_artifact_list:
                yield f"{way} {name}: a list of artifacts"
        for name, parameter in definitions.parameters.items():
            kind = type_name(parameter)
            if kind in _CONTAINER_TYPES or kind == "PARAMETER_TYPE_ENUM_UNSPECIFIED":
                yield f"{way} {name}: a parameter of type {kind}"


def _refused_of_container(container: Any) -> Iterator[str]:
    if container.image in _KUBERNETES_OPERATIONS:
        yield f"a Kubernetes operation ({container.image})"
    for text in [*container.command, *container.args]:
        if text.strip().startswith(('{"IfPresent":', '{"Concat":')):
            yield f"an argument composed at run time ({text.strip()})"
        for found in PLACEHOLDER.finditer(text):
            if not _EXECUTED.fullmatch(found[1]):
                yield f"the placeholder {found[0]}"
    if not container.command and not container.args:
        yield "a container without a command, which would run the image's"


def _refused_of_importer(importer: Any) -> Iterator[str]:
    kind = importer.artifact_uri.WhichOneof("value")
    if kind not in ("constant", "runtime_parameter"):
        yield f"an importer of kind {kind}"
    if importer.properties or importer.custom_properties:
        yield "an importer with properties, which KFP ignores; use metadata"
    if getattr(importer, "download_to_workspace", False):
        yield "an importer that downloads to a workspace"


def type_name(parameter: Any) -> str:
    """Returns the name of a parameter's type, such as `NUMBER_INTEGER`."""
    return pb.ParameterType.ParameterTypeEnum.Name(parameter.parameter_type)


def _check_references(path: str, pipeline: Any, tasks: list[Task]) -> None:
    """Checks that every input has a producer."""
    by_name = {task.name: task for task in tasks}
    for task in tasks:
        for producer in sorted(producers(task)):
            if producer not in by_name:
                raise ConfigError(f"{path}: {task.name}: depends on task {producer!r}, which does not exist")
        for name in task.component.input_definitions.artifacts:
            optional = task.component.input_definitions.artifacts[name].is_optional
            if name not in task.spec.inputs.artifacts and not optional:
                raise ConfigError(f"{path}: {task.name}: input {name}: expected an artifact of a task, received none")
        for name, artifact in task.spec.inputs.artifacts.items():
            made = artifact.task_output_artifact
            if made.output_artifact_key not in by_name[made.producer_task].component.output_definitions.artifacts:
                raise ConfigError(
                    f"{path}: {task.name}: input {name}: reads output {made.output_artifact_key!r} of "
                    f"{made.producer_task}, which does not exist"
                )
        for name, parameter in task.spec.inputs.parameters.items():
            _check_parameter(path, task.name, name, parameter, pipeline, by_name)


def _check_parameter(path: str, task: str, name: str, parameter: Any, pipeline: Any, by_name: dict[str, Task]) -> None:
    kind = parameter.WhichOneof("kind")
    if kind == "component_input_parameter":
        wanted, found = parameter.component_input_parameter, pipeline.root.input_definitions.parameters
        where = "the pipeline's"
    elif kind == "task_output_parameter":
        wanted = parameter.task_output_parameter.output_parameter_key
        where = parameter.task_output_parameter.producer_task
        found = by_name[where].component.output_definitions.parameters
    else:
        return
    if wanted not in found:
        raise ConfigError(f"{path}: {task}: input {name}: reads {where} parameter {wanted!r}, which does not exist")


def _ordered(path: str, tasks: list[Task]) -> list[Task]:
    """Sorts the tasks topologically, by name where the order is free."""
    by_name = {task.name: task for task in tasks}
    sorter = graphlib.TopologicalSorter({task.name: producers(task) for task in tasks})
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        raise ConfigError(f"{path}: tasks form a cycle: {' <- '.join(error.args[1])}") from error
    ordered, ready = [], sorted(sorter.get_ready())
    while ready:
        name = ready.pop(0)
        ordered.append(by_name[name])
        sorter.done(name)
        ready = sorted([*ready, *sorter.get_ready()])
    return ordered
