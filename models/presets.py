"""Named models: what `model.preset` in the configuration chooses from."""

from typing import Any

import keras

from framecast.models.forecaster import Forecaster

PRESETS: dict[str, dict[str, Any]] = {
    "convlstm-tiny": {"filters": (16,), "kernel_size": 3, "patch": 4},
    # Cheaper a step than convlstm-small; ahead of it at long lead times on moving digits for the same training time.
    "convlstm-coarse": {"filters": (96, 96), "kernel_size": 3, "patch": 8},
    # Fields that change little from frame to frame, such as radar at 5 minutes: from the start as good as persistence.
    "convlstm-small": {"filters": (48, 48), "kernel_size": 5, "patch": 4, "predict": "change"},
}


def build(name: str, channels: int, dtype: str | keras.DTypePolicy) -> Forecaster:
    """Returns a new model of the preset `name`.

    Args:
        name: A key of `PRESETS`.
        channels: Channels of a frame.
        dtype: Keras dtype policy of the computation.

    Raises:
        ValueError: When there is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"model.preset: expected one of {', '.join(PRESETS)}, received {name!r}")
    return Forecaster(channels=channels, dtype=dtype, **PRESETS[name])
