"""Builds the configured model: one of our presets, or the user's own builder."""

import importlib
from collections.abc import Callable

import keras

from framecast.models import presets
from framecast.models.spec import ModelSpec


def build(spec: ModelSpec, channels: int, dtype: keras.DTypePolicy) -> keras.Model:
    """Returns a Keras model with the call contract of `framecast.models.forecaster.Forecaster`.

    Args:
        spec: A preset's name or `package.module:function`.
        channels: Channels of a frame.
        dtype: Keras dtype policy to compute in.

    Raises:
        ValueError: When there is no such preset, or the builder cannot be imported.
    """
    if spec.preset is not None:
        return presets.build(spec.preset, channels, dtype)
    return load(spec)(channels=channels, dtype=dtype)


def load(spec: ModelSpec) -> Callable[..., keras.Model]:
    """Imports the user's builder.

    Raises:
        ValueError: When it cannot be imported, naming it.
    """
    assert spec.builder is not None
    name, _, function = spec.builder.partition(":")
    try:
        return getattr(importlib.import_module(name), function)
    except Exception as error:  # A module of the user's may raise anything when it is imported.
        raise ValueError(
            f"model.builder: expected package.module:function, received {spec.builder}: {type(error).__name__}: {error}"
        ) from error
