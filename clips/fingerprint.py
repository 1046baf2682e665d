"""Fingerprints files by their contents, so that a touched or restored file is not new data.

fingerprint("day1/*.gz", known="work/state/file_digests.json")  # "24 files of 8123456 bytes, 0f3c..."
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence

from framecast.clips import filesystem
from framecast.clips.files import write_whole
from framecast.clips.filesystem import ListedFile

_UNREADABLE = "unreadable"


def fingerprint(pattern: str, known: str = "") -> str:
    """Returns a digest of the files that match a pattern: their number, paths and contents.

    Args:
        pattern: Glob pattern, local or in an object store.
        known: JSON file with the digests of earlier calls, which is updated; a file of the same size and modification
            time is not read again. Empty: every file is read. Files in an object store are never read, because it keeps
            checksums.

    Raises:
        FileNotFoundError: If no file matches.
        OSError: If an object store cannot be reached.
    """
    files = filesystem.list_files(pattern)
    if not files:
        raise FileNotFoundError(filesystem.no_match(pattern))
    return fingerprint_of(files, known)


def fingerprint_of(files: Sequence[ListedFile], known: str = "") -> str:
    """Returns a digest of listed files, as `fingerprint`."""
    before = _read(known)
    stamps = {file.path: [file.size, file.time] for file in files}
    found = {path: before[path][2] for path, stamp in stamps.items() if before.get(path, [])[:2] == stamp}
    if unknown := [file.path for file in files if file.path not in found]:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            found.update(zip(unknown, pool.map(_digest, unknown), strict=True))
        if known:
            read = {path: [*stamp, found[path]] for path, stamp in stamps.items() if _UNREADABLE not in found[path]}
            pathlib.Path(known).parent.mkdir(parents=True, exist_ok=True)
            write_whole(known, json.dumps({**before, **read}))
    digest = hashlib.sha256("\n".join(f"{path}\0{found[path]}" for path in sorted(found)).encode())
    return f"{len(files)} files of {sum(file.size for file in files)} bytes, {digest.hexdigest()[:16]}"


def known_digests(workdir: str) -> str:
    """Returns the path of the digests that a work directory keeps between runs."""
    return os.path.join(workdir, "state", "file_digests.json")


def _read(known: str) -> dict[str, list]:
    """Reads the digests of earlier calls; none if the file is damaged, because they only save time."""
    try:
        return json.loads(pathlib.Path(known).read_bytes()) if known else {}
    except (FileNotFoundError, ValueError):
        return {}


def _digest(path: str) -> str:
    if filesystem.is_remote(path):
        return filesystem.checksum(path)
    try:
        return filesystem.sha256(path)
    except OSError as error:  # The reader of the clips reports it, or puts the file in quarantine.
        return f"{_UNREADABLE}: {error.strerror}"
