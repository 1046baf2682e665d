"""Compiles the pipeline to a Kubeflow Pipelines (KFP) specification: `framecast kubeflow compile`.

TFX's compiler targets Google's managed KFP. This module adds to its output what open-source KFP and a cluster need:
parameter defaults, caching per task, resources, retries and the platform document.
"""

import hashlib
import pathlib
import re
from typing import Any

import yaml

from framecast.clips import spans
from framecast.clips.files import write_whole
from framecast.pipeline import quiet
from framecast.pipeline.config.config import Config, ConfigError
from framecast.pipeline.config.kubeflow import INPUT_FILES, TaskSpec, quantity
from framecast.pipeline.kubeflow.entrypoint import FOLDERS

ENTRY = ("python", "-m", "framecast.pipeline.kubeflow.entrypoint")

_SCHEMES = ("gs://", "s3://", "minio://")
_BEAM_COMPONENTS = ("ClipExampleGen", "StatisticsGen", "Transform", "Evaluator")
_GIGABYTE = 1e9
_DESCRIPTIONS = {
    "train_data": "Glob pattern of the TFRecords to learn from",
    "eval_data": "Glob pattern of the TFRecords that only the Evaluator sees",
    "span": "Number of the newest span; -1 for the newest that is whole",
    "train_steps": "Training steps",
    "push_directory": "Folder of versions that TensorFlow Serving watches",
}


def compile_pipeline(config: Config, name: str, image: str, root: str) -> list[dict[str, Any]]:
    """Compiles the pipeline of a configuration.

    Args:
        config: The configuration.
        name: Pipeline name; letters, digits and hyphens.
        image: Container image with framecast and the builder that the configuration names.
        root: URI of the artifacts: `gs://`, `s3://` or `minio://`.

    Returns:
        The pipeline specification and, if a task needs Kubernetes settings, the platform specification: one YAML
        document each.

    Raises:
        ConfigError: If the pipeline cannot run on a cluster; the message names the key.
    """
    _check(config, root)
    with quiet.heavy_imports():
        spec, defaults = _compile(config, name, image)
    spec["defaultPipelineRoot"] = root
    for parameter, definition in spec["root"]["inputDefinitions"]["parameters"].items():
        definition.update(defaultValue=defaults[parameter], isOptional=True, description=_DESCRIPTIONS[parameter])
    executors = {}
    for task_name, task in spec["root"]["dag"]["tasks"].items():
        given = config.kubeflow.task(task_name)
        label = spec["components"][task["componentRef"]["name"]]["executorLabel"]
        container = spec["deploymentSpec"]["executors"][label]["container"]
        # KFP does not run lifecycle hooks; InputFiles does their work.
        container.pop("lifecycle", None)
        _set_resources(container, given)
        _fix_producer_names(task, spec["root"]["dag"]["tasks"])
        if task_name in _never_cached(config):
            task["cachingOptions"] = {}
        if given.retries:
            task["retryPolicy"] = {
                "maxRetryCount": given.retries,
                "backoffDuration": "30s",
                "backoffFactor": 2.0,
                "backoffMaxDuration": "3600s",
            }
        if settings := _platform(given):
            executors[label] = settings
    if not executors:
        return [spec]
    return [spec, {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}]


def write(documents: list[dict[str, Any]], path: str) -> None:
    """Writes the documents as one YAML file, which replaces an existing one."""
    write_whole(path, yaml.safe_dump_all(documents, sort_keys=True))


def pipeline_name(path: str) -> str:
    """Derives the pipeline name from the name of the configuration file, such as `framecast-radar`.

    A name with other characters than KFP's gets a digest, because runs of equal pipeline names share a cache.
    """
    stem = pathlib.Path(path).stem
    plain = re.sub("[^a-z0-9]+", "-", stem.lower()).strip("-")
    digest = [] if plain == stem else [hashlib.sha256(stem.encode()).hexdigest()[:6]]
    return "-".join(["framecast", *filter(None, [plain]), *digest])


def check_name(name: str) -> None:
    """Checks a pipeline name.

    Raises:
        ConfigError: If KFP rejects it.
    """
    if not re.fullmatch("[a-z0-9]([a-z0-9-]{0,126}[a-z0-9])?", name):
        raise ConfigError(f"--name: expected lower-case letters, digits and hyphens, received {name!r}")


def check_image(image: str) -> None:
    """Checks an image reference.

    Raises:
        ConfigError: If it is empty or has neither a tag nor a digest, because the image behind it may change unnoticed.
    """
    found = re.fullmatch(r"[^\s:@]+(?::[0-9]+/[^\s:@]+)?(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?", image)
    if found is None or not (found[1] or found[2]):
        raise ConfigError(f"--image: expected an image with a tag or a digest, such as framecast:1, received {image!r}")


def _check(config: Config, root: str) -> None:
    if not root.startswith(_SCHEMES):
        raise ConfigError(f"--pipeline-root: expected {', '.join(_SCHEMES)} and a bucket, received {root}")
    state = config.kubeflow.state
    if state is None:
        raise ConfigError(
            "kubeflow.state: expected a folder on a volume, because the Trainer's checkpoints must outlive its pods; "
            "received none"
        )
    stateful = {"Trainer": True, "Tuner": config.tune is not None, "ValidationGate": _has_spans(config)}
    _check_volume(config, "kubeflow.state", state, tuple(name for name, used in stateful.items() if used))
    _check_engine(config, root)
    initial = config.train.init_from
    if initial is not None and "://" not in initial:
        _check_volume(config, "train.init_from", initial, ("Trainer", *(["Tuner"] if config.tune else [])))
    if "://" not in config.push.directory:
        _check_volume(config, "push.directory", config.push.directory, ("ServingModel", "Pusher"))
    if config.infer is not None:
        for key, path in (("push.directory", config.push.directory), ("infer.to", config.infer.to)):
            _check_volume(config, key, path, ("BulkInference",))


def _check_engine(config: Config, root: str) -> None:
    """Checks that the Beam workers can read the artifacts, which the launcher keeps in folders of the task."""
    if config.beam.engine == "dataflow":
        raise ConfigError(
            "beam.engine: expected local, flink or spark, received dataflow: its workers cannot mount the volume "
            "that holds the artifacts"
        )
    if config.beam.engine != "local":
        folder = f"/{FOLDERS[root.partition('://')[0] + '://']}"
        _check_volume(config, f"beam.engine {config.beam.engine}: --pipeline-root", folder, _BEAM_COMPONENTS)


def _check_volume(config: Config, key: str, path: str, components: tuple[str, ...]) -> None:
    for component in components:
        volumes = config.kubeflow.task(component).volumes
        if not any(volume.contains(path) for volume in volumes):
            mounted = ", ".join(volume.path for volume in volumes) or "none"
            raise ConfigError(
                f"{key}: expected a folder on a volume of {component} (kubeflow.default.volumes or "
                f"kubeflow.components.{component}.volumes: {mounted}), received {path}"
            )


def _compile(config: Config, name: str, image: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns TFX's specification, and the default of each parameter."""
    try:
        from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as tfx_runner
    except ImportError as error:
        raise ConfigError(
            f"framecast kubeflow compile: expected framecast[kubeflow] to be installed: {error}"
        ) from error

    from framecast.pipeline.dag import dag
    from framecast.pipeline.dag.runtime_parameters import runtime_parameters

    assert config.kubeflow.state is not None
    pipeline = dag.create_pipeline(
        config,
        inputs=None,
        name=name,
        root="",
        workdir=config.kubeflow.state,
        beam_flags=config.beam.beam_flags(),
    )
    settings = tfx_runner.KubeflowV2DagRunnerConfig(
        default_image=image, default_commands=list(ENTRY), use_pipeline_spec_2_1=True
    )
    job = tfx_runner.KubeflowV2DagRunner(config=settings).run(pipeline, write_out=False)
    defaults = {key: parameter.default for key, parameter in runtime_parameters(config).items()}
    return job["pipelineSpec"], defaults


def _never_cached(config: Config) -> set[str]:
    """Returns the tasks that read more than their inputs: files, the serving model, the statistics of earlier spans."""
    return {INPUT_FILES, "ServingModel", "BulkInference"} | ({"ValidationGate"} if _has_spans(config) else set())


def _has_spans(config: Config) -> bool:
    return spans.SPAN in config.data.train


def _fix_producer_names(task: dict[str, Any], tasks: dict[str, Any]) -> None:
    """Removes `_task`, which TFX appends to the name of a parameter's producer, because KFP finds no such task."""
    for parameter in task.get("inputs", {}).get("parameters", {}).values():
        output = parameter.get("taskOutputParameter")
        if output is not None and output["producerTask"] not in tasks:
            output["producerTask"] = output["producerTask"].removesuffix("_task")


def _set_resources(container: dict[str, Any], given: TaskSpec) -> None:
    """Sets resources and environment. Older KFP releases read numbers, newer ones text, so both are written."""
    resources: dict[str, Any] = {}
    for name, text, unit in (
        ("cpuRequest", given.cpu, 1),
        ("cpuLimit", given.cpu_limit, 1),
        ("memoryRequest", given.memory, _GIGABYTE),
        ("memoryLimit", given.memory_limit, _GIGABYTE),
    ):
        if text is not None:
            resources[name] = quantity(text) / unit
            resources[f"resource{name[0].upper()}{name[1:]}"] = text
    if given.gpus:
        resources["accelerator"] = {
            "type": given.accelerator,
            # Protobuf's JSON writes 64-bit integers as strings.
            "count": str(given.gpus),
            "resourceType": given.accelerator,
            "resourceCount": str(given.gpus),
        }
    if resources:
        container["resources"] = resources
    if given.env:
        container["env"] = [{"name": name, "value": value} for name, value in given.env.items()]


def _platform(given: TaskSpec) -> dict[str, Any]:
    """Returns the `KubernetesExecutorConfig` of a task, in fields that every KFP 2 release reads."""
    found = {
        "nodeSelector": {"labels": dict(given.node_selector)} if given.node_selector else None,
        "tolerations": [
            {
                "key": toleration.key,
                "operator": toleration.operator,
                "value": toleration.value,
                "effect": toleration.effect,
                "tolerationSeconds": toleration.toleration_seconds,
            }
            for toleration in given.tolerations
        ],
        "pvcMount": [{"constant": volume.claim, "mountPath": volume.path} for volume in given.volumes],
        "secretAsEnv": [
            {
                "secretName": secret.name,
                "keyToEnv": [{"secretKey": key, "envVar": variable} for variable, key in secret.env.items()],
            }
            for secret in given.secrets
        ],
    }
    return {key: _without_none(value) for key, value in found.items() if value}


def _without_none(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_none(part) for part in value]
    if isinstance(value, dict):
        return {key: part for key, part in value.items() if part is not None}
    return value
