"""Reads still images, image stacks and WebP animations.

Numbered images of a folder are the frames of a recording, in natural order: frame2.png before frame10.png. Each stack
or animation is a recording.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from framecast.clips.convert.sources import file_times, video
from framecast.clips.convert.sources.images import file_names, netpbm, still
from framecast.clips.convert.sources.images.colours import Still
from framecast.clips.convert.sources.images.file_names import natural_key
from framecast.clips.convert.sources.images.orientation import EXIF_TAG, turn_upright
from framecast.clips.convert.sources.images.tiff import Series, TiffReader, open_tiff
from framecast.clips.convert.sources.source import BadSource, Frame, Recording, Source, class_of, name_of
from framecast.clips.convert.spec import ReadSpec

_PLAIN_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".pgm", ".ppm", ".pbm", ".pnm", ".bmp", ".webp", ".apng")
SUFFIXES = (*_PLAIN_SUFFIXES, *(f"{suffix}.gz" for suffix in _PLAIN_SUFFIXES))
_MICROSECONDS = 1_000_000
_NO_DELAY = 100  # Milliseconds that browsers show a frame without a duration.
_HOLES = "frames missing by the numbers in file names (--join ignores the numbers)"

_Content = Literal["still", "stack", "video", "animation"]


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """Still images that are the frames of one recording.

    Args:
        name: Name of the folder, and of the files if they have one.
        files: The images, in order.
        positions: Index of each frame, counting missing ones; None to count frames as they are read.
        read: How images are read.
        class_name: Class by the folders.
    """

    name: str
    files: tuple[str, ...]
    positions: tuple[int, ...] | None
    read: ReadSpec
    class_name: str

    def recordings(self) -> Iterator[Recording]:
        """Yields the images as one recording."""
        stamps = file_times.times_in_names(self.files, self.read.time_format)
        rate = file_times.median_rate(stamps) if stamps else None
        recording = Recording(self.name, iter(()), rate=rate)
        recording.frames = self._frames(recording, stamps)
        if self.positions:
            recording.left_out[_HOLES] = self.positions[-1] + 1 - len(self.files)
        yield recording

    def _frames(self, recording: Recording, stamps: list[int] | None) -> Iterator[Frame]:
        position = 0
        for number, path in enumerate(self.files):
            try:
                images = list(_read(path, self.read)) if not self.read.join else _read(path, self.read)
                if isinstance(images, list) and len(images) != 1:
                    raise BadSource(path, f"expected one image, as in the files before it, received {len(images)}")
                for page, image in enumerate(images):
                    time = stamps[number] if stamps else None
                    if page and stamps:
                        raise BadSource(path, "expected one page, because the file name has one time, received more")
                    place = f"{path}, page {page}" if page else path
                    at = self.positions[number] if self.positions else position
                    yield Frame(image.values, time, place, None if stamps else at, image.notes)
                    position += 1
            except BadSource as error:
                recording.skip(error)
                position += 1


@dataclasses.dataclass(frozen=True)
class ImageStack:
    """A file of several images: TIFF or Netpbm. Each series of a TIFF is one recording, or more with an axis N."""

    name: str
    files: tuple[str, ...]
    read: ReadSpec

    def recordings(self) -> Iterator[Recording]:
        """Yields the recordings."""
        (path,) = self.files
        if self.read.time_format is not None:
            raise BadSource(path, "expected still images (--time-format), received a stack; set --fps instead")
        if not still.is_tiff(still.read_head(path)):
            yield Recording(self.name, _stack_frames(path, self.read))
            return
        with open_tiff(path, self.read) as tiff:
            for series in tiff.series:
                name = self.name if len(tiff.series) == 1 else f"{self.name}/{series.index}"
                planes = series.planes
                if not planes.timed and planes.numbers.size > 1:
                    raise BadSource(
                        path, f"no axis of {planes.described} is time; set --axes, with T for the time, such as THW"
                    )
                for number in range(len(planes.numbers)):
                    recording = Recording(
                        name if len(planes.numbers) == 1 else f"{name}/{number:06d}",
                        iter(()),
                        rate=series.rate,
                        group=name if planes.correlated else None,
                    )
                    recording.frames = self._frames(recording, tiff, series, number)
                    yield recording

    def _frames(self, recording: Recording, tiff: TiffReader, series: Series, number: int) -> Iterator[Frame]:
        for index in range(series.planes.numbers.shape[1]):
            place = f"{self.files[0]}, page {index}"
            try:
                image = tiff.frame(series, number, index)
            except still.READ_ERRORS as error:
                recording.skip(BadSource(place, f"cannot read the page: {error}"))
                continue
            yield Frame(image.values, None, place, index, image.notes)


@dataclasses.dataclass(frozen=True)
class Animation:
    """An animated WebP or animated 1-bit PNG, which FFmpeg cannot decode."""

    name: str
    files: tuple[str, ...]
    keep_alpha: bool

    def recordings(self) -> Iterator[Recording]:
        """Yields the animation as one recording."""
        yield Recording(self.name, self._frames(), resolution=1000.0)

    def _frames(self) -> Iterator[Frame]:
        from PIL import Image

        (path,) = self.files
        index, milliseconds = 0, 0.0
        try:
            with Image.open(still.open_data(path)) as image:
                orientation = image.getexif().get(EXIF_TAG, 1)
                cover = getattr(image, "default_image", False)  # Shown only by readers without animation.
                for index in range(getattr(image, "n_frames", 1) - cover):
                    image.seek(index + cover)
                    image.load()
                    frame = still.from_pillow(image, self.keep_alpha)
                    upright = turn_upright(frame.values, orientation)
                    yield Frame(upright, round(milliseconds * 1000), f"{path}, frame {index}", None, frame.notes)
                    milliseconds += image.info.get("duration") or _NO_DELAY
        except still.READ_ERRORS as error:
            raise BadSource(f"{path}, frame {index}", f"cannot read the frame: {error}") from error


def find(folder: str, files: Sequence[str], read: ReadSpec) -> Iterator[Source]:
    """Yields the sources among the images of one folder.

    Args:
        folder: The folder.
        files: The images.
        read: How images are read.

    Raises:
        ValueError: If two files show the same frame, names do not say which images belong together, or an option does
            not apply.
    """
    name = name_of(folder)
    files = sorted(files, key=lambda path: natural_key(os.path.basename(path)))
    file_names.check_stems(folder, files)
    if (read.axes or read.select) and not any(still.is_tiff(still.read_head(path)) for path in files):
        raise ValueError(f"{folder}: expected TIFF (--axes, --select), because other images have no named axes")
    if read.join:
        yield ImageFolder(name, tuple(files), None, read, class_of(name))
        return
    groups = []
    for group in file_names.group(files, read.time_format):
        content = _content(group.files, read)
        if content == "still":
            groups.append(group)
            continue
        for path in group.files:
            if content == "video":
                yield video.Video(name_of(path), (path,), read.keep_alpha)
            elif content == "animation":
                yield Animation(name_of(path), (path,), read.keep_alpha)
            else:
                yield ImageStack(name_of(path), (path,), read)
    if len(groups) > 1 and all(len(group.files) == 1 for group in groups):
        shown = ", ".join(os.path.basename(group.files[0]) for group in groups[:3])
        raise ValueError(
            f"{folder}: expected numbered images, such as frame1.png, received {shown}; "
            "set --join to take the images of each folder as one recording, in the order of their names"
        )
    # Folders are the recordings of a class if each has one sequence; else they are the class.
    class_name = class_of(name if len(groups) == 1 else f"{name}/")
    for group in groups:
        label = f"/{group.label}" if group.label else ""
        yield ImageFolder(f"{name}{label}", group.files, group.positions, read, class_name)


def _content(files: Sequence[str], read: ReadSpec) -> _Content:
    """Returns the content of a group, from the first file that can be read."""
    for path in files:
        head = still.read_head(path)
        if still.is_animated_webp(head) or (still.is_animated_png(head) and still.is_bilevel_png(head)):
            return "animation"
        if still.is_animated_png(head):
            return "video"
        if still.is_tiff(head):
            try:
                with open_tiff(path, read) as tiff:
                    single = len(tiff.series) == 1 and tiff.series[0].planes.numbers.shape[:2] == (1, 1)
                    alone = len(files) == 1 and tiff.series[0].planes.numbers.size > 1
                    return "still" if single and not alone else "stack"
            except BadSource:
                continue
        if netpbm.is_netpbm(head):
            try:
                return "still" if len(list(_read(path, read))) == 1 else "stack"
            except BadSource:
                continue
        if head:
            return "still"
    return "stack" if all(still.is_tiff(still.read_head(path)) for path in files) else "still"


def _read(path: str, read: ReadSpec) -> Iterator[Still]:
    """Yields the images in a file."""
    if not still.is_tiff(still.read_head(path)):
        yield from still.decode_still(path, still.read_data(path), read.keep_alpha)
        return
    with open_tiff(path, read) as tiff:
        for series in tiff.series:
            recordings, frames, _ = series.planes.numbers.shape
            for number, index in np.ndindex(recordings, frames):
                try:
                    image = tiff.frame(series, number, index)
                except still.READ_ERRORS as error:
                    raise BadSource(f"{path}, page {index}", f"cannot read the page: {error}") from error
                yield image


def _stack_frames(path: str, read: ReadSpec) -> Iterator[Frame]:
    for index, image in enumerate(_read(path, read)):
        yield Frame(image.values, None, f"{path}, page {index}", None, image.notes)
