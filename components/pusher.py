"""The executor of TFX's Pusher with a push that TensorFlow Serving can never see half done."""

import os
import time
from typing import Any

from tfx.components.pusher import executor
from tfx.dsl.io import fileio
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, proto_utils

from framecast.components import versions

_INCOMPLETE = ".incomplete"


class Executor(executor.Executor):
    """Copies a blessed model to a sibling, checks its digest, and renames it to a version above all others.

    TFX's own executor copies into the live folder, names versions by whole seconds, and reports an existing name as
    pushed. The model that is already serving is not pushed again.
    """

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict[str, Any]) -> None:
        """Pushes, or marks the output as not pushed with the property `reason`."""
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
        fileio.makedirs(pushed.uri)
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            pushed.set_string_custom_property("reason", "lost")
            return
        destination = proto_utils.json_to_proto(
            exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], pusher_pb2.PushDestination()
        )
        base = destination.filesystem.base_directory
        model = self.GetModelPath(input_dict)
        digest = versions.digest(model)
        serving = versions.newest(base)
        if serving is not None and versions.digest(versions.path(base, serving)) == digest:
            self._MarkNotPushed(pushed)
            pushed.set_string_custom_property("reason", "unchanged")
            pushed.set_string_custom_property("pushed_version", str(serving))
            return
        version = push(model, base, digest)
        io_utils.copy_dir(model, pushed.uri)
        self._MarkPushed(pushed, pushed_destination=versions.path(base, version), pushed_version=str(version))


def push(model: str, base: str, digest: str) -> int:
    """Copies `model` to the next version under `base` and returns its number.

    Raises:
        OSError: When the copy differs from the model, naming both; nothing is published then.
    """
    fileio.makedirs(base)
    for name in fileio.listdir(base):
        if name.startswith(".") and name.rstrip("/").endswith(_INCOMPLETE):  # Of a push that was killed.
            fileio.rmtree(os.path.join(base, name))
    # Above every number there is, complete or not, and at least the clock, so that versions grow even after a clean-up.
    taken = [int(name) for name in fileio.listdir(base) if name.isdigit()]
    version = max(int(time.time()), max(taken, default=0) + 1)
    sibling = os.path.join(base, f".{version}{_INCOMPLETE}")
    io_utils.copy_dir(model, sibling)
    copied = versions.digest(sibling)
    if copied != digest:
        fileio.rmtree(sibling)
        raise OSError(f"pushing {model} to {base}: expected digest {digest} of the copy, received {copied}")
    fileio.rename(sibling, versions.path(base, version))
    return version
