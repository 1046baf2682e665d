"""Digests of our own code: part of every cache key, since TFX sees only a function's name, not its text."""

import hashlib
import pathlib

import framecast.schemas

_ROOT = pathlib.Path(framecast.schemas.__file__).parent.parent


def code_digest(*sources: str) -> str:
    """Returns a digest of modules (`models/export.py`) and packages (`schemas`), relative to the source tree."""
    total = hashlib.sha256()
    for source in sources:
        path = _ROOT / source
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.suffix in {".py", ".pbtxt"}:
                total.update(str(file.relative_to(_ROOT)).encode() + b"\0" + file.read_bytes())
    return total.hexdigest()[:16]
