"""Compares a model with an exported model of the same weights: do both compute the same function?"""

import numpy as np
import tensorflow as tf

from framecast.models.export.module import ExportModule
from framecast.schemas.clip_spec import ClipSpec

_SIDE = 32  # Pixels, if the clip contract fixes no size.
_TOLERANCE = 0.02  # Of the largest value; rounding in bfloat16 changes less.


def describe_served_difference(module: ExportModule, exported: str, clip: ClipSpec) -> str:
    """Returns how the answers to two random clips differ; empty if they do not.

    Answers are compared by their ratio to the largest, because thresholds scale the scores of an anomaly model.

    Args:
        module: The model, with the weights of the exported model.
        exported: Folder of the SavedModel.
        clip: The clip contract.
    """
    time = clip.frames.max
    random = np.random.default_rng(0).random((2, time, clip.height or _SIDE, clip.width or _SIDE, clip.channels))
    request = {"frames": tf.constant((random * clip.max_pixel).astype(clip.dtype)), "length": tf.constant([time, time])}
    theirs = tf.saved_model.load(exported).signatures["serving_default"](**request)
    ours = module.serve(**request)
    for name in sorted(theirs):
        if name not in ours or ours[name].shape != theirs[name].shape:
            received = tuple(ours[name].shape) if name in ours else "none"
            return f"expected {name} of shape {tuple(theirs[name].shape)}, received {received}"
        difference = np.abs(_scaled(ours[name]) - _scaled(theirs[name])).max()
        if difference > _TOLERANCE:
            return f"{name} of random clips differs by {100 * difference:.0f} % of the largest"
    return ""


def _scaled(values: tf.Tensor) -> np.ndarray:
    values = np.nan_to_num(values.numpy().astype(np.float64))
    return values / max(np.abs(values).max(), np.finfo(np.float64).tiny)
