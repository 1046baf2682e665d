"""Builds the configured model: one of our presets, or the user's own builder."""

import importlib

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
        ValueError: When the builder cannot be imported, naming it.
    """
    if spec.preset is not None:
        return presets.build(spec.preset, channels, dtype)
    assert spec.builder is not None
    name, _, function = spec.builder.partition(":")
    try:
        builder = getattr(importlib.import_module(name), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"model.builder: expected package.module:function, received {spec.builder}: {error}"
        ) from error
    return builder(channels=channels, dtype=dtype)
