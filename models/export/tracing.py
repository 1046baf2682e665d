"""Traces a function for export."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def trace(function: Callable[..., Any], *specs: tf.TensorSpec, **named: Any) -> Any:
    """Returns the concrete function to export.

    AutoGraph is off, as in Keras' own export, because no exported function branches in Python on a tensor, and
    conversion, above all of Transform's layer, takes longer than tracing.
    """
    return tf.function(function, autograph=False).get_concrete_function(*specs, **named)
