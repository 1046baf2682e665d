"""Decodes still images: PNG, JPEG, BMP, WebP and Netpbm, plain or gzipped."""

import gzip
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from framecast.clips import image_codec
from framecast.clips.convert.sources.images import netpbm
from framecast.clips.convert.sources.images.colours import CMYK_NOTE, Still, compose
from framecast.clips.convert.sources.images.orientation import EXIF_TAG, turn_upright
from framecast.clips.convert.sources.source import BadSource

READ_ERRORS = Exception  # Decoders raise arbitrary exceptions on damaged files.
_GZIP_MAGIC = b"\x1f\x8b"
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
_HEAD = 1 << 16  # Bytes that have the header of an image; an animated PNG says so before its pixels.


def read_data(path: str) -> bytes:
    """Reads a file, and unpacks gzip.

    Raises:
        BadSource: If the file cannot be read or unpacked.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
        return gzip.decompress(data) if data.startswith(_GZIP_MAGIC) else data
    except READ_ERRORS as error:
        raise BadSource(path, f"cannot read the image: {error}") from error


def open_data(path: str) -> Any:
    """Returns the path of a plain file, or the unpacked bytes of a gzipped one as a file.

    Raises:
        BadSource: If the file cannot be unpacked.
    """
    return io.BytesIO(read_data(path)) if path.lower().endswith(".gz") else path


def read_head(path: str) -> bytes:
    """Returns the first 64 KiB of a file, unpacked if gzipped; less if the file is damaged."""
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            return gzip.GzipFile(fileobj=file).read(_HEAD) if zipped else file.read(_HEAD)
    except READ_ERRORS:
        return b""


def is_tiff(head: bytes) -> bool:
    """Returns whether a file that starts with `head` is a TIFF or BigTIFF."""
    return head.startswith(_TIFF_MAGIC)


def is_animated_png(head: bytes) -> bool:
    """Returns whether a file that starts with `head` is an animated PNG of more than one frame."""
    before_pixels = head.partition(b"IDAT")[0]
    at = before_pixels.find(b"acTL") if head.startswith(_PNG_MAGIC) else -1
    return at > 0 and int.from_bytes(head[at + 4 : at + 8], "big") > 1


def is_bilevel_png(head: bytes) -> bool:
    """Returns whether a file that starts with `head` is a PNG of 1 bit, black and white."""
    return head.startswith(_PNG_MAGIC) and head[24:26] == b"\1\0"


def is_animated_webp(head: bytes) -> bool:
    """Returns whether a file that starts with `head` is an animated WebP."""
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and any(flags & 2 for flags in head[20:21])


def decode_still(path: str, data: bytes, keep_alpha: bool) -> Iterator[Still]:
    """Yields the images in a file; only Netpbm files may have several.

    Raises:
        BadSource: If the file cannot be read.
    """
    try:
        if is_animated_png(data) or is_animated_webp(data):
            raise ValueError("expected a still image, as the files before it, received an animation; convert it alone")
        if netpbm.is_netpbm(data):
            for values in netpbm.read_images(data):
                yield Still(values)
            return
        from PIL import Image, UnidentifiedImageError

        try:
            opened = Image.open(io.BytesIO(data))
        except UnidentifiedImageError:
            if data.startswith(_PNG_MAGIC):
                image_codec.read_header(data)  # Says what is damaged.
            start = data[:8].hex(" ")
            raise ValueError(f"unknown format or damaged header, {len(data)} bytes that start with {start}") from None
        with opened as image:
            still = _decode(data, image, keep_alpha)
            # Pillow decodes a PNG once more to look for EXIF after the pixels.
            exif = b"eXIf" in data or not data.startswith(_PNG_MAGIC)
            orientation = image.getexif().get(EXIF_TAG, 1) if exif else 1
        yield Still(turn_upright(still.values, orientation), still.notes)
    except READ_ERRORS as error:
        raise BadSource(path, f"cannot read the image: {error}") from error


def _decode(data: bytes, image: Any, keep_alpha: bool) -> Still:
    png = data.startswith(_PNG_MAGIC)
    if png and image.mode == "P":
        for _ in image_codec.png_chunks(data):  # Pillow skips the checksums of the pixels.
            pass
    if not (png and image.mode != "P") and not (data.startswith(_JPEG_MAGIC) and image.mode in ("L", "RGB")):
        return from_pillow(image, keep_alpha)
    # Unlike Pillow, image_codec checks a PNG's checksums and keeps 16 bits of several channels.
    header = image_codec.read_header(data)
    keyed = "transparency" in image.info
    if header.depth == 1 or (keyed and header.depth < 16):
        return from_pillow(image, keep_alpha)
    values = image_codec.decode(data, header)
    if keyed:
        key = np.asarray(image.info["transparency"], values.dtype)
        alpha = np.where((values == key).all(-1, keepdims=True), 0, np.iinfo(values.dtype).max)
        return compose(np.concatenate([values, alpha.astype(values.dtype)], axis=-1), keep_alpha)
    return compose(values, keep_alpha) if header.channels in (2, 4) else Still(values)


def from_pillow(image: Any, keep_alpha: bool) -> Still:
    """Converts a Pillow image: palettes to RGB, CMYK to RGB, 1 bit to 0 and 255, transparency to black."""
    notes: tuple[str, ...] = ()
    mode = image.mode
    if mode in ("PA", "RGBa") or (mode in ("P", "L", "RGB", "1") and "transparency" in image.info):
        gray = mode in ("L", "1")
        image = image.convert("RGBA")
        still = compose(np.asarray(image), keep_alpha)
        return Still(still.values[..., :1], still.notes) if gray and not keep_alpha else still
    if mode in ("LA", "RGBA"):
        return compose(np.asarray(image), keep_alpha)
    if mode in ("P", "CMYK", "YCbCr", "1", "RGBX", "LAB", "HSV"):
        notes = (CMYK_NOTE,) if mode == "CMYK" else ()
        image = image.convert("L" if mode == "1" else "RGB")
    values = np.asarray(image)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return Still(values[..., None] if values.ndim == 2 else values, notes)
