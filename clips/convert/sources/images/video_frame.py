"""Converts decoded video frames to arrays: gray or RGB, composited and upright."""

from typing import Any

from framecast.clips.convert.sources.images.colours import Still, compose
from framecast.clips.convert.sources.images.orientation import matrix_orientation, turn_upright

_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def decoder_of(stream: Any) -> Any:
    """Returns the decoder of a PyAV stream; libvpx for WebM with alpha, which FFmpeg's own decoders leave out."""
    import av

    name = _ALPHA_DECODERS.get(stream.codec_context.name)
    if name is None or stream.metadata.get("alpha_mode") != "1":
        return stream.codec_context
    return av.CodecContext.create(name, "r")


def _name_unknown_side_data() -> None:
    """Makes PyAV accept side data that its list of types lacks, such as EXIF, instead of failing on the frame."""
    from av.sidedata.sidedata import Type

    def unknown(types: Any, value: int) -> Any:
        member = object.__new__(types)
        member._name_, member._value_ = f"UNKNOWN_{value}", value
        return member

    Type._missing_ = classmethod(unknown)  # type: ignore[assignment]


def frame_orientation(frame: Any) -> int | None:
    """Returns the EXIF orientation of a PyAV frame by its display matrix; None if it has none.

    Raises:
        ValueError: If the frame is turned by another angle than a multiple of 90 degrees.
    """
    _name_unknown_side_data()
    matrices = [data for data in frame.side_data if data.type.name == "DISPLAYMATRIX"]
    return matrix_orientation(bytes(matrices[0])) if matrices else None


def upright_frame(frame: Any, keep_alpha: bool, orientation: int) -> Still:
    """Returns the pixels of a PyAV frame, 8 or 16 bits, turned upright.

    Args:
        frame: The frame.
        keep_alpha: Whether alpha is a channel; by default transparent pixels are shown on black.
        orientation: EXIF orientation of the frame.
    """
    components = frame.format.components
    deep = components[0].bits > 8
    # A palette, as of an animated PNG, may have transparent colours.
    transparent = frame.format.has_palette or any(each.is_alpha for each in components)
    if transparent:
        still = compose(frame.to_ndarray(format="rgba64le" if deep else "rgba"), keep_alpha)
    elif len(components) == 1:
        still = Still(frame.to_ndarray(format="gray16le" if deep else "gray")[..., None])
    else:
        still = Still(frame.to_ndarray(format="rgb48le" if deep else "rgb24"))
    return Still(turn_upright(still.values, orientation), still.notes)
