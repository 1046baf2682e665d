"""Computes digests of code for cache keys, because TFX's cache sees the names of functions only, not their code.

code_digest("framecast.components.trainer", "framecast.models.training.run_fn")
"""

import hashlib
import pathlib
from collections.abc import Mapping

from framecast.pipeline.dag import import_closure


def code_digest(*modules: str) -> str:
    """Returns a digest of Framecast modules, of all modules that they import, and of their data files.

    Args:
        modules: Dotted names of what a component runs: its own module, and the module of a function that it names.

    Raises:
        ModuleNotFoundError: If a module does not exist.
    """
    return _digest(import_closure.closure(*modules))


def builder_digest(builder: str) -> str:
    """Returns a digest of the user's builder or loss and of all modules that it imports, except installed packages.

    Args:
        builder: `package.module:function` or `path/file.py:function`.
    """
    return _digest(import_closure.closure(builder=builder.rpartition(":")[0]))


def source_digest() -> str:
    """Returns a digest of Framecast's whole source."""
    return _digest(import_closure.all_files())


def _digest(files: Mapping[str, pathlib.Path]) -> str:
    total = hashlib.sha256()
    for name, path in sorted(files.items()):
        total.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]
