"""Keeps TensorFlow's start-up chatter and Python's end-of-life warnings off the screen."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator


def settle() -> None:
    """Asks for quiet in every way that libraries offer, before they are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow greets with a line on oneDNN unless told. Off, as by itself on a CPU without AVX512, one seed
    # gives other weights: the image of the tasks says the same.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    warnings.simplefilter("ignore")


@contextlib.contextmanager
def heavy_imports() -> Iterator[None]:
    """Drops what is written to stderr within, C++ included: newer TensorFlows greet whatever they are asked for.

    Exceptions come through as always.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
