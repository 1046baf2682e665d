"""Silences the start-up messages of TensorFlow and gRPC, and Python's warnings."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator


def set_log_levels() -> None:
    """Sets the libraries' log levels in the environment; call it before they are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Set explicitly, TensorFlow prints no line about oneDNN. On a CPU without AVX512 TensorFlow's default is off, which
    # gives other weights for the same seed; the container image sets the same value.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    warnings.simplefilter("ignore")


@contextlib.contextmanager
def heavy_imports() -> Iterator[None]:
    """Discards stderr within the block, including C++ output, because newer TensorFlows ignore the log levels."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
