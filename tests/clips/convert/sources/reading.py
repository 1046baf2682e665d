"""Reads all recordings of test sources, and writes image folders."""

import pathlib

import numpy as np

from framecast.clips import image_codec
from framecast.clips.convert.sources.discovery import find_sources
from framecast.clips.convert.spec import ConvertSpec

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (12, 10, 14), np.uint8)


def read_sources(*paths, **read):
    """Returns `{name: (recording, frames)}`; names are relative to the given folder."""
    found = find_sources([str(path) for path in paths], ConvertSpec.model_validate({"read": read}))
    recordings = {}
    for source in found.sources:
        for recording in source.recordings():
            recording.name = _relative(recording.name, paths[0])
            recordings[recording.name] = (recording, list(recording.frames))
    return recordings


def read_only_source(*paths, **read):
    """Returns the only recording, its frames and their stacked values."""
    ((recording, frames),) = read_sources(*paths, **read).values()
    return recording, frames, np.stack([frame.values for frame in frames])


def write_image_folder(folder, frames, name="frame{}.png"):
    """Writes each frame as a PNG."""
    folder.mkdir(parents=True)
    for index, pixels in enumerate(frames):
        (folder / name.format(index)).write_bytes(
            image_codec.encode_png(pixels[..., None] if pixels.ndim == 2 else pixels)
        )


def _relative(name, given):
    """Returns a name without the folder that a test gave, or that a file given is in."""
    path = pathlib.Path(given)
    folder = path if path.is_dir() and path.suffix != ".zarr" else path.parent
    parent = f"{folder.parent.name}/"
    return name.removeprefix(parent if name.startswith(parent) else f"{folder.name}/")
