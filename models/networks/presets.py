"""Named models: what `model.preset` in the configuration chooses from."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from framecast.models.networks.frame_forecaster import FrameForecaster
from framecast.models.networks.labeller import Labeller

FORECASTERS: dict[str, dict[str, Any]] = {
    "convlstm-tiny": {"filters": (16,), "kernel_size": 3, "patch": 4},
    # Cheaper a step than convlstm-small; ahead of it at long lead times on moving digits for the same training time.
    "convlstm-coarse": {"filters": (96, 96), "kernel_size": 3, "patch": 8},
    # Fields that change little from frame to frame: from the start as good as persistence.
    "convlstm-small": {"filters": (48, 48), "kernel_size": 5, "patch": 4, "predict": "change"},
    # Fields that move as a whole, such as radar: from the start as good as extrapolation.
    "convlstm-advected": {"filters": (48, 48), "kernel_size": 5, "patch": 4, "predict": "advected"},
    # OpenSTL's ConvLSTM-S and ConvLSTM-L: what a GPU trains on Moving MNIST.
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
    """Returns a new model of the preset `name`.

    Args:
        name: A key of `PRESETS`.
        channels: Channels of a frame.
        dtype: Keras dtype policy of the computation.
        arguments: Of the model, in place of the preset's.
        **outputs: `outputs` and `per` of a `Labeller`; nothing for a `FrameForecaster`.

    Raises:
        ValueError: When there is no such preset of that kind of model, or the model does not take the arguments.
    """
    known = LABELLERS if outputs else FORECASTERS
    if name not in known:
        raise ValueError(f"model.preset: expected one of {', '.join(known)}, received {name!r}")
    model = Labeller if outputs else FrameForecaster
    fixed = {"channels": channels, "dtype": dtype, **outputs}
    preset = {key: value for key, value in known[name].items() if key not in (arguments or {})}
    return call(model, arguments or {}, **preset, **fixed)


def call(function: Callable[..., keras.Model], arguments: Mapping[str, Any], **fixed: Any) -> keras.Model:
    """Calls what makes a model with `fixed` and with the arguments of the configuration.

    Raises:
        ValueError: When it does not take the arguments.
    """
    try:
        return function(**arguments, **fixed)
    except (TypeError, ValueError) as error:
        if not arguments:
            raise
        raise ValueError(
            f"model.arguments: expected what {function.__name__} takes, received {dict(arguments)}: {error}"
        ) from error
