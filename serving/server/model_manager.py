"""Which models and versions are loaded, following what lies on disk and a configuration of TensorFlow Serving's form.

models = ServedModels(one_model("radar", "/models/radar"))
models.poll()
models.find(spec).predict(request)
"""

import ctypes
import gc
import logging
import os
import threading
import weakref
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2, model_pb2
from tensorflow_serving.config import model_server_config_pb2

from framecast.clips.filesystem import open_path
from framecast.serving.server.batching import BatchingParameters
from framecast.serving.server.servable import LoadedVersion, ServingError, code_of

_State = get_model_status_pb2.ModelVersionStatus

_log = logging.getLogger(__name__)


class LoadError(RuntimeError):
    """There is no version to start with, or it does not load."""


def one_model(name: str, base_path: str) -> model_server_config_pb2.ModelServerConfig:
    """Returns the configuration that serves the newest version under a folder."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(
        name=name,
        base_path=os.path.abspath(base_path) if "://" not in base_path else base_path,
        model_platform="tensorflow",
    )
    return config


def read_model_config(path: str) -> model_server_config_pb2.ModelServerConfig:
    """Reads what TensorFlow Serving takes as `--model_config_file`.

    Raises:
        ValueError: When the file is no text of a ModelServerConfig.
    """
    with open_path(path, "rb") as file:
        text = file.read().decode()
    try:
        return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise ValueError(f"{path}: expected the text of a ModelServerConfig, received {error}") from error


class ServedModels:
    """The models of a configuration, their versions and labels.

    Args:
        batching: How requests share runs of a model; each runs alone unless given.
        labels_of_unavailable: Whether a new label may be given to a version that is not loaded yet.
    """

    def __init__(self, batching: BatchingParameters | None = None, labels_of_unavailable: bool = False):
        self._batching = batching
        self._labels_of_unavailable = labels_of_unavailable
        self._models: dict[str, _Model] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._changing = threading.Lock()  # One poll or reload at a time; requests never wait for it.

    @property
    def names(self) -> list[str]:
        """The models of the configuration."""
        return sorted(self._models)

    def versions(self, name: str) -> tuple[int, ...]:
        """Returns the versions of a model that answer, newest first."""
        return tuple(sorted(self._models[name].loaded, reverse=True))

    def find(self, spec: model_pb2.ModelSpec) -> LoadedVersion:
        """Returns the version that a request asks for, which stays alive while the caller holds it.

        Raises:
            ServingError: When there is none.
        """
        if not spec.name:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        choice, version = spec.WhichOneof("version_choice"), spec.version.value
        if choice == "version_label":
            labels = self._labels.get(spec.name, {})
            if spec.version_label not in labels:
                raise ServingError(
                    grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}"
                )
            version = labels[spec.version_label]
        model = self._models.get(spec.name)
        loaded = model.loaded if model else {}
        if choice is None:
            version = max(loaded, default=None)
        if version not in loaded:
            wanted = f"Latest({spec.name})" if choice is None else f"Specific({spec.name}, {version})"
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}")
        return loaded[version]

    def states(self, name: str) -> dict[int, Any]:
        """Returns the status of every version of a model that was ever seen, by number."""
        model = self._models.get(name)
        return model.states() if model else {}

    def poll(self) -> None:
        """Looks at what lies on disk once: loads what has settled there, drops what is not wanted any more."""
        with self._changing:
            for model in self._models.values():
                try:
                    model.update(must_settle=True)
                except Exception:  # A failed look at one folder must not end the others'.
                    _log.exception("%s: could not be polled", model.base_path)

    def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Takes over a configuration, and loads the models that are new in it before it returns.

        Raises:
            ServingError: When the configuration is refused, or a new model does not load.
        """
        _check(config)
        with self._changing:
            configs = {own.name: own for own in config.model_config_list.config}
            # As in TensorFlow Serving, labels come first: nothing of a configuration with a wrong one is taken over.
            labels = {name: self._checked_labels(own) for name, own in configs.items()}
            models = {}
            for name, own in configs.items():
                models[name] = self._models.get(name) or _Model(name, self._batching)
                models[name].configure(own)
            new = [models[name] for name in configs if name not in self._models]
            dropped = [model for name, model in self._models.items() if name not in configs]
            self._models, self._labels = models, labels
            for model in dropped:
                model.close()
            for model in models.values():
                model.update(must_settle=model not in new)
            failed = [f"{model.name}: {model.explain()}" for model in new if not model.loaded]
        if failed:
            raise ServingError(
                grpc.StatusCode.UNKNOWN, f"{len(failed)} servable(s) did not become available: {{{', '.join(failed)}}}"
            )

    def close(self) -> None:
        """Drops every version."""
        with self._changing:
            for model in self._models.values():
                model.close()

    def _checked_labels(self, config: model_server_config_pb2.ModelConfig) -> dict[str, int]:
        model = self._models.get(config.name)
        known = self._labels.get(config.name, {})
        for label, version in config.version_labels.items():
            unused = known.get(label, version) == version
            if (self._labels_of_unavailable and unused) or (model and version in model.loaded):
                continue
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"Request to assign label to version {version} of model {config.name}, which is not currently "
                "available for inference",
            )
        return dict(config.version_labels)


class _Model:
    """The versions of one model: those on disk that its policy wants are loaded, never a moment without one."""

    def __init__(self, name: str, batching: BatchingParameters | None):
        self.name = name
        self.base_path = ""
        self.loaded: dict[int, LoadedVersion] = {}  # Replaced as a whole: requests read it while it changes.
        self._batching = batching
        self._policy: Any = None
        self._states: dict[int, Any] = {}
        self._states_lock = threading.Lock()
        self._seen: dict[int, tuple] = {}
        self._failed: dict[int, tuple] = {}

    def configure(self, config: model_server_config_pb2.ModelConfig) -> None:
        """Takes over base path and policy, which count from the next update."""
        self.base_path = config.base_path
        self._policy = config.model_version_policy

    def states(self) -> dict[int, Any]:
        """Returns the status of every version that was ever seen."""
        with self._states_lock:
            return dict(self._states)

    def explain(self) -> str:
        """Returns why nothing is loaded."""
        reasons = [f"version {number}: {status.status.error_message}" for number, status in self.states().items()]
        found = "; ".join(reasons) or "no folder named by a version number"
        return f"{self.base_path}: expected a version that loads, received {found}"

    def update(self, must_settle: bool) -> None:
        """Loads what is wanted and not loaded yet, then drops what is not wanted.

        Args:
            must_settle: Whether a version has to look the same in two updates before it is loaded, which one that is
                still being copied does not.
        """
        found = _versions_on_disk(self.base_path)
        if not found:
            return  # A folder that is gone for a moment takes nothing from service.
        wanted = self._wanted(found)
        for version in sorted(wanted - set(self.loaded)):
            files = _files(found[version])
            before, self._seen[version] = self._seen.get(version), files
            # A version that failed is tried again only when its files have changed since.
            if files != self._failed.get(version) and (files == before or not must_settle):
                self._load(version, found[version], files)
        if wanted & set(self.loaded):
            self._drop(set(self.loaded) - wanted)
        if any(status.state == _State.UNLOADING for status in self.states().values()):
            _give_back()

    def close(self) -> None:
        """Drops every version."""
        self._drop(set(self.loaded))
        _give_back()

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
            loaded = LoadedVersion(version, directory, self._batching)
        except Exception as error:  # Whatever is wrong with a version, the old one goes on serving.
            _log.exception("%s: version %d failed to load", self.name, version)
            self._failed[version] = files
            self._set_state(version, _State.END, error)
            return
        self._failed.pop(version, None)
        self._set_state(version, _State.AVAILABLE)
        self.loaded = {**self.loaded, version: loaded}
        _log.info("%s: version %d is serving", self.name, version)

    def _drop(self, versions: set[int]) -> None:
        """Takes versions from service; each ends when the last request that it answers does."""
        dropped = {version: self.loaded[version] for version in versions}
        self.loaded = {version: loaded for version, loaded in self.loaded.items() if version not in versions}
        for version, loaded in dropped.items():
            self._set_state(version, _State.UNLOADING)
            weakref.finalize(loaded, self._end, version)

    def _end(self, version: int) -> None:
        if version not in self.loaded:  # It may have come back meanwhile.
            self._set_state(version, _State.END)

    def _set_state(self, version: int, state: int, error: Exception | None = None) -> None:
        status = _State(version=version, state=state)
        status.status.error_code = code_of(error).value[0] if error is not None else 0
        if error is not None:
            status.status.error_message = str(error)
        with self._states_lock:
            self._states[version] = status


def _check(config: model_server_config_pb2.ModelServerConfig) -> None:
    def refuse(message: str) -> ServingError:
        return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)

    if config.WhichOneof("config") != "model_config_list":
        raise refuse(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported"
        )
    names = set()
    for own in config.model_config_list.config:
        if own.name in names:
            raise refuse(f"Illegal to list model {own.name} multiple times in config list")
        names.add(own.name)
    for own in config.model_config_list.config:
        if "://" not in own.base_path and not os.path.isabs(own.base_path):
            raise refuse(f"Expected model {own.name} to have an absolute path or URI; got base_path()={own.base_path}")
    for own in config.model_config_list.config:
        if own.model_platform != "tensorflow":
            received = own.model_platform or "none"
            raise refuse(f"model {own.name}: expected model_platform tensorflow, received {received}")


def _give_back() -> None:
    """Frees what dropped versions held, graphs in reference cycles most of all, and returns it to the system.

    Every thread of a busy server has an arena of its own, which glibc keeps: memory would grow with each swap.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _versions_on_disk(base_path: str) -> dict[int, str]:
    """Returns the folders named by a number, by that number."""
    if not tf.io.gfile.isdir(base_path):
        return {}
    names = [name.rstrip("/") for name in tf.io.gfile.listdir(base_path)]
    return {int(name): os.path.join(base_path, name) for name in names if name.isascii() and name.isdigit()}


def _files(directory: str) -> tuple[tuple[str, int, int], ...]:
    """Returns path, size and time of every file."""
    files = []
    for folder, _, names in tf.io.gfile.walk(directory):
        for path in (os.path.join(folder, name) for name in names):
            stat = tf.io.gfile.stat(path)
            files.append((path, stat.length, stat.mtime_nsec))
    return tuple(sorted(files))
