"""Reads the setting `train.loss`. Imports no TensorFlow and no Keras.

parts_of({"mse": 1, "ssim": 0.2}, "forecast")  # the same; of null {"mse": 1.0}, the task's own
"""

from collections.abc import Mapping, Sequence

SSIM_SIDE = 7  # Pixels of a window.

# The first is the task's own.
_FRAMES = ("mse", "mae", "weighted", "ssim")
LOSSES: Mapping[str, Sequence[str]] = {
    "forecast": _FRAMES,
    "anomaly": _FRAMES,
    "classify": ("cross_entropy", "focal"),
    "regress": ("mse",),
}

Loss = str | dict[str, float] | None


def is_function(name: str) -> bool:
    """Checks whether a loss is a user's function, `package.module:function` or `path/to/file.py:function`."""
    return ":" in name


def functions_of(loss: Loss) -> list[str]:
    """Returns the user's functions in a loss."""
    names = [loss] if isinstance(loss, str) else list(loss or {})
    return [name for name in names if is_function(name)]


def parts_of(loss: Loss, task: str) -> dict[str, float]:
    """Returns the weight of each part of a loss.

    Args:
        loss: A name, weights by name, or None for the task's own loss.
        task: Kind of the task.

    Raises:
        ValueError: If a part is not a loss of the task, or its weight is not positive.
    """
    known = LOSSES[task]
    if loss is None:
        return {known[0]: 1.0}
    parts = {loss: 1.0} if isinstance(loss, str) else loss
    for name, weight in parts.items():
        if name not in known and not is_function(name):
            raise ValueError(f"expected {', '.join(known)} or file.py:function for {task}, received {name}")
        if weight <= 0:
            raise ValueError(f"{name}: expected a weight above 0, received {weight}")
    if not parts:
        raise ValueError("expected at least one loss, received none")
    return dict(parts)
