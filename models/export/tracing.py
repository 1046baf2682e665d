"""How everything that is exported is traced."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def trace(function: Callable[..., Any], *specs: tf.TensorSpec, **named: Any) -> Any:
    """Returns the concrete function to export.

    Without AutoGraph, as Keras exports: nothing of ours branches in Python on a tensor, and to convert what is called,
    Transform's layer most of all, takes longer than to trace it.
    """
    return tf.function(function, autograph=False).get_concrete_function(*specs, **named)
