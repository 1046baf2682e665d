"""Builds the configured model from a preset or from the user's builder function."""

from collections.abc import Callable
from typing import Any

import keras

from framecast.models.networks import presets, user_models
from framecast.models.networks.plain_models import StandardisedRegressor
from framecast.models.spec import ModelSpec
from framecast.models.user_functions import load_function
from framecast.schemas.clip_spec import ClipSpec


def build(spec: ModelSpec, task: Any, clip: ClipSpec, dtype: keras.DTypePolicy) -> keras.Model:
    """Builds a Keras model with the task's call contract (see `ModelSpec`) and creates its weights.

    Args:
        spec: Names a preset or a builder.
        task: One of the kinds of `TaskSpec`.
        clip: The clip contract.
        dtype: Keras dtype policy of the computation.

    Raises:
        ValueError: If the preset is unknown, the builder cannot be imported or rejects `arguments`, or its model does
            not fit the task.
    """
    if spec.preset is not None:
        model = presets.build(spec.preset, clip.channels, dtype, spec.arguments, **task.preset_arguments)
    else:
        fixed = {"channels": clip.channels, "dtype": dtype, **task.builder_arguments}
        made = presets.call(load(spec), spec.arguments, **fixed)
        model = user_models.adapt(made, task, clip, f"model.builder {spec.builder}")
    if task.kind == "regress":
        model = StandardisedRegressor(model, task.builder_arguments["outputs"])
    return model


def load(spec: ModelSpec) -> Callable[..., keras.Model]:
    """Imports the user's builder function.

    Raises:
        ValueError: If the import fails, with the builder's name.
    """
    assert spec.builder is not None
    return load_function(spec.builder, "model.builder")
