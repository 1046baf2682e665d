"""Frames to `tf.train.SequenceExample` and back, by the MediaSequence convention.

    example = encode_clip(frames, example_id="a-0", media_id="a", frame_rate=10.0)
    frames = decode_frames(example, spec)  # (time, height, width, channel)
"""

import io
import struct
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from framecast.schemas import features
from framecast.schemas.spec import MAX_FRAME_PIXELS, ClipSpec

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
# Channels by PNG colour type: gray, RGB, gray + alpha, RGBA. A palette (3) has no pixel values.
_PNG_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
_COLORSPACES = {1: "GRAY", 2: "LA", 3: "RGB", 4: "RGBA"}


class BadClip(ValueError):
    """A clip that breaks the contract; the message names clip, frame, what was expected and what came.

    Args:
        reason: Short code of the fault, such as `unreadable-frame`.
        message: Expected and received.
        clip: The clip's `example/id`; empty where it is unknown.
        frame: Index of the frame at fault, if it is one frame's fault.
    """

    def __init__(self, reason: str, message: str, *, clip: str = "", frame: int | None = None):
        where = [f"clip {clip}"] if clip else []
        where += [f"frame {frame}"] if frame is not None else []
        super().__init__(": ".join([", ".join(where), message]) if where else message)
        self.reason = reason
        self.clip = clip
        self.frame = frame


def encode_clip(
    frames: np.ndarray,
    *,
    example_id: str,
    media_id: str,
    frame_rate: float,
    timestamps: Sequence[int] | None = None,
) -> tf.train.SequenceExample:
    """Writes a clip without loss: PNG of 8 or 16 bits, or RAW for float32 and for more than 4 channels.

    Args:
        frames: `(time, height, width, channel)` uint8, uint16 or float32 in [0, 1].
        example_id: Name of the clip, unique in a data set.
        media_id: The recording that the clip was cut from.
        frame_rate: Frames a second.
        timestamps: Microseconds of each frame; from 0 at the frame rate unless given.

    Raises:
        ValueError: When rank or dtype of `frames` is not one of these.
    """
    if frames.ndim != 4 or frames.dtype.name not in ("uint8", "uint16", "float32"):
        raise ValueError(
            "frames: expected (time, height, width, channel) in uint8, uint16 or float32, "
            f"received shape {frames.shape} in {frames.dtype}"
        )
    _, height, width, channels = frames.shape
    raw = frames.dtype == np.float32 or channels > 4
    example = tf.train.SequenceExample()
    context = example.context.feature
    for name, text in (
        (features.MEDIA_ID, media_id),
        (features.EXAMPLE_ID, example_id),
        (features.FORMAT, "RAW" if raw else "PNG"),
        (features.COLORSPACE, _COLORSPACES.get(channels, "RAW")),
    ):
        context[name].bytes_list.value.append(text.encode())
    if raw:
        context[features.RAW_DTYPE].bytes_list.value.append(frames.dtype.name.encode())
    for name, number in ((features.HEIGHT, height), (features.WIDTH, width), (features.CHANNELS, channels)):
        context[name].int64_list.value.append(number)
    context[features.FRAME_RATE].float_list.value.append(frame_rate)
    if timestamps is None:
        timestamps = [round(1e6 * number / frame_rate) for number in range(len(frames))]
    encoded = example.feature_lists.feature_list[features.ENCODED]
    times = example.feature_lists.feature_list[features.TIMESTAMP]
    for frame, timestamp in zip(frames, timestamps, strict=True):
        data = frame.astype(frame.dtype.newbyteorder("<")).tobytes() if raw else _png(frame)
        encoded.feature.add().bytes_list.value.append(data)
        times.feature.add().int64_list.value.append(timestamp)
    return example


def decode_frames(example: tf.train.SequenceExample, spec: ClipSpec) -> np.ndarray:
    """Decodes all frames, checking each header before its pixels.

    Returns:
        `(time, height, width, channel)` in `spec.dtype`.

    Raises:
        BadClip: With reason `unreadable-frame`, `wrong-format`, `wrong-channels`, `wrong-depth` or `wrong-size`.
    """
    clip = text_of(example, features.EXAMPLE_ID)
    declared = text_of(example, features.FORMAT) or "PNG"
    allowed = ("RAW",) if spec.raw else ("PNG", "JPEG")
    if declared.upper() not in allowed:
        raise BadClip(
            "wrong-format", f"{features.FORMAT}: expected {' or '.join(allowed)}, received {declared}", clip=clip
        )
    frames: list[np.ndarray] = []
    for number, feature in enumerate(example.feature_lists.feature_list[features.ENCODED].feature):
        (data,) = feature.bytes_list.value
        try:
            size = _raw_size(example, data, spec) if spec.raw else _image_size(data, spec)
            _check_size(size, example, spec, frames)
            frames.append(_decode_raw(data, size, spec) if spec.raw else _decode_image(data, spec))
        except BadClip as error:
            raise BadClip(error.reason, str(error), clip=clip, frame=number) from error
    return np.stack(frames)


def text_of(example: tf.train.SequenceExample, name: str) -> str:
    """Returns a bytes value of the context as text, empty when there is none."""
    feature = example.context.feature
    values = feature[name].bytes_list.value if name in feature else ()
    return values[0].decode(errors="replace") if values else ""


def _png(frame: np.ndarray) -> bytes:
    stream = io.BytesIO()
    if frame.dtype == np.uint16 and frame.shape[-1] != 1:
        raise ValueError(f"frames: expected 1 channel for uint16 PNG, received {frame.shape[-1]}")
    Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame).save(stream, "PNG")
    return stream.getvalue()


def _image_size(data: bytes, spec: ClipSpec) -> tuple[int, int]:
    """Returns `(height, width)` from the header, after holding channels and bit depth against the contract."""
    if data[:8] == _PNG_MAGIC and len(data) > 33:
        width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
        channels = _PNG_CHANNELS.get(colour, 0)
    elif data[:3] == _JPEG_MAGIC:
        try:
            with Image.open(io.BytesIO(data)) as image:
                (width, height), channels, depth = image.size, len(image.getbands()), 8
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise BadClip("unreadable-frame", f"expected a JPEG, received: {error}") from error
    else:
        raise BadClip("unreadable-frame", f"expected a PNG or JPEG, received {len(data)} bytes that are neither")
    expected = 8 * np.dtype(spec.dtype).itemsize
    if channels != spec.channels:
        received = f"{channels}" if channels else "a palette"
        raise BadClip("wrong-channels", f"expected {spec.channels} channels, received {received}")
    if depth != expected:
        raise BadClip("wrong-depth", f"expected {expected} bits ({spec.dtype}), received {depth}")
    return height, width


def _raw_size(example: tf.train.SequenceExample, data: bytes, spec: ClipSpec) -> tuple[int, int]:
    dtype = text_of(example, features.RAW_DTYPE)
    if dtype != spec.dtype:
        raise BadClip("wrong-depth", f"{features.RAW_DTYPE}: expected {spec.dtype}, received {dtype or 'none'}")
    size = tuple(_declared(example, name) or 0 for name in (features.HEIGHT, features.WIDTH))
    expected = size[0] * size[1] * spec.channels * np.dtype(spec.dtype).itemsize
    if len(data) != expected:
        raise BadClip(
            "unreadable-frame",
            f"expected {expected} bytes for {size[0]}x{size[1]}x{spec.channels} {spec.dtype}, received {len(data)}",
        )
    return size[0], size[1]


def _declared(example: tf.train.SequenceExample, name: str) -> int | None:
    feature = example.context.feature
    values = feature[name].int64_list.value if name in feature else ()
    return values[0] if values else None


def _check_size(
    size: tuple[int, int], example: tf.train.SequenceExample, spec: ClipSpec, before: list[np.ndarray]
) -> None:
    expectations = (
        ("the configuration", (spec.height, spec.width)),
        (f"{features.HEIGHT} and {features.WIDTH}", tuple(_declared(example, n) for n in (features.HEIGHT, features.WIDTH))),
        ("the first frame", before[0].shape[:2] if before else (None, None)),
    )
    for source, expected in expectations:
        if any(value is not None and value != received for value, received in zip(expected, size)):
            wanted = "x".join("any" if value is None else str(value) for value in expected)
            raise BadClip("wrong-size", f"expected height x width {wanted} by {source}, received {size[0]}x{size[1]}")
    if not 0 < size[0] * size[1] <= MAX_FRAME_PIXELS:
        raise BadClip("wrong-size", f"expected 1 to {MAX_FRAME_PIXELS} pixels, received {size[0]}x{size[1]}")


def _decode_image(data: bytes, spec: ClipSpec) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as image:
            array = np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadClip("unreadable-frame", f"expected a whole image, received one that does not decode: {error}") from error
    # Pillow's modes for 1 and 16 bits have dtypes of their own.
    return array.astype(spec.dtype).reshape(*array.shape[:2], spec.channels)


def _decode_raw(data: bytes, size: tuple[int, int], spec: ClipSpec) -> np.ndarray:
    array = np.frombuffer(data, np.dtype(spec.dtype).newbyteorder("<")).reshape(*size, spec.channels)
    if spec.dtype == "float32":
        known = array if spec.missing is None else array[array != spec.missing]
        if not np.all((known >= 0) & (known <= 1)):
            raise BadClip("bad-value", f"expected float32 in [0, 1], received {np.min(known)} to {np.max(known)}")
    return array.astype(spec.dtype)
