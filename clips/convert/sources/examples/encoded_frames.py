"""Decodes the frames in TFRecords: encoded images or raw pixels."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from framecast.clips import image_codec
from framecast.clips.convert.sources.images.still import decode_still
from framecast.clips.convert.sources.source import BadSource, Frame
from framecast.schemas.clip_spec import DType

_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"P4", b"P5", b"P6")
_PLAIN_CHANNELS = (1, 3)  # Of uint8 pixels: gray and RGB, if no dtype is given.


@dataclasses.dataclass(frozen=True)
class RawPixels:
    """Format of frames that are stored as raw little-endian pixels, `(height, width, channel)`.

    Args:
        height: In pixels.
        width: In pixels.
        dtype: Type of a value; None for uint8 if the frames are gray or RGB then.
        channels: Channels per pixel; by default from the number of bytes.
    """

    height: int
    width: int
    dtype: DType | None = None
    channels: int | None = None

    def decode(self, place: str, data: bytes) -> np.ndarray:
        """Returns one frame.

        Raises:
            BadSource: If the number of bytes does not match.
        """
        size = np.dtype(self.dtype or "uint8").itemsize
        pixels = self.height * self.width
        channels, rest = divmod(len(data), pixels * size)
        wanted = f"{self.height}x{self.width} pixels (--raw-size)"
        if rest or not channels:
            received = f"received {len(data)} bytes, {len(data) / pixels:g} a pixel"
            raise BadSource(place, f"expected {wanted} of {self.dtype or 'uint8'} (--raw-dtype), {received}")
        if self.channels is not None and channels != self.channels:
            expected = f"expected {wanted} of {self.channels} channels (--raw-channels)"
            raise BadSource(place, f"{expected}, received {len(data)} bytes, {channels} channels")
        if self.dtype is None and self.channels is None and channels not in _PLAIN_CHANNELS:
            raise BadSource(
                place,
                f"{channels} bytes a pixel can be uint8, uint16 or float32 of several channels; "
                "give --raw-dtype or --raw-channels",
            )
        return self._array(data, (self.height, self.width, channels))

    def split(self, place: str, data: bytes) -> Iterator[np.ndarray]:
        """Yields the frames of a value that has all frames of a recording, in order.

        Raises:
            BadSource: If the number of channels is not given, or the number of bytes does not match.
        """
        if self.channels is None:
            raise BadSource(place, "one value has all frames; give their number of channels (--raw-channels)")
        size = self.height * self.width * self.channels * np.dtype(self.dtype or "uint8").itemsize
        if len(data) % size or not data:
            raise BadSource(place, f"expected frames of {size} bytes (--raw-size), received {len(data)} bytes")
        yield from self._array(data, (-1, self.height, self.width, self.channels))

    def _array(self, data: bytes, shape: tuple[int, ...]) -> np.ndarray:
        dtype = np.dtype(self.dtype or "uint8")
        return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)


@dataclasses.dataclass(frozen=True)
class FrameDecoder:
    """Decodes frames of one record.

    Args:
        raw: Format of raw pixels; None for encoded images.
        keep_alpha: Whether alpha is a channel.
        plain: Whether channels are values without a meaning as colours, so that four of them have no alpha.
    """

    raw: RawPixels | None
    keep_alpha: bool
    plain: bool = False

    def decode(self, place: str, data: bytes, time: int | None, position: int | None = None) -> Frame:
        """Returns a frame.

        Raises:
            BadSource: If the bytes cannot be decoded.
        """
        if self.raw is not None:
            return Frame(self.raw.decode(place, data), time, place, position)
        if not data.startswith(_IMAGES):
            received = f"received {len(data)} bytes that start with {data[:8].hex(' ')}"
            raise BadSource(
                place, f"expected a PNG or JPEG image, {received}; if they are raw pixels, give --raw-size HEIGHT WIDTH"
            )
        if self.plain:
            try:
                return Frame(image_codec.decode(data, image_codec.read_header(data)), time, place, position)
            except image_codec.BadImage as error:
                raise BadSource(place, str(error)) from error
        stills = list(decode_still(place, data, self.keep_alpha))
        if len(stills) != 1:
            raise BadSource(place, f"expected one image, received {len(stills)}")
        return Frame(stills[0].values, time, place, position, stills[0].notes)
