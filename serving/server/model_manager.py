"""Manages the loaded models: applies a ModelServerConfig, polls the folders and finds the version of a request.

manager = ModelManager()
manager.reload(one_model("radar", "/models/radar"))
manager.find(spec).predict(request)
"""

import logging
import threading
from typing import Any

from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from framecast.serving.server import errors
from framecast.serving.server.batching import BatchingParameters
from framecast.serving.server.model_config import check_model_config
from framecast.serving.server.servable import Servable
from framecast.serving.server.served_model import ServedModel

_log = logging.getLogger(__name__)


class ModelManager:
    """Holds the models of a configuration with their versions and labels.

    Args:
        batching: How requests are batched; None for no batching.
        labels_of_unavailable: Whether a new label may be given to a version that is not loaded.
    """

    def __init__(self, batching: BatchingParameters | None = None, labels_of_unavailable: bool = False):
        self._batching = batching
        self._labels_of_unavailable = labels_of_unavailable
        self._models: dict[str, ServedModel] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._changing = threading.Lock()  # One poll or reload at a time. Requests do not take the lock.

    @property
    def names(self) -> list[str]:
        """Names of the models, sorted."""
        return sorted(self._models)

    def versions(self, name: str) -> tuple[int, ...]:
        """Returns the loaded versions of a model, newest first."""
        return tuple(sorted(self._models[name].loaded, reverse=True))

    def find(self, spec: model_pb2.ModelSpec) -> Servable:
        """Returns the version that a request asks for, which stays loaded while the caller holds it.

        Raises:
            ServingError: If no loaded version matches.
        """
        if not spec.name:
            raise errors.model_name_missing()
        choice, version = spec.WhichOneof("version_choice"), spec.version.value
        if choice == "version_label":
            labels = self._labels.get(spec.name, {})
            if spec.version_label not in labels:
                raise errors.label_not_found(spec.version_label)
            version = labels[spec.version_label]
        model = self._models.get(spec.name)
        loaded = model.loaded if model else {}
        if choice is None:
            version = max(loaded, default=None)
        if version not in loaded:
            raise errors.servable_not_found(spec.name, None if choice is None else version)
        return loaded[version]

    def states(self, name: str) -> dict[int, Any]:
        """Returns the status of every version of a model seen so far, by number."""
        model = self._models.get(name)
        return model.states() if model else {}

    def poll(self) -> None:
        """Loads new versions whose files have settled, and drops those that the policies no longer want."""
        with self._changing:
            for model in self._models.values():
                try:
                    model.update(must_settle=True)
                except Exception:  # An error in one folder must not end the polling of the others.
                    _log.exception("%s: polling failed", model.base_path)

    def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Applies a configuration, and loads its new models before it returns.

        Raises:
            ServingError: If the configuration is refused, or a new model does not load.
        """
        check_model_config(config)
        with self._changing:
            configs = {model.name: model for model in config.model_config_list.config}
            # As in TensorFlow Serving, labels are checked first: a configuration with a bad label changes nothing.
            labels = {name: self._checked_labels(model_config) for name, model_config in configs.items()}
            models = {}
            for name, model_config in configs.items():
                models[name] = self._models.get(name) or ServedModel(name, self._batching)
                models[name].configure(model_config)
            new = [models[name] for name in configs if name not in self._models]
            dropped = [model for name, model in self._models.items() if name not in configs]
            self._models, self._labels = models, labels
            for model in dropped:
                model.close()
            for model in models.values():
                model.update(must_settle=model not in new)
            failed = [f"{model.name}: {model.explain()}" for model in new if not model.loaded]
        if failed:
            raise errors.models_not_loaded(failed)

    def close(self) -> None:
        """Drops every version."""
        with self._changing:
            for model in self._models.values():
                model.close()

    def _checked_labels(self, config: model_server_config_pb2.ModelConfig) -> dict[str, int]:
        model = self._models.get(config.name)
        known = self._labels.get(config.name, {})
        for label, version in config.version_labels.items():
            is_new_or_same = known.get(label, version) == version
            if (self._labels_of_unavailable and is_new_or_same) or (model and version in model.loaded):
                continue
            raise errors.label_of_unloaded_version(config.name, version)
        return dict(config.version_labels)
