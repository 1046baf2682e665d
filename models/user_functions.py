"""Imports a function of the user's code that the configuration names."""

import importlib
import importlib.util
import pathlib
from collections.abc import Callable
from types import ModuleType
from typing import Any


def load_function(reference: str, key: str) -> Callable[..., Any]:
    """Imports `package.module:function` or `path/to/file.py:function`.

    Args:
        reference: The function.
        key: The key of the configuration that names it.

    Raises:
        ValueError: If the import fails, with the key and the function.
    """
    name, _, function = reference.rpartition(":")
    try:
        return getattr(_import_file(name) if name.endswith(".py") else importlib.import_module(name), function)
    except Exception as error:  # The import of a user's module may raise anything.
        raise ValueError(
            f"{key}: expected package.module:function or file.py:function, received {reference}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _import_file(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
