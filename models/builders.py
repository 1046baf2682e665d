"""Builds the configured model: one of our presets, or the user's own builder."""

import importlib
import importlib.util
import pathlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import keras

from framecast.models import presets
from framecast.models.spec import ModelSpec


def build(spec: ModelSpec, task: Any, channels: int, dtype: keras.DTypePolicy) -> keras.Model:
    """Returns a Keras model with the call contract of the task: see `ModelSpec`.

    Args:
        spec: A preset's name, or a builder.
        task: One of the kinds of `TaskSpec`.
        channels: Channels of a frame.
        dtype: Keras dtype policy to compute in.

    Raises:
        ValueError: When there is no such preset, or the builder cannot be imported.
    """
    outputs = {}
    if task.kind in ("classify", "regress"):
        outputs = {"outputs": task.label.classes or 1}
    if spec.preset is not None:
        if outputs:
            outputs["per"] = task.per
        return presets.build(spec.preset, channels, dtype, **outputs)
    return load(spec)(channels=channels, dtype=dtype, **outputs)


def load(spec: ModelSpec) -> Callable[..., keras.Model]:
    """Imports the user's builder.

    Raises:
        ValueError: When it cannot be imported, naming it.
    """
    assert spec.builder is not None
    name, _, function = spec.builder.rpartition(":")
    try:
        return getattr(_import_file(name) if name.endswith(".py") else importlib.import_module(name), function)
    except Exception as error:  # A module of the user's may raise anything when it is imported.
        raise ValueError(
            f"model.builder: expected package.module:function or file.py:function, received {spec.builder}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _import_file(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
