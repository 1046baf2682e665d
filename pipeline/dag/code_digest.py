"""Digests of code, ours and the user's: part of cache keys, since TFX sees only a function's name, not its text."""

import hashlib
import importlib.util
import pathlib
from collections.abc import Iterable

import framecast.schemas

_ROOT = pathlib.Path(framecast.schemas.__file__).parent.parent


def code_digest(*sources: str) -> str:
    """Returns a digest of modules (`models/export/module.py`) and packages (`schemas`), relative to the source tree."""
    files: list[pathlib.Path] = []
    for source in sources:
        path = _ROOT / source
        files += sorted(path.rglob("*")) if path.is_dir() else [path]
    return _digest(_ROOT, files)


def module_digest(name: str) -> str:
    """Returns a digest of an importable module; of its whole package where it is in one, since it may import the rest.

    Args:
        name: Dotted name, such as `my_package.my_module`, or a file, `path/to/file.py`.
    """
    if name.endswith(".py"):
        return _digest(pathlib.Path(name).parent, [pathlib.Path(name)])
    spec = importlib.util.find_spec(name.partition(".")[0])
    assert spec is not None  # It was imported before.
    folders = [pathlib.Path(folder) for folder in spec.submodule_search_locations or ()]
    if folders:
        return "-".join(_digest(folder, sorted(folder.rglob("*"))) for folder in folders)
    assert spec.origin is not None
    file = pathlib.Path(spec.origin)
    return _digest(file.parent, [file])


def _digest(root: pathlib.Path, files: Iterable[pathlib.Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        if file.suffix in {".py", ".pbtxt", ".jinja"}:
            total.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return total.hexdigest()[:16]
