"""Defines the models that `model.preset` in the configuration names."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from framecast.models.networks.frame_forecaster import FrameForecaster
from framecast.models.networks.labeller import Labeller

FORECASTERS: dict[str, dict[str, Any]] = {
    "convlstm-tiny": {"filters": (16,), "kernel_size": 3, "patch": 4},
    # Cheaper per step than convlstm-small, and better at long lead times on moving digits for equal training time.
    "convlstm-coarse": {"filters": (96, 96), "kernel_size": 3, "patch": 8},
    # For fields that change little between frames: untrained it equals persistence.
    "convlstm-small": {"filters": (48, 48), "kernel_size": 5, "patch": 4, "predict": "change"},
    # For fields that move as a whole, such as radar: untrained it is close to extrapolation.
    "convlstm-advected": {"filters": (48, 48), "kernel_size": 5, "patch": 4, "predict": "advected"},
    # OpenSTL's ConvLSTM-S and ConvLSTM-L for Moving MNIST; they need a GPU.
    "convlstm-s": {"filters": (128, 128, 128, 128), "kernel_size": 5, "patch": 4},
    "convlstm-l": {"filters": (192, 192, 192, 192), "kernel_size": 5, "patch": 4},
}
LABELLERS: dict[str, dict[str, Any]] = {
    "cnn-convlstm-small": {"filters": (16, 32), "recurrent_filters": 32},
}
PRESETS = {**FORECASTERS, **LABELLERS}


def build(
    name: str,
    channels: int,
    dtype: str | keras.DTypePolicy,
    arguments: Mapping[str, Any] | None = None,
    **outputs: Any,
) -> keras.Model:
    """Builds a model of the preset `name`.

    Args:
        name: A key of `PRESETS`.
        channels: Channels of a frame.
        dtype: Keras dtype policy of the computation.
        arguments: Model arguments that replace the preset's, see `PresetArguments`; None is the preset's own.
        **outputs: `outputs` and `per` of a `Labeller`; `forecast_channels` or nothing of a `FrameForecaster`.

    Raises:
        ValueError: If the task has no such preset, or the model rejects the arguments.
    """
    is_labeller = "outputs" in outputs
    known = LABELLERS if is_labeller else FORECASTERS
    if name not in known:
        raise ValueError(f"model.preset: expected one of {', '.join(known)}, received {name!r}")
    model = Labeller if is_labeller else FrameForecaster
    fixed = {"channels": channels, "dtype": dtype, **outputs}
    arguments = {key: value for key, value in (arguments or {}).items() if value is not None}
    preset = {key: value for key, value in known[name].items() if key not in arguments}
    return call(model, arguments, **preset, **fixed)


def call(function: Callable[..., keras.Model], arguments: Mapping[str, Any], **fixed: Any) -> keras.Model:
    """Calls a model's constructor or builder with `fixed` and the configured arguments.

    Raises:
        ValueError: If the function rejects the configured arguments.
    """
    try:
        return function(**arguments, **fixed)
    except (TypeError, ValueError) as error:
        if not arguments:
            raise
        raise ValueError(
            f"model.arguments: expected arguments of {function.__name__}, received {dict(arguments)}: {error}"
        ) from error
