"""Which sources there are in the paths that a user names."""

import collections
import dataclasses
import glob
import os
from collections.abc import Iterator, Sequence

from framecast.clips.convert.sources import arrays, digits, grids, image_folder, tf_examples, video
from framecast.clips.convert.sources.source import Source
from framecast.clips.convert.spec import ConvertSpec, Kind

_SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "video": video.SUFFIXES,
    "images": image_folder.SUFFIXES,
    "arrays": arrays.SUFFIXES,
    "grids": grids.SUFFIXES,
}
_AT_ONCE = 256 << 20  # Bytes of frames that a source of many recordings should hold, roughly.


@dataclasses.dataclass(frozen=True)
class Found:
    """What lies in the paths.

    Args:
        sources: What can be converted, in the order of their names.
        ignored: Files of another kind.
    """

    sources: list[Source]
    ignored: list[str]


def find_sources(paths: Sequence[str], spec: ConvertSpec) -> Found:
    """Returns the sources in files, folders (with all below) and glob patterns.

    Raises:
        FileNotFoundError: When a path matches nothing.
        BadSource: When a file that decides how the others are read cannot be read.
        ValueError: When what is there cannot be told, or two sources would have one name.
    """
    files = [(root, path) for pattern in paths for root, path in _files(pattern)]
    kinds = {path: kind_of(path) for _, path in files}
    present = sorted({kind for kind in kinds.values() if kind is not None})
    kind = spec.read.kind
    if kind is None:
        if len(present) != 1:
            what = " and ".join(present) or f"{len(files)} files of no known kind"
            raise ValueError(f"{', '.join(paths)}: expected sources of one kind, received {what}: name it (--kind)")
        kind = present[0]
        taken = [(root, path) for root, path in files if kinds[path] == kind]
    else:
        # A file of no known kind may be one whose name does not say so.
        taken = [(root, path) for root, path in files if kinds[path] in (kind, None)]
    if not taken:
        raise ValueError(f"{', '.join(paths)}: expected {kind}, received {' and '.join(present)}")
    chosen = {path for _, path in taken}
    sources = sorted(_make(kind, taken, spec), key=lambda source: source.name)
    names = collections.Counter(source.name for source in sources)
    for name, count in names.items():
        if count > 1:
            raise ValueError(f"{name}: expected sources of different names, received {count} of this one")
    return Found(sources, sorted(path for _, path in files if path not in chosen))


def _files(pattern: str) -> Iterator[tuple[str, str]]:
    """Yields `(root, path)`; names are relative to the root."""
    matches = [pattern] if os.path.lexists(pattern) else sorted(glob.glob(pattern))
    if not matches:
        raise FileNotFoundError(f"{pattern}: expected files, received none")
    for match in matches:
        match = os.path.normpath(match)
        if not os.path.isdir(match) or match.lower().endswith(".zarr"):
            yield os.path.dirname(match), match
            continue
        for folder, folders, names in os.walk(match):
            stores = [name for name in folders if name.lower().endswith(".zarr")]
            folders[:] = sorted(set(folders) - set(stores))
            for name in sorted([*names, *stores]):
                yield match, os.path.join(folder, name)


def kind_of(path: str) -> Kind | None:
    """Returns what a file holds as its name tells it; None when it does not."""
    name = os.path.basename(path).lower()
    for kind, suffixes in _SUFFIXES.items():
        if name.endswith(suffixes):
            return kind
    if "tfrecord" in name:
        return "examples"
    if "idx3-ubyte" in name:
        return "digits"
    return None


def _make(kind: Kind, files: Sequence[tuple[str, str]], spec: ConvertSpec) -> Iterator[Source]:
    read = spec.read
    if kind in ("images", "grids"):
        folders = collections.defaultdict(list)
        for root, path in files:
            folders[_folder_name(root, os.path.dirname(path))].append(path)
        for name, members in folders.items():
            members.sort(key=lambda path: image_folder.natural_key(os.path.basename(path)))
            if kind == "images":
                yield image_folder.ImageFolder(name, tuple(members), read.time_format)
            else:
                yield from grids.find(name, members, read.variable, read.axes, read.time_format)
        return
    for root, path in files:
        name = os.path.relpath(path, root or ".")
        if kind == "video":
            yield video.Video(name, (path,))
        elif kind == "arrays":
            yield from arrays.find(name, path, read.variable, read.axes, _AT_ONCE)
        elif kind == "digits":
            yield from digits.find(name, path, read.digits, spec.cut.frames)
        else:
            yield tf_examples.Examples(name, (path,), read.variable)


def _folder_name(root: str, folder: str) -> str:
    relative = os.path.relpath(folder or ".", root or ".")
    return os.path.basename(os.path.abspath(folder)) if relative == "." else relative
