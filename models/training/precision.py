"""Chooses the Keras dtype policy of training, `auto` by the machine, and finds the precision of a model's layers."""

import pathlib

import keras
import tensorflow as tf

_CPU = pathlib.Path("/proc/cpuinfo")
_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}
_COMPUTE_CAPABILITY = (8, 0)  # NVIDIA's Ampere, the first with bfloat16.


def policy(precision: str) -> keras.DTypePolicy:
    """Returns the Keras dtype policy of a `TrainSpec.precision`.

    `auto` is `mixed_bfloat16` if the GPUs, or without GPUs the CPU, support bfloat16, else `float32`, because emulated
    bfloat16 is many times slower.
    """
    if precision == "auto":
        precision = "mixed_bfloat16" if _supports_bfloat16() else "float32"
    return keras.DTypePolicy(precision)


def describe(model: keras.Model) -> str:
    """Returns the name of the policy that a model computes in.

    A model's own policy may be that of none of its layers, so a layer in half precision decides.
    """
    half = find_float16(model)
    if half is not None:
        return f"{half.dtype_policy.name} with a scaled loss"
    return (_find(model, "bfloat16") or model).dtype_policy.name


def find_float16(model: keras.Model) -> keras.layers.Layer | None:
    """Returns a layer that computes in float16, whose gradients underflow unless the loss is scaled."""
    return _find(model, "float16")


def _find(model: keras.Model, dtype: str) -> keras.layers.Layer | None:
    return next((layer for layer in model._flatten_layers() if layer.compute_dtype == dtype), None)


def _supports_bfloat16() -> bool:
    if gpus := tf.config.list_physical_devices("GPU"):
        details = map(tf.config.experimental.get_device_details, gpus)
        return all(found.get("compute_capability", (0, 0)) >= _COMPUTE_CAPABILITY for found in details)
    return _CPU.exists() and not _CPU_FLAGS.isdisjoint(_CPU.read_text().split())
