"""Loads and drops the versions of one model, following the folder of versions and the version policy.

model = ServedModel("radar", batching=None)
model.configure(config)
model.update(must_settle=False)
"""

import ctypes
import gc
import logging
import os
import threading
import weakref
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.config import model_server_config_pb2

from framecast.serving.server import errors
from framecast.serving.server.batching import BatchingParameters
from framecast.serving.server.servable import Servable

_State = get_model_status_pb2.ModelVersionStatus

_log = logging.getLogger(__name__)


class ServedModel:
    """The loaded versions of one model. A new version is loaded before the old one is dropped.

    Args:
        name: Name of the model.
        batching: How requests are batched; None for no batching.

    Attributes:
        base_path: Folder of versions.
        loaded: The loaded versions by number.
    """

    def __init__(self, name: str, batching: BatchingParameters | None = None):
        self.name = name
        self.base_path = ""
        self.loaded: dict[int, Servable] = {}  # Replaced as a whole, because requests read it concurrently.
        self._batching = batching
        self._policy: Any = None
        self._states: dict[int, Any] = {}
        self._states_lock = threading.Lock()
        self._seen: dict[int, tuple] = {}
        self._failed: dict[int, tuple] = {}

    def configure(self, config: model_server_config_pb2.ModelConfig) -> None:
        """Sets base path and version policy, which apply from the next update."""
        self.base_path = config.base_path
        self._policy = config.model_version_policy

    def states(self) -> dict[int, Any]:
        """Returns the status of every version seen so far, by number."""
        with self._states_lock:
            return dict(self._states)

    def explain(self) -> str:
        """Returns why no version is loaded."""
        reasons = [f"version {number}: {status.status.error_message}" for number, status in self.states().items()]
        found = "; ".join(reasons) or "no folder named by a version number"
        return f"{self.base_path}: expected a version that loads, received {found}"

    def update(self, must_settle: bool) -> None:
        """Loads the versions that the policy wants, then drops the others.

        Args:
            must_settle: Whether to load a version only if its files are the same in two updates, so that a version is
                not loaded while it is copied.
        """
        found = _versions_on_disk(self.base_path)
        if not found:
            return  # A folder that is missing for a moment must not end the service.
        wanted = self._wanted(found)
        for version in sorted(wanted - set(self.loaded)):
            files = _files(found[version])
            before, self._seen[version] = self._seen.get(version), files
            # A version that failed is loaded again only after its files have changed.
            if files != self._failed.get(version) and (files == before or not must_settle):
                self._load(version, found[version], files)
        if wanted & set(self.loaded):
            self._drop(set(self.loaded) - wanted)
        if any(status.state == _State.UNLOADING for status in self.states().values()):
            _release_memory()

    def close(self) -> None:
        """Drops every version."""
        self._drop(set(self.loaded))
        _release_memory()

    def _wanted(self, found: dict[int, str]) -> set[int]:
        choice = self._policy.WhichOneof("policy_choice")
        if choice == "all":
            return set(found)
        if choice == "specific":
            return set(self._policy.specific.versions) & set(found)
        return set(sorted(found)[-(self._policy.latest.num_versions or 1) :])

    def _load(self, version: int, directory: str, files: tuple) -> None:
        self._set_state(version, _State.LOADING)
        try:
            servable = Servable(version, directory, self._batching)
        except Exception as error:  # A bad version must not end the service of the old one.
            _log.exception("%s: version %d failed to load", self.name, version)
            self._failed[version] = files
            self._set_state(version, _State.END, error)
            return
        self._failed.pop(version, None)
        self._set_state(version, _State.AVAILABLE)
        self.loaded = {**self.loaded, version: servable}
        _log.info("%s: version %d is serving", self.name, version)

    def _drop(self, versions: set[int]) -> None:
        """Stops serving versions; each is unloaded when its last request ends."""
        dropped = {version: self.loaded[version] for version in versions}
        self.loaded = {version: servable for version, servable in self.loaded.items() if version not in versions}
        for version, servable in dropped.items():
            self._set_state(version, _State.UNLOADING)
            weakref.finalize(servable, self._end, version)

    def _end(self, version: int) -> None:
        if version not in self.loaded:  # It may have been loaded again.
            self._set_state(version, _State.END)

    def _set_state(self, version: int, state: int, error: Exception | None = None) -> None:
        status = _State(version=version, state=state)
        status.status.error_code = errors.status_code(error).value[0] if error is not None else 0
        if error is not None:
            status.status.error_message = str(error)
        with self._states_lock:
            self._states[version] = status


def _release_memory() -> None:
    """Frees the memory of dropped versions and returns it to the system.

    Graphs are in reference cycles, so they need the garbage collector. glibc keeps the freed memory of each thread, so
    a busy server would grow with every new version.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _versions_on_disk(base_path: str) -> dict[int, str]:
    """Returns the folders whose names are numbers, by number."""
    if not tf.io.gfile.isdir(base_path):
        return {}
    names = [name.rstrip("/") for name in tf.io.gfile.listdir(base_path)]
    return {int(name): os.path.join(base_path, name) for name in names if name.isascii() and name.isdigit()}


def _files(directory: str) -> tuple[tuple[str, int, int], ...]:
    """Returns path, size in bytes and modification time in nanoseconds of every file."""
    files = []
    for folder, _, names in tf.io.gfile.walk(directory):
        for path in (os.path.join(folder, name) for name in names):
            stat = tf.io.gfile.stat(path)
            files.append((path, stat.length, stat.mtime_nsec))
    return tuple(sorted(files))
