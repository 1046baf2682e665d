"""Reads TIFF files, one plane at a time: stacks, ImageJ and OME hyperstacks, series, BigTIFF."""

import contextlib
import dataclasses
import logging
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from framecast.clips.convert.sources.images import colours, still
from framecast.clips.convert.sources.images.colours import Still
from framecast.clips.convert.sources.images.orientation import turn_upright
from framecast.clips.convert.sources.images.tiff_axes import Planes, arrange
from framecast.clips.convert.sources.source import BadSource
from framecast.clips.convert.spec import ReadSpec

_REDUCED_NOTE = "frames stored in lower resolutions too, which are left out"
_ORIENTATION_TAG = 274
# Description, which has the axes; offsets and sizes of strips and tiles; palette.
_NEEDED_TAGS = (270, 273, 279, 320, 324, 325)
_TYPE_BYTES = {3: 2, 4: 4, 16: 8}
_UNASSOCIATED_ALPHA, _ASSOCIATED_ALPHA = 2, 1


@dataclasses.dataclass(frozen=True)
class Series:
    """A series of planes of one shape in a TIFF.

    Args:
        index: Position in the file.
        planes: Which planes make up each frame of each recording.
        rate: Frames per second; None if the file does not say.
    """

    index: int
    planes: Planes
    rate: float | None


class TiffReader:
    """Reads the frames of an open TIFF. Use `open_tiff`."""

    def __init__(self, tif: Any, pillow: Callable[[], Any], read: ReadSpec):
        self._tif = tif
        self._pillow = pillow
        self._keep_alpha = read.keep_alpha
        _check_directories(tif)
        flavour = "ome" if tif.is_ome else "imagej" if tif.is_imagej else None
        if read.axes is None and flavour and any(series.kind != flavour for series in tif.series):
            raise ValueError(
                f"the {flavour} metadata do not match the pages: the file is truncated or one of several; "
                "set --axes for its pages, such as THW"
            )
        full = [series for series in tif.series if not series.keyframe.is_reduced]
        reduced = len(full) < len(tif.series) or any(len(series.levels) > 1 for series in full)
        self._notes = (_REDUCED_NOTE,) if reduced else ()
        self.series = [
            Series(
                index, arrange(series.axes, series.shape, series.keyframe.axes, read.axes, read.select), self._rate()
            )
            for index, series in enumerate(tif.series)
            if not series.keyframe.is_reduced
        ]

    def frame(self, series: Series, recording: int, index: int) -> Still:
        """Reads one frame.

        Raises:
            ValueError: If it is truncated, or stored in a way that cannot be read.
        """
        stills = [self._plane(series, int(plane)) for plane in series.planes.numbers[recording, index]]
        values = np.concatenate([each.values for each in stills], axis=-1) if len(stills) > 1 else stills[0].values
        notes = dict.fromkeys(note for each in stills for note in each.notes)
        return Still(values, (*notes, *self._notes))

    def _rate(self) -> float | None:
        metadata = self._tif.imagej_metadata or {}
        interval = metadata.get("finterval", 0)
        return 1 / interval if isinstance(interval, (int, float)) and interval > 0 else None

    def _plane(self, series: Series, number: int) -> Still:
        stored = self._tif.series[series.index]
        page = stored.keyframe
        if stored.dataoffset is not None and page.photometric != 3:  # Each page may have a palette.
            # One read per plane: mapping the file would keep all of it in memory.
            handle = self._tif.filehandle
            handle.seek(stored.dataoffset + number * page.nbytes)
            data = handle.read(page.nbytes)
            if len(data) < page.nbytes:
                raise ValueError(f"expected {page.nbytes} bytes of pixels, received {len(data)}: the file is truncated")
            dtype = stored.dtype.newbyteorder(self._tif.byteorder)
            return self._coloured(np.frombuffer(data, dtype).reshape(page.shape), page)
        page = stored.pages[number]
        if page is None:
            raise ValueError(f"plane {number} is not in the file")
        page = page.aspage()  # With its own tags, such as the palette.
        size = self._tif.filehandle.size
        if any(at + count > size for at, count in zip(page.dataoffsets, page.databytecounts, strict=False)):
            raise ValueError(f"the pixels of plane {number} are beyond the end of the file: the file is truncated")
        if page.photometric == 6:  # YCbCr, which tifffile does not convert.
            return self._by_pillow(page, "YCbCr")
        try:
            values = page.asarray()
        except (ValueError, NotImplementedError) as error:
            if "imagecodecs" not in str(error) and "not supported" not in str(error):  # Such as a fax code.
                raise
            return self._by_pillow(page, page.compression.name)
        return self._coloured(values, page)

    def _coloured(self, values: np.ndarray, page: Any) -> Still:
        """Converts a plane as tifffile reads it."""
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if values.dtype.kind == "c":
            raise ValueError("expected real values, received complex ones")
        values = np.moveaxis(values, 0, -1) if page.axes == "SYX" else values
        values = values[..., None] if values.ndim == 2 else values
        notes: tuple[str, ...] = ()
        photometric, count = page.photometric, values.shape[-1]
        if photometric == 3 and page.colormap is not None:
            coloured = Still((page.colormap[:, values[..., 0]] >> 8).astype(np.uint8).transpose(1, 2, 0))
        elif photometric == 5 and count == 4 and values.dtype.kind == "u":
            coloured = Still(colours.from_cmyk(values), (colours.CMYK_NOTE,))
        elif photometric not in (0, 1, 2):
            raise ValueError(f"expected gray, RGB, CMYK or a palette, received {page.photometric.name}")
        else:
            largest = 2**page.bitspersample - 1
            if photometric == 0 and values.dtype.kind in "ub":
                values = ~values if values.dtype == np.bool_ else values.dtype.type(largest) - values
                notes = (colours.INVERTED_NOTE,)
            values = colours.widen(values, page.bitspersample)
            extra = page.extrasamples[-1:] if count > 1 else ()
            coloured = Still(values)
            if extra and extra[0] in (_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA):
                premultiplied = extra[0] == _ASSOCIATED_ALPHA
                coloured = colours.compose(values, self._keep_alpha, premultiplied=premultiplied)
        tag = page.tags.get(_ORIENTATION_TAG)
        return Still(turn_upright(coloured.values, tag.value if tag else 1), (*coloured.notes, *notes))

    def _by_pillow(self, page: Any, reason: str) -> Still:
        """Decodes a page through Pillow, which turns it upright; Pillow reduces several 16-bit channels to 8 bits."""
        bits = page.bitspersample
        if not isinstance(page.index, int) or (bits > 8 and page.samplesperpixel > 1):
            kind = f"{page.samplesperpixel} channels of {bits} bits ({reason})"
            raise ValueError(f"{kind} need the package imagecodecs; install it, or save the file uncompressed")
        image = self._pillow()
        image.seek(page.index)
        image.load()
        decoded = still.from_pillow(image, self._keep_alpha)
        inverted = (colours.INVERTED_NOTE,) if page.photometric == 0 else ()
        return Still(decoded.values, (*decoded.notes, *inverted))


@contextlib.contextmanager
def open_tiff(path: str, read: ReadSpec) -> Iterator[TiffReader]:
    """Opens a TIFF, plain or gzipped.

    Args:
        path: The file.
        read: Axes, selection and alpha.

    Raises:
        BadSource: If the file cannot be read, or its axes are unknown.
    """
    import tifffile
    from PIL import Image

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # Its warnings are errors here.
    with contextlib.ExitStack() as stack:
        opened: list[Any] = []

        def pillow() -> Any:
            if not opened:
                opened.append(stack.enter_context(Image.open(still.open_data(path))))
            return opened[0]

        try:
            tif = stack.enter_context(tifffile.TiffFile(still.open_data(path), _multifile=False))
            reader = TiffReader(tif, pillow, read)
        except BadSource:
            raise
        except still.READ_ERRORS as error:
            raise BadSource(path, f"cannot read the TIFF: {error}") from error
        yield reader


def _check_directories(tif: Any) -> None:
    """Follows the chain of page directories, because tifffile stops without an error at a damaged one."""
    layout, handle = tif.tiff, tif.filehandle
    if layout.is_ndpi:
        return  # Hamamatsu's own offsets.
    handle.seek(8 if layout.is_bigtiff else 4)
    seen: set[int] = set()
    while offset := struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))[0]:
        if offset in seen:
            raise ValueError(f"the directory of page {len(seen)} was read before: the file is damaged")
        seen.add(offset)
        handle.seek(offset)
        head = handle.read(layout.tagnosize)
        entries = struct.unpack(layout.tagnoformat, head)[0] if len(head) == layout.tagnosize else 0
        link = offset + layout.tagnosize + entries * layout.tagsize
        if not entries or link + layout.offsetsize > handle.size:
            raise ValueError(f"the directory of page {len(seen) - 1} is beyond the end of the file: it is truncated")
        tags = handle.read(entries * layout.tagsize)
        for at in range(0, len(tags), layout.tagsize):
            code, kind = struct.unpack_from(layout.byteorder + "HH", tags, at)
            count, value = struct.unpack_from(layout.byteorder + layout.offsetformat[-1] * 2, tags, at + 4)
            size = count * _TYPE_BYTES.get(kind, 1)
            if code in _NEEDED_TAGS and size > layout.offsetsize and value + size > handle.size:
                raise ValueError(f"tag {code} of page {len(seen) - 1} is beyond the end of the file: it is truncated")
