"""Computes KFP's cache key of a task: a digest of its inputs, output types, image and command.

The key equals that of `backend/src/v2/cacheutils/cache.go` and `backend/src/v2/driver/cache.go` in
github.com/kubeflow/pipelines, which digest JSON as Go's encoder writes it.
"""

import decimal
import hashlib
import json
from typing import Any

from google.protobuf import json_format

from framecast.pipeline.kubeflow.local.spec import Task, type_name

# Go's encoder escapes these for HTML and JavaScript.
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def fingerprint(task: Task, executor_input: Any) -> str:
    """Returns the cache key of a task, 64 hexadecimal digits.

    Input artifacts enter by name, which is the unique number that ML Metadata gave them, not by content or URI.
    Environment and resources do not enter.

    Args:
        task: The task, with a container.
        executor_input: Its resolved inputs and its outputs (`ExecutorInput`).
    """
    inputs, outputs, container = executor_input.inputs, executor_input.outputs, task.executor.container
    types = task.component.output_definitions.parameters
    return digest(
        {
            "inputArtifactNames": {
                name: {"artifactNames": [artifact.name for artifact in given.artifacts]}
                for name, given in inputs.artifacts.items()
            },
            "inputParameterValues": {
                name: json_format.MessageToDict(value) for name, value in inputs.parameter_values.items()
            },
            "outputArtifactsSpec": {name: _without_uri(made.artifacts[0]) for name, made in outputs.artifacts.items()},
            "outputParametersSpec": {name: type_name(types[name]) for name in outputs.parameters},
            "containerSpec": {
                "image": container.image,
                "cmdArgs": [*container.command, *container.args],
                "pvcNames": task.claims,
            },
        }
    )


def digest(key: dict[str, Any]) -> str:
    """Returns the SHA-256 of a `CacheKey` as JSON, without empty values at the two upper levels."""
    key["containerSpec"] = {name: value for name, value in key["containerSpec"].items() if value}
    filled = {name: value for name, value in key.items() if value or name == "containerSpec"}
    return hashlib.sha256(_go_json(filled).encode()).hexdigest()


def _without_uri(artifact: Any) -> dict[str, Any]:
    found = json_format.MessageToDict(artifact)
    return {name: found[name] for name in ("name", "type", "metadata") if name in found}


def _go_json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_go_json(name)}:{_go_json(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_go_json, value)) + "]"
    if isinstance(value, str):
        return "".join(_ESCAPED.get(letter, letter) for letter in json.dumps(value, ensure_ascii=False))
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return number(float(value))


def number(value: float) -> str:
    """Formats a number as Go's JSON encoder does: no exponent between 1e-6 and 1e21."""
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        text = format(decimal.Decimal(repr(value)), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return repr(value).replace("e-0", "e-")
