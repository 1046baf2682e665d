"""Chooses the Keras dtype policy of training, `auto` by the machine."""

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


def _supports_bfloat16() -> bool:
    if gpus := tf.config.list_physical_devices("GPU"):
        details = map(tf.config.experimental.get_device_details, gpus)
        return all(found.get("compute_capability", (0, 0)) >= _COMPUTE_CAPABILITY for found in details)
    return _CPU.exists() and not _CPU_FLAGS.isdisjoint(_CPU.read_text().split())
