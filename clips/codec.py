"""Encodes frames as a clip (`tf.train.SequenceExample`) and decodes them again.

    example = encode_clip(frames, example_id="storm-0", media_id="storm", frame_rate=1 / 300)
    frames = decode_frames(example, ClipSpec(frames=FrameRange(min=1, max=24)))  # (time, height, width, channel)

Frames of 1 to 4 channels in uint8 or uint16 are stored as PNG, others (more channels, float32) as RAW: little-endian
array bytes, with the dtype in the context. Both are lossless.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from framecast.clips import image_codec
from framecast.schemas import features
from framecast.schemas.clip_spec import MAX_FRAME_PIXELS, ClipSpec, PixelValue

RAW = "RAW"
_DTYPES = ("uint8", "uint16", "float32")
_COLORSPACES = {1: "GRAY", 3: "RGB", 4: "RGBA"}
_MICROSECONDS = 1_000_000


class BadClip(ValueError):
    """A clip that breaks the contract.

    Args:
        reason: Short code for this kind of fault, such as `frame-count`.
        message: The feature, the expected and the received value.
        clip: The clip's `example/id`; None if it has none.
        frame: Index of the bad frame; None if the fault is not in one frame.
    """

    def __init__(self, reason: str, message: str, clip: str | None = None, frame: int | None = None):
        super().__init__(reason, message, clip, frame)
        self.reason = reason
        self.message = message
        self.clip = clip
        self.frame = frame

    def __str__(self) -> str:
        """Returns `clip id, frame index: message`."""
        clip = "clip without example/id" if self.clip is None else f"clip {self.clip}"
        place = clip if self.frame is None else f"{clip}, frame {self.frame}"
        return f"{place}: {self.message}"


def encode_clip(
    frames: np.ndarray,
    *,
    example_id: str,
    media_id: str,
    frame_rate: float,
    timestamps: Sequence[int] | None = None,
    label_index: Sequence[int] = (),
    label_string: Sequence[str] = (),
    label_value: float | Sequence[float] | None = None,
    frame_label_index: Sequence[int] | None = None,
    frame_label_value: Sequence[float] | None = None,
    value: PixelValue | None = None,
    missing: float | None = None,
) -> tf.train.SequenceExample:
    """Encodes a clip in the MediaSequence convention, losslessly.

    Args:
        frames: `(time, height, width, channel)`, uint8, uint16 or float32.
        example_id: Name of the clip.
        media_id: Name of the recording that the clip was cut from.
        frame_rate: Frames per second.
        timestamps: `(time,)`, microseconds; by default from 0 at the frame rate.
        label_index: Class labels of the clip, as numbers.
        label_string: Class labels of the clip, as text.
        label_value: Regression label of the clip, one number or several.
        frame_label_index: `(time,)`, one class label per frame.
        frame_label_value: `(time,)`, one regression label per frame.
        value: Physical value of a pixel.
        missing: Pixel value reserved for "no data".

    Raises:
        ValueError: If an argument has a wrong shape, dtype or range.
    """
    frames = np.asarray(frames)
    _check_frames(frames, frame_rate)
    if timestamps is None:
        timestamps = [round(index * _MICROSECONDS / frame_rate) for index in range(len(frames))]
    per_frame = {
        "timestamps": timestamps,
        "frame_label_index": frame_label_index,
        "frame_label_value": frame_label_value,
    }
    for name, values in per_frame.items():
        if values is not None and len(values) != len(frames):
            raise ValueError(f"{name}: expected {len(frames)} values, one per frame, received {len(values)}")

    example = tf.train.SequenceExample()
    context = example.context.feature
    context[features.EXAMPLE_ID].bytes_list.value.append(example_id.encode())
    context[features.MEDIA_ID].bytes_list.value.append(media_id.encode())
    context[features.FRAME_RATE].float_list.value.append(frame_rate)
    if label_index:
        context[features.LABEL_INDEX].int64_list.value.extend(label_index)
    if label_string:
        context[features.LABEL_STRING].bytes_list.value.extend(label.encode() for label in label_string)
    if label_value is not None:
        context[features.LABEL_VALUE].float_list.value.extend(np.atleast_1d(label_value))
    if value is not None:
        context[features.VALUE_UNIT].bytes_list.value.append(value.unit.encode())
        context[features.VALUE_SCALE].float_list.value.append(value.scale)
        context[features.VALUE_OFFSET].float_list.value.append(value.offset)
    if missing is not None:
        context[features.MISSING].float_list.value.append(missing)
    lists = example.feature_lists.feature_list
    for index in frame_label_index or ():
        lists[features.FRAME_LABEL_INDEX].feature.add().int64_list.value.append(index)
    for number in frame_label_value or ():
        lists[features.FRAME_LABEL_VALUE].feature.add().float_list.value.append(number)
    for timestamp in timestamps:
        lists[features.TIMESTAMP].feature.add().int64_list.value.append(timestamp)
    _add_frames(example, frames)
    return example


def _check_frames(frames: np.ndarray, frame_rate: float) -> None:
    if frames.ndim != 4 or 0 in frames.shape:
        raise ValueError(
            f"frames: expected a non-empty array (time, height, width, channel), received the shape {frames.shape}"
        )
    if frames.dtype.name not in _DTYPES:
        raise ValueError(f"frames: expected {', '.join(_DTYPES[:-1])} or {_DTYPES[-1]}, received {frames.dtype}")
    if not (math.isfinite(frame_rate) and frame_rate > 0):
        raise ValueError(f"frame_rate: expected a positive number of frames per second, received {frame_rate}")


def _add_frames(example: tf.train.SequenceExample, frames: np.ndarray) -> None:
    """Adds the encoded frames, and the context features that describe their format."""
    _, height, width, channels = frames.shape
    raw = channels > 4 or frames.dtype == np.float32
    context = example.context.feature
    context[features.FORMAT].bytes_list.value.append(RAW.encode() if raw else b"PNG")
    context[features.CHANNELS].int64_list.value.append(channels)
    context[features.HEIGHT].int64_list.value.append(height)
    context[features.WIDTH].int64_list.value.append(width)
    if raw:
        context[features.RAW_DTYPE].bytes_list.value.append(frames.dtype.name.encode())
    if channels in _COLORSPACES:
        context[features.COLORSPACE].bytes_list.value.append(_COLORSPACES[channels].encode())
    encoded = example.feature_lists.feature_list[features.ENCODED]
    little_endian = frames.astype(frames.dtype.newbyteorder("<"), copy=False)
    for frame, raw_frame in zip(frames, little_endian, strict=True):
        data = raw_frame.tobytes() if raw else image_codec.encode_png(frame)
        encoded.feature.add().bytes_list.value.append(data)


def decode_frames(example: tf.train.SequenceExample, spec: ClipSpec) -> np.ndarray:
    """Decodes a clip.

    Returns:
        `(time, height, width, channel)` in the clips' dtype.

    Raises:
        BadClip: If a frame does not match `spec`, the clip's context or the first frame.
    """
    return np.stack(list(iterate_frames(example, spec)))


def iterate_frames(example: tf.train.SequenceExample, spec: ClipSpec) -> Iterator[np.ndarray]:
    """Yields the frames `(height, width, channel)` of a clip, one in memory at a time.

    Each image header is checked against `spec`, the context and the first frame before the pixels are decoded.

    Raises:
        BadClip: As for `decode_frames`.
    """
    encoded = frame_values(example, features.ENCODED, "bytes_list")
    if not encoded:
        legal = f"{spec.frames.min} to {spec.frames.max} frames"
        raise BadClip("empty-clip", f"{features.ENCODED}: expected {legal}, received 0", clip_name(example))
    decoder = _Decoder(example, spec)
    for index, data in enumerate(encoded):
        yield decoder.decode(data, index)


def clip_name(example: tf.train.SequenceExample) -> str | None:
    """Returns the clip's `example/id`; None if it has none."""
    if features.EXAMPLE_ID not in example.context.feature:
        return None
    values = example.context.feature[features.EXAMPLE_ID].bytes_list.value
    return values[0].decode(errors="replace") if values else None


def frame_size(example: tf.train.SequenceExample) -> tuple[int, int]:
    """Returns height and width of a checked clip, from its context or else from the header of its first frame."""
    height, width = (context_value(example, name, "int64_list") for name in (features.HEIGHT, features.WIDTH))
    if height is None or width is None:
        header = image_codec.read_header(frame_values(example, features.ENCODED, "bytes_list")[0])
        return header.height, header.width
    return height, width


def declared_value(example: tf.train.SequenceExample) -> PixelValue | None:
    """Returns the physical value of a pixel that the clip's context declares; None if it declares none."""
    unit = context_value(example, features.VALUE_UNIT, "bytes_list")
    scale = context_value(example, features.VALUE_SCALE, "float_list")
    offset = context_value(example, features.VALUE_OFFSET, "float_list")
    if unit is None and scale is None and offset is None:
        return None
    return PixelValue(
        unit="1" if unit is None else unit.decode(errors="replace"),
        scale=1.0 if scale is None else scale,
        offset=offset or 0.0,
    )


def context_value(example: tf.train.SequenceExample, name: str, kind: str):
    """Returns the value of a context feature of type `kind` (`bytes_list`, ...); None if the feature is missing.

    Raises:
        BadClip: If the feature has another type, or not exactly one value.
    """
    if name not in example.context.feature:
        return None
    return _only_value(example.context.feature[name], name, kind, clip_name(example), None)


def context_values(example: tf.train.SequenceExample, name: str, kind: str, count: int) -> list:
    """Returns the `count` values of a context feature of type `kind`; none if the feature is missing.

    Raises:
        BadClip: If the feature has another type or another number of values.
    """
    if name not in example.context.feature:
        return []
    return _values(example.context.feature[name], name, kind, count, clip_name(example), None)


def frame_values(example: tf.train.SequenceExample, name: str, kind: str) -> list:
    """Returns the values of a feature list, one per frame.

    Raises:
        BadClip: If the list is missing, or an entry has another type or not exactly one value.
    """
    clip = clip_name(example)
    lists = example.feature_lists.feature_list
    if name not in lists:
        raise BadClip("missing-key", f"{name}: feature list is missing; the clip has {sorted(lists) or 'none'}", clip)
    return [_only_value(feature, name, kind, clip, index) for index, feature in enumerate(lists[name].feature)]


def _only_value(feature: tf.train.Feature, name: str, kind: str, clip: str | None, frame: int | None):
    return _values(feature, name, kind, 1, clip, frame)[0]


def _values(feature: tf.train.Feature, name: str, kind: str, count: int, clip: str | None, frame: int | None) -> list:
    received = feature.WhichOneof("kind")
    if received != kind:
        raise BadClip("wrong-type", f"{name}: expected a {kind}, received {received or 'no value'}", clip, frame)
    values = getattr(feature, kind).value
    if len(values) != count:
        message = f"{name}: expected {count} value{'s' if count > 1 else ''}, received {len(values)}"
        raise BadClip("wrong-type", message, clip, frame)
    return list(values)


class _Decoder:
    """Decodes the frames of one clip in order; checks each against the contract first."""

    def __init__(self, example: tf.train.SequenceExample, spec: ClipSpec):
        self._example = example
        self._spec = spec
        self._clip = clip_name(example)
        self._format = self._declared_format()
        declared = (self._context(features.HEIGHT, "int64_list"), self._context(features.WIDTH, "int64_list"))
        # (source, height, width) that every frame must match; None matches any size.
        self._sizes: list[tuple[str, int | None, int | None]] = [
            ("in the configuration", spec.height, spec.width),
            (f"in {features.HEIGHT}, {features.WIDTH}", *declared),
        ]
        self._check_channels(features.CHANNELS, self._context(features.CHANNELS, "int64_list"), None)
        if spec.raw:
            self._raw_shape = (*self._declared_raw_size(), spec.channels)

    def decode(self, data: bytes, frame: int) -> np.ndarray:
        """Returns `(height, width, channel)` in the clips' dtype."""
        pixels = self._decode_raw(data, frame) if self._spec.raw else self._decode_image(data, frame)
        if frame == 0:
            height, width, _ = pixels.shape
            self._sizes.append(("of the first frame", height, width))
        return pixels

    def _context(self, name: str, kind: str):
        return context_value(self._example, name, kind)

    def _bad(self, reason: str, field: str, message: str, frame: int | None = None) -> BadClip:
        return BadClip(reason, f"{field}: {message}", self._clip, frame)

    def _declared_format(self) -> str | None:
        """Returns `image/format`; None if the clip does not declare it."""
        received = self._text(features.FORMAT)
        legal = (RAW,) if self._spec.raw else ("PNG", "JPEG", None)
        if received not in legal:
            expected = f"{' or '.join(filter(None, legal))} for {self._spec.channels} channels of {self._spec.dtype}"
            message = f"expected {expected}, received {received or 'no value'}"
            raise self._bad("image-format", features.FORMAT, message)
        return received

    def _declared_raw_size(self) -> tuple[int, int]:
        dtype = self._text(features.RAW_DTYPE)
        if dtype != self._spec.dtype:
            message = f"expected {self._spec.dtype}, received {dtype or 'no value'}"
            raise self._bad("dtype", features.RAW_DTYPE, message)
        _, height, width = self._sizes[1]
        for name, size in ((features.HEIGHT, height), (features.WIDTH, width)):
            if size is None or size < 1:
                message = f"expected the size of the RAW frames, received {'no value' if size is None else size}"
                raise self._bad("frame-size", name, message)
        assert height is not None
        assert width is not None
        return height, width

    def _text(self, name: str) -> str | None:
        value = self._context(name, "bytes_list")
        return None if value is None else value.decode(errors="replace")

    def _decode_image(self, data: bytes, frame: int) -> np.ndarray:
        try:
            header = image_codec.read_header(data)
            if self._format not in (None, header.format):
                message = f"expected {self._format} ({features.FORMAT}), received {header.format}"
                raise self._bad("image-format", features.ENCODED, message, frame)
            self._check_channels(features.ENCODED, header.channels, frame)
            depth = 8 * np.dtype(self._spec.dtype).itemsize
            if header.depth != depth:
                message = f"expected {depth} bits per channel ({self._spec.dtype}), received {header.depth}"
                raise self._bad("bit-depth", features.ENCODED, message, frame)
            self._check_size(header.height, header.width, frame)
            return image_codec.decode(data, header)
        except image_codec.BadImage as error:
            raise self._bad("unreadable-frame", features.ENCODED, str(error), frame) from error

    def _decode_raw(self, data: bytes, frame: int) -> np.ndarray:
        height, width, channels = self._raw_shape
        self._check_size(height, width, frame)
        dtype = np.dtype(self._spec.dtype).newbyteorder("<")
        expected = height * width * channels * dtype.itemsize
        if len(data) != expected:
            shape = f"height {height}, width {width}, {channels} channels of {self._spec.dtype}"
            message = f"expected {expected} bytes ({shape}), received {len(data)}"
            raise self._bad("raw-size", features.ENCODED, message, frame)
        return np.frombuffer(data, dtype).reshape(self._raw_shape).astype(self._spec.dtype, copy=False)

    def _check_channels(self, field: str, received: int | None, frame: int | None) -> None:
        if received not in (None, self._spec.channels):
            message = f"expected {self._spec.channels} channels, received {received}"
            raise self._bad("channels", field, message, frame)

    def _check_size(self, height: int, width: int, frame: int) -> None:
        received = f"received {height}x{width}"
        for source, expected_height, expected_width in self._sizes:
            if expected_height not in (None, height) or expected_width not in (None, width):
                expected = "x".join("any" if side is None else str(side) for side in (expected_height, expected_width))
                message = f"expected {expected} pixels (height x width {source}), {received}"
                raise self._bad("frame-size", features.ENCODED, message, frame)
        if height * width > MAX_FRAME_PIXELS:
            message = f"expected at most {MAX_FRAME_PIXELS} pixels per frame, {received}"
            raise self._bad("frame-too-large", features.ENCODED, message, frame)
