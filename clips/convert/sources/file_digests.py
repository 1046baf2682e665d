"""Computes digests of source files, which make the names of recordings unique across conversions."""

import functools
import hashlib
import os
from collections.abc import Sequence

from framecast.clips import filesystem
from framecast.clips.convert.sources.source import BadSource, Source

_FILES = 16  # The first files of a recording identify it, so that a folder that grows keeps its names.
_LETTERS = 12


class FileDigests:
    """Digests by file; each file is read once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, file: str) -> str:
        """Returns the SHA-256 digest of a file.

        Raises:
            BadSource: If the file cannot be read.
        """
        if file not in self._known:
            try:
                status = os.stat(file)
                self._known[file] = _digest(file, status.st_size, status.st_mtime_ns)
            except OSError as error:
                raise BadSource(file, f"cannot read the file: {error.strerror}") from error
        return self._known[file]

    def of_source(self, source: Source) -> str:
        """Returns a short digest of the first files of a source; it does not depend on where they are.

        Raises:
            BadSource: If a file cannot be read.
        """
        parts = [self.of(file) for file in source.files[:_FILES]]
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:_LETTERS]


@functools.lru_cache(maxsize=4096)  # A file of many recordings is divided into sources that each ask for its digest.
def _digest(file: str, _size: int, _changed: int) -> str:
    return filesystem.sha256(file)


def check_copies(sources: Sequence[Source]) -> None:
    """Checks that sources of equal names are different recordings.

    Raises:
        ValueError: If two sources are copies of each other in folders of one name.
        BadSource: If a file cannot be read.
    """
    by_name: dict[str, list[Source]] = {}
    for source in sources:
        by_name.setdefault(source.name, []).append(source)
    for name, equal in by_name.items():
        digests = FileDigests()
        found: dict[str, Source] = {}
        for source in equal if len(equal) > 1 else ():
            other = found.setdefault(digests.of_source(source), source)
            if other is not source:
                paths = " and ".join(os.fspath(each.files[0]) for each in (other, source))
                raise ValueError(f"{paths}: expected different recordings, received copies named {name}; give one")
