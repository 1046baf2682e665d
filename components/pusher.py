"""Pushes a blessed model so that TensorFlow Serving never sees a partial version."""

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterable
from typing import Any

from tfx.components.pusher import executor
from tfx.dsl.io import fileio
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, proto_utils

from framecast.clips import filesystem
from framecast.components.artifact_properties import FIGURES
from framecast.evaluation.metrics.registry import TASKS
from framecast.serving import versions
from framecast.serving.releases import releases, version_folder

DIRECTORY = "directory"  # Execution property: replaces the push destination.

_POD = "KFP_POD_NAME"  # On Kubeflow Pipelines, the pod's name identifies the run.
_INCOMPLETE = ".incomplete"
_NUMBERED = re.compile(r"\.?(\d+)(\.\w+)?")


class PusherExecutor(executor.Executor):
    """Copies a blessed model to a temporary folder, checks its digest, and renames it to a new highest version.

    TFX's executor copies into the live folder, names versions by the second, and reports an existing version as pushed.
    A model that is already serving is not pushed again. A model that was withdrawn is pushed as a canary at most,
    because a run must not undo a withdrawal.
    """

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict[str, Any]) -> None:
        """Pushes, or marks the output as not pushed, with the property `reason`."""
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
        fileio.makedirs(pushed.uri)
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            pushed.set_string_custom_property("reason", "rejected")
            return
        base = exec_properties.get(DIRECTORY) or _destination(exec_properties)
        model = self.GetModelPath(input_dict)
        settings = json.loads(exec_properties.get(standard_component_specs.CUSTOM_CONFIG_KEY) or "null") or {}
        request = releases.PushRecord(
            digest=versions.digest(model),
            by=f"run {self._context.pipeline_run_id or os.environ.get(_POD, '')}",
            label=settings.get("release", version_folder.STABLE),
            figures=_figures(input_dict, settings.get("task", "")),
        )
        if filesystem.is_remote(base):
            record = _push_remote(model, base, request)
        else:
            os.makedirs(base, exist_ok=True)
            record = push(model, base, request)
        if record["action"] == "unchanged":
            self._MarkNotPushed(pushed)
            pushed.set_string_custom_property("reason", "unchanged")
            pushed.set_string_custom_property("pushed_version", str(record["version"]))
            return
        io_utils.copy_dir(model, pushed.uri)
        version = record["version"]
        self._MarkPushed(pushed, pushed_destination=versions.path(base, version), pushed_version=str(version))
        pushed.set_string_custom_property("remark", _remark(base, record))


def _destination(exec_properties: dict[str, Any]) -> str:
    destination = proto_utils.json_to_proto(
        exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], pusher_pb2.PushDestination()
    )
    return destination.filesystem.base_directory


def push(model: str, base: str, request: releases.PushRecord) -> dict[str, Any]:
    """Copies `model` to the next version under `base`, a local folder, and releases it.

    Returns:
        The record of `releases.publish`; `action` is `unchanged` if `version` already serves this model.

    Raises:
        OSError: If the copy differs from the model; nothing is published then.
    """
    with releases.exclusive(base):
        releases.finish(base, releases.FixedWait(logging.getLogger(__name__).info))
        if (serving := _same(base, request.digest)) is not None:
            releases.refresh(base)
            return {"action": "unchanged", "version": serving}
        used = [str(record["version"]) for record in version_folder.read_release_log(base)]
        staged = _stage(model, base, request.digest, used)
        return releases.publish(base, staged, request)


def _push_remote(model: str, base: str, request: releases.PushRecord) -> dict[str, Any]:
    """Copies `model` to an object store, without a release, because servers there load the newest version."""
    if (serving := _same(base, request.digest)) is not None:
        return {"action": "unchanged", "version": serving}
    return {"action": "push", "version": _upload(model, base), "labels": {}, "note": ""}


def _upload(model: str, base: str) -> int:
    """Copies `model` to an object store; returns the version.

    Object stores cannot rename, so the file that completes a version is copied last.

    Raises:
        OSError: If a file cannot be written, or differs when it is read back.
    """
    stored = set(filesystem.list_below(base))
    numbers = {name.partition("/")[0] for name in stored}
    killed = {number for number in numbers if number.isdigit() and f"{number}/{versions.MODEL}" not in stored}
    filesystem.remove(os.path.join(base, name) for name in sorted(stored) if name.partition("/")[0] in killed)
    version = _next_version(numbers)
    target = versions.path(base, version)
    for name in sorted(filesystem.list_below(model), key=lambda name: (name == versions.MODEL, name)):
        source, copy = os.path.join(model, name), os.path.join(target, name)
        filesystem.copy(source, copy)
        if filesystem.sha256(copy) != filesystem.sha256(source):
            filesystem.remove([copy])
            raise OSError(f"{copy}: expected the bytes of {source}, received others")
    return version


def _same(base: str, digest: str) -> int | None:
    """Returns the newest version that servers see, if it is this model."""
    newest = versions.newest(base)
    return newest if newest is not None and versions.digest(versions.path(base, newest)) == digest else None


def _stage(model: str, base: str, digest: str, used: Iterable[str]) -> int:
    """Copies `model` to a folder that servers ignore, and returns its version number."""
    for name in os.listdir(base):
        if name.startswith(".") and name.endswith(_INCOMPLETE):  # Left by a killed push.
            shutil.rmtree(os.path.join(base, name))
    version = _next_version([*os.listdir(base), *used])
    sibling = _sibling(base, version)
    io_utils.copy_dir(model, sibling)
    copied = versions.digest(sibling)
    if copied != digest:
        shutil.rmtree(sibling)
        raise OSError(f"pushing {model} to {base}: expected digest {digest} of the copy, received {copied}")
    return version


def _next_version(names: Iterable[str]) -> int:
    """Returns a number above all complete, withdrawn and deleted versions, and at least the time in seconds."""
    taken = [int(match[1]) for name in names if (match := _NUMBERED.fullmatch(name))]
    return max(int(time.time()), max(taken, default=0) + 1)


def _sibling(base: str, version: int) -> str:
    return os.path.join(base, f".{version}{_INCOMPLETE}")


def _figures(input_dict: dict, task: str) -> dict[str, float | None]:
    """Returns the main metrics of a task; empty without a blessing of our Evaluator."""
    blessings = input_dict.get(standard_component_specs.MODEL_BLESSING_KEY)
    if not blessings or not (text := blessings[0].get_string_custom_property(FIGURES)):
        return {}
    figures = json.loads(text)
    return {name: figures[name] for name in (TASKS[task].headline if task in TASKS else ()) if name in figures}


def _remark(base: str, record: dict[str, Any]) -> str:
    """Returns remarks about a push for the terminal and the report; empty if there are none."""
    remarks = [record["note"]] if record["note"] else []
    if record["labels"].get(version_folder.CANARY) == record["version"]:
        remarks.insert(0, f"a canary until framecast models promote {base}")
    return "; ".join(remarks)
