"""Returns the versions that a result depends on: Framecast's code, Python and the packages."""

import importlib.metadata
import platform

from framecast.pipeline.dag.code_digest import source_digest

_PACKAGES = (
    "framecast", "tfx", "tensorflow", "keras", "tensorflow-transform", "tensorflow-model-analysis",
    "tensorflow-data-validation", "apache-beam", "numpy",
)  # fmt: skip


def code() -> str:
    """Returns a digest of Framecast's source files."""
    return source_digest()


def packages() -> dict[str, str]:
    """Returns the versions of Python and of each package, by name."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _PACKAGES}}
