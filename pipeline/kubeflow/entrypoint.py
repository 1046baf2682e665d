"""Starts a compiled task: `python -m framecast.pipeline.kubeflow.entrypoint ...`, with TFX's arguments.

KFP's launcher downloads the inputs of a task to local paths and uploads its outputs from there, but passes object-store
URIs to the task. KFP's own components ask its SDK for the local path. TFX opens the URI, and supports neither
`minio://` nor, without packages that newer TensorFlow releases lack, `s3://`. Therefore this module passes local paths
to TFX, and restores the URIs in TFX's output metadata, because the launcher uploads only what has a URI there.
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
# Parent of those folders, if it is not `/`: set by `framecast kubeflow run-local`.
_ROOT = "FRAMECAST_LAUNCHER_ROOT"
_EXECUTOR = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
_INVOCATION = "--json_serialized_invocation_args"
_INPUTS = "--json_serialized_inputs_spec_args"
_LOGS = "executor-logs"  # Newer launchers add this output and store it themselves; TFX does not know its type.


def local_path(artifact: dict[str, Any], root: str = "/") -> str:
    """Returns the local path of an artifact.

    Args:
        artifact: A KFP RuntimeArtifact as JSON.
        root: Parent of the launcher's folders.
    """
    if custom := artifact.get("customPath"):
        return custom
    uri = artifact.get("uri", "")
    for scheme, folder in FOLDERS.items():
        if uri.startswith(scheme):
            return os.path.join(root, folder, uri.removeprefix(scheme))
    return uri


def add_types(invocation: dict[str, Any], inputs: dict[str, Any]) -> None:
    """Sets the types of the input artifacts in place, because KFP passes them without.

    Args:
        invocation: A KFP ExecutorInput as JSON.
        inputs: The ComponentInputsSpec that the task was compiled with, as JSON.
    """
    for name, specification in inputs.get("artifacts", {}).items():
        for artifact in invocation.get("inputs", {}).get("artifacts", {}).get(name, {}).get("artifacts", ()):
            artifact["type"] = specification["artifactType"]


def localise(invocation: dict[str, Any], root: str = "/") -> dict[str, str]:
    """Replaces the URIs in an ExecutorInput by local paths, in place.

    Args:
        invocation: A KFP ExecutorInput as JSON.
        root: Parent of the launcher's folders.

    Returns:
        URI by local path.
    """
    invocation.get("outputs", {}).get("artifacts", {}).pop(_LOGS, None)
    uris = {}
    for artifact in _artifacts(invocation, "inputs"):
        # TFX's Evaluator needs the name of the model; KFP names only some artifacts.
        artifact["name"] = artifact.get("name") or artifact.get("uri", "")
    for part in ("inputs", "outputs"):
        for artifact in _artifacts(invocation, part):
            path = local_path(artifact, root)
            uris[path] = artifact.get("uri", "")
            artifact["uri"] = path
    return uris


def restore(value: Any, uris: dict[str, str]) -> Any:
    """Replaces local paths, and paths below them, by their URIs in a JSON value."""
    if isinstance(value, dict):
        return {key: restore(part, uris) for key, part in value.items()}
    if isinstance(value, list):
        return [restore(part, uris) for part in value]
    if isinstance(value, str):
        for path, uri in uris.items():
            if value == path or value.startswith(f"{path}/"):
                return uri + value[len(path) :]
    return value


def main(arguments: list[str]) -> None:
    """Runs the executor of a task on local paths.

    Args:
        arguments: Arguments of TFX's `kubeflow_v2_run_executor`.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument(_INVOCATION, dest="invocation", required=True)
    parser.add_argument(_INPUTS, dest="inputs", required=True)
    known, others = parser.parse_known_args(arguments)
    invocation = json.loads(known.invocation)
    add_types(invocation, json.loads(known.inputs))
    uris = localise(invocation, os.environ.get(_ROOT) or "/")
    sys.argv = [_EXECUTOR, *others, _INVOCATION, json.dumps(invocation), _INPUTS, known.inputs]
    try:
        runpy.run_module(_EXECUTOR, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
    output = pathlib.Path(invocation["outputs"]["outputFile"])
    output.write_text(json.dumps(restore(json.loads(output.read_text()), uris)))


def _artifacts(invocation: dict[str, Any], part: str) -> Iterator[dict[str, Any]]:
    for found in invocation.get(part, {}).get("artifacts", {}).values():
        yield from found.get("artifacts", ())


if __name__ == "__main__":
    main(sys.argv[1:])
