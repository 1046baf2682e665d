"""Decompresses LZW and Zstandard in TIFF by Pillow's libtiff, if tifffile's own package for them is not installed."""

import importlib.util
import io
import struct
from collections.abc import Callable
from typing import Any

_LZW, _ZSTANDARD = 5, 50000


def register() -> None:
    """Adds the decompressors to tifffile. Pillow alone would reduce 16-bit RGB to 8 bits."""
    import tifffile

    if importlib.util.find_spec("imagecodecs") is None:
        known = getattr(tifffile.TIFF.DECOMPRESSORS, "_codecs", {})
        for compression in (_LZW, _ZSTANDARD):
            known.setdefault(compression, _decompressor(compression))


def _decompressor(compression: int) -> Callable[..., bytes]:
    def decompress(data: bytes, out: int) -> bytes:
        """Returns the `out` bytes of a strip or tile."""
        from PIL import Image

        try:
            with Image.open(io.BytesIO(_as_gray_row(data, out, compression))) as image:
                return image.tobytes()
        except Exception as error:  # Decoders raise arbitrary exceptions on damaged files.
            raise ValueError(f"cannot decompress {len(data)} bytes to {out}, perhaps without imagecodecs") from error

    return decompress


def _as_gray_row(data: Any, width: int, compression: int) -> bytes:
    """Returns a TIFF of one row of 8-bit gray whose strip is `data`."""
    tags = [
        (256, width),
        (257, 1),
        (258, 8),
        (259, compression),
        (262, 1),
        (273, 0),
        (277, 1),
        (278, 1),
        (279, len(data)),
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = [struct.pack("<HHII", code, 4, 1, start if code == 273 else value) for code, value in tags]
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4) + bytes(data)
