"""How a compiled task starts: `python -m framecast.pipeline.kubeflow.entrypoint ...`, the arguments being TFX's.

KFP's launcher downloads a task's inputs to local paths before it starts, and uploads its outputs from there when it
has ended, but tells the task the address in the object store. KFP's own components ask its SDK for the local path; TFX
opens the address, and knows neither `minio://` nor, without packages that newer TensorFlows lack, `s3://`. So TFX is
told the local paths, and the addresses are written back into what it puts out: without, the launcher uploads nothing.
"""

import argparse
import json
import os
import pathlib
import runpy
import sys
from collections.abc import Iterator
from typing import Any

# `localPathForURI` of the launcher, backend/src/v2/component/launcher_v2.go in kubeflow/pipelines.
FOLDERS = {"minio://": "minio", "s3://": "s3", "gs://": "gcs"}
# Where those folders are; only a launcher that is not KFP's has another place than the root.
_ROOT = "FRAMECAST_LAUNCHER_ROOT"
_EXECUTOR = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
_INVOCATION = "--json_serialized_invocation_args"
_INPUTS = "--json_serialized_inputs_spec_args"
_LOGS = "executor-logs"  # An output that newer launchers add and keep themselves; TFX would not know its type.


def local_path(artifact: dict[str, Any], root: str = "/") -> str:
    """Returns where the launcher keeps an artifact.

    Args:
        artifact: A RuntimeArtifact of KFP as JSON.
        root: Where the launcher's folders are.
    """
    if custom := artifact.get("customPath"):
        return custom
    uri = artifact.get("uri", "")
    for scheme, folder in FOLDERS.items():
        if uri.startswith(scheme):
            return os.path.join(root, folder, uri.removeprefix(scheme))
    return uri


def add_types(invocation: dict[str, Any], inputs: dict[str, Any]) -> None:
    """Gives input artifacts the types that the task was compiled with, in place: KFP passes them on without.

    Args:
        invocation: An ExecutorInput of KFP as JSON.
        inputs: The task's ComponentInputsSpec as JSON.
    """
    for name, specification in inputs.get("artifacts", {}).items():
        for artifact in invocation.get("inputs", {}).get("artifacts", {}).get(name, {}).get("artifacts", ()):
            artifact["type"] = specification["artifactType"]


def localise(invocation: dict[str, Any], root: str = "/") -> dict[str, str]:
    """Replaces the addresses in an ExecutorInput by local paths, in place.

    Args:
        invocation: An ExecutorInput of KFP as JSON.
        root: Where the launcher's folders are.

    Returns:
        Address by local path.
    """
    invocation.get("outputs", {}).get("artifacts", {}).pop(_LOGS, None)
    addresses = {}
    for artifact in _artifacts(invocation, "inputs"):
        # TFX's Evaluator looks up the model by a name, which KFP gives only to some artifacts.
        artifact["name"] = artifact.get("name") or artifact.get("uri", "")
    for part in ("inputs", "outputs"):
        for artifact in _artifacts(invocation, part):
            path = local_path(artifact, root)
            addresses[path] = artifact.get("uri", "")
            artifact["uri"] = path
    return addresses


def restore(value: Any, addresses: dict[str, str]) -> Any:
    """Returns a JSON value whose local paths, and what lies below them, are addresses again."""
    if isinstance(value, dict):
        return {key: restore(part, addresses) for key, part in value.items()}
    if isinstance(value, list):
        return [restore(part, addresses) for part in value]
    if isinstance(value, str):
        for path, address in addresses.items():
            if value == path or value.startswith(f"{path}/"):
                return address + value[len(path) :]
    return value


def main(arguments: list[str]) -> None:
    """Runs a task's executor on local paths.

    Args:
        arguments: Those of TFX's `kubeflow_v2_run_executor`.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument(_INVOCATION, dest="invocation", required=True)
    parser.add_argument(_INPUTS, dest="inputs", required=True)
    known, others = parser.parse_known_args(arguments)
    invocation = json.loads(known.invocation)
    add_types(invocation, json.loads(known.inputs))
    addresses = localise(invocation, os.environ.get(_ROOT) or "/")
    sys.argv = [_EXECUTOR, *others, _INVOCATION, json.dumps(invocation), _INPUTS, known.inputs]
    try:
        runpy.run_module(_EXECUTOR, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
    output = pathlib.Path(invocation["outputs"]["outputFile"])
    output.write_text(json.dumps(restore(json.loads(output.read_text()), addresses)))


def _artifacts(invocation: dict[str, Any], part: str) -> Iterator[dict[str, Any]]:
    for found in invocation.get(part, {}).get("artifacts", {}).values():
        yield from found.get("artifacts", ())


if __name__ == "__main__":
    main(sys.argv[1:])
