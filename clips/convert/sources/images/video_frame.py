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


def upright_frame(frame: Any, keep_alpha: bool) -> Still:
    """Returns the pixels of a PyAV frame, 8 or 16 bits, turned by the frame's display matrix.

    Args:
        frame: The frame.
        keep_alpha: Whether alpha is a channel; by default transparent pixels are shown on black.

    Raises:
        ValueError: If the frame is turned by another angle than a multiple of 90 degrees.
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
    matrices = [data for data in frame.side_data if data.type.name == "DISPLAYMATRIX"]
    orientation = matrix_orientation(bytes(matrices[0])) if matrices else 1
    return Still(turn_upright(still.values, orientation), still.notes)
