"""Finds the sources in files, folders and glob patterns."""

import collections
import dataclasses
import glob
import os
from collections.abc import Iterator, Sequence

from framecast.clips.convert.sources import arrays, digits, grids, image_folder, tf_examples, video
from framecast.clips.convert.sources.examples.encoded_frames import RawPixels
from framecast.clips.convert.sources.file_digests import check_copies
from framecast.clips.convert.sources.source import Source, name_of
from framecast.clips.convert.spec import ConvertSpec, Kind

_SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "video": video.SUFFIXES,
    "images": image_folder.SUFFIXES,
    "arrays": arrays.SUFFIXES,
    "grids": grids.SUFFIXES,
}
_SOURCE_BYTES = 256 << 20  # Approximate size of one source, if a file of many recordings is divided.


@dataclasses.dataclass(frozen=True)
class FoundSources:
    """The result of a search.

    Args:
        sources: The sources, sorted by name.
        ignored: Files of other kinds, and hidden files and folders.
    """

    sources: list[Source]
    ignored: list[str]


def find_sources(paths: Sequence[str], spec: ConvertSpec) -> FoundSources:
    """Finds the sources in files, folders (searched recursively) and glob patterns.

    Raises:
        FileNotFoundError: If a path matches no file.
        BadSource: If a file whose header is needed cannot be read.
        ValueError: If the kind of the sources is ambiguous, or two sources are copies of each other.
    """
    every = {os.path.abspath(path): (path, hidden) for pattern in paths for path, hidden in _files(pattern)}
    files = [path for path, hidden in every.values() if not hidden]
    kinds = {path: kind_of(path) for path in files}
    present = sorted({kind for kind in kinds.values() if kind is not None})
    kind = spec.read.kind
    if kind is None:
        if len(present) != 1:
            received = " and ".join(present) or f"{len(files)} files of unknown kind"
            raise ValueError(f"{', '.join(paths)}: expected sources of one kind, received {received}; set --kind")
        kind = present[0]
        taken = [path for path in files if kinds[path] == kind]
    else:
        # Files of unknown kind are included, because their names may lack the usual suffix.
        taken = [path for path in files if kinds[path] in (kind, None)]
    if not taken:
        raise ValueError(f"{', '.join(paths)}: expected {kind}, received {' and '.join(present)}")
    chosen = set(taken)
    sources = sorted(_make(kind, taken, spec), key=lambda source: (source.name, source.files))
    check_copies(sources)
    return FoundSources(sources, sorted(path for path, _ in every.values() if path not in chosen))


def _files(pattern: str) -> Iterator[tuple[str, bool]]:
    """Yields `(path, hidden)`. A hidden folder is one path."""
    matches = [pattern] if os.path.lexists(pattern) else sorted(glob.glob(pattern))
    if not matches:
        raise FileNotFoundError(f"{pattern}: expected files, received none")
    for match in matches:
        match = os.path.normpath(match)
        if not os.path.isdir(match) or match.lower().endswith(".zarr"):
            yield match, False
            continue
        for folder, folders, names in os.walk(match):
            whole = [name for name in folders if name.lower().endswith(".zarr") or _is_hidden(name)]
            folders[:] = sorted(set(folders) - set(whole))
            for name in sorted([*names, *whole]):
                yield os.path.join(folder, name), _is_hidden(name)


def _is_hidden(name: str) -> bool:
    """Returns whether a file or folder is hidden, such as `._frame1.png`, which macOS adds to a copy."""
    return name.startswith(".") or name == "__MACOSX"


def kind_of(path: str) -> Kind | None:
    """Returns the kind of a file from its name; None if unknown."""
    name = os.path.basename(path).lower()
    for kind, suffixes in _SUFFIXES.items():
        if name.endswith(suffixes):
            return kind
    if "tfrecord" in name or name.endswith((".tfrec", ".tfrec.gz")):
        return "examples"
    if "idx3-ubyte" in name:
        return "digits"
    if name.startswith(grids.PREFIXES):
        return "grids"
    return None


def _make(kind: Kind, files: Sequence[str], spec: ConvertSpec) -> Iterator[Source]:
    read = spec.read
    if read.time_format is not None and kind not in ("images", "grids"):
        raise ValueError(f"time format {read.time_format} (--time-format): {kind} have no time in their file names")
    if read.keep_hidden and kind != "video":
        raise ValueError(f"--keep-hidden: expected videos, received {kind}")
    if read.raw_size is not None and kind != "examples":
        raise ValueError(f"--raw-size: expected TFRecords of examples, received {kind}")
    if read.select and kind not in ("images", "grids"):
        raise ValueError(f"--select {' '.join(read.select)}: expected gridded files or TIFF, received {kind}")
    if read.join and kind not in ("images", "grids"):
        raise ValueError(f"--join: expected images or gridded files, received {kind}")
    if read.keep_alpha and kind not in ("images", "video", "examples"):
        raise ValueError(f"--keep-alpha: expected images or videos, received {kind}")
    by_folder = collections.defaultdict(list)
    for path in files:
        by_folder[os.path.dirname(path)].append(path)
    if kind == "images":
        for folder, images in by_folder.items():
            yield from image_folder.find(folder, images, read)
        return
    if kind == "grids":
        for folder, members in by_folder.items():
            members.sort(key=lambda path: image_folder.natural_key(os.path.basename(path)))
            unpack = spec.value.scale is None and spec.value.offset is None and spec.value.fill is None
            yield from grids.find(name_of(folder), [(name_of(path), path) for path in members], read, unpack)
        return
    for path in files:
        name = name_of(path)
        if kind == "video":
            yield video.Video(name, (path,), read.keep_alpha, read.keep_hidden)
        elif kind == "arrays":
            yield from arrays.find(name, path, read.variable, read.axes, _SOURCE_BYTES)
        elif kind == "digits":
            yield from digits.find(name, path, read.digits, spec.cut.frames)
        else:
            raw = None
            if read.raw_size is not None:
                raw = RawPixels(*read.raw_size, read.raw_dtype, read.raw_channels)
            yield tf_examples.Examples(name, (path,), read.variable, raw, read.fps, read.keep_alpha)
