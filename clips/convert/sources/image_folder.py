"""Reads folders of images in natural order: frame2.png before frame10.png."""

import dataclasses
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from framecast.clips import image_codec
from framecast.clips.convert.sources import file_times
from framecast.clips.convert.sources.source import BadSource, Frame, Recording

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".pgm", ".ppm", ".bmp")


def natural_key(name: str) -> list[Any]:
    """Returns a sort key that orders numbers in names by value."""
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """The images of a folder, as frames of one recording; each page of a TIFF is a frame."""

    name: str
    files: tuple[str, ...]
    time_format: str | None

    def recordings(self) -> Iterator[Recording]:
        """Yields the folder as one recording."""
        stamps = file_times.times_in_names(self.files, self.time_format)
        rate = file_times.median_rate(stamps) if stamps else None
        yield Recording(self.name, self._frames(stamps), rate=rate)

    def _frames(self, stamps: list[int] | None) -> Iterator[Frame]:
        for number, path in enumerate(self.files):
            pages = list(_pages(path))
            if stamps and len(pages) > 1:
                raise BadSource(path, f"expected one page, because the file name has one time, received {len(pages)}")
            for page, values in enumerate(pages):
                place = path if len(pages) == 1 else f"{path}, page {page}"
                yield Frame(values, stamps[number] if stamps else None, place)


def _pages(path: str) -> Iterator[np.ndarray]:
    """Yields each page of an image file as `(height, width, channel)`."""
    from PIL import Image, ImageSequence

    try:
        with open(path, "rb") as file:
            data = file.read()
        if os.path.splitext(path)[1].lower() in (".png", ".jpg", ".jpeg") and not _has_palette(data):
            # Unlike Pillow, image_codec checks a PNG's checksums and keeps 16 bits of several channels.
            yield image_codec.decode(data, image_codec.read_header(data))
            return
        with Image.open(path) as image:
            for page in ImageSequence.Iterator(image):
                if page.mode in ("P", "PA", "CMYK", "YCbCr", "1"):
                    page = page.convert("L" if page.mode == "1" else "RGB")
                values = np.asarray(page)
                yield values[..., None] if values.ndim == 2 else values
    except (image_codec.BadImage, OSError, SyntaxError, ValueError, EOFError) as error:
        raise BadSource(path, f"cannot read the image: {error}") from error


def _has_palette(data: bytes) -> bool:
    return data.startswith(b"\x89PNG") and data[25:26] == b"\x03"
