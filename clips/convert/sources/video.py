"""Reads video files of any format that FFmpeg decodes, through PyAV."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from framecast.clips.convert.sources.source import BadSource, Frame, Recording

SUFFIXES = (".mp4", ".mkv", ".avi", ".gif", ".mov", ".webm", ".m4v", ".mpg", ".mpeg")
_MICROSECONDS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Video:
    """The first video stream of a file."""

    name: str
    files: tuple[str, ...]

    def recordings(self) -> Iterator[Recording]:
        """Yields the video as one recording."""
        import av

        (path,) = self.files
        try:
            container = av.open(path)
        except (av.FFmpegError, OSError) as error:
            raise BadSource(path, f"cannot open the video: {error}") from error
        with container:
            if not container.streams.video:
                raise BadSource(path, "expected a video stream, received none")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = stream.average_rate or stream.guessed_rate
            time_base = stream.time_base
            yield Recording(
                self.name,
                _frames(path, container, stream),
                rate=float(rate) if rate else None,
                resolution=float(time_base) * _MICROSECONDS if time_base else 0.0,
            )


def _frames(path: str, container: Any, stream: Any) -> Iterator[Frame]:
    import av

    index = 0
    try:
        for frame in container.decode(stream):
            place = f"{path}, frame {index}"
            if frame.pts is None:
                raise BadSource(place, "the frame has no timestamp")
            if frame.is_corrupt:
                raise BadSource(place, "FFmpeg reports a corrupt frame")
            components = frame.format.components
            depth = "48le" if components[0].bits > 8 else "24"
            layout = "gray" if len(components) == 1 and not frame.format.has_palette else f"rgb{depth}"
            if layout == "gray" and components[0].bits > 8:
                layout = "gray16le"
            values = frame.to_ndarray(format=layout)
            # time_base is an exact fraction; floats would drift in long videos.
            time = round(frame.pts * stream.time_base * _MICROSECONDS)
            yield Frame(values[..., None] if values.ndim == 2 else values, time, place)
            index += 1
    except av.FFmpegError as error:
        raise BadSource(f"{path}, frame {index}", f"cannot decode the frame: {error}") from error
    declared = stream.frames or _declared_frames(container, stream)
    if index < declared:
        raise BadSource(path, f"expected {declared} frames (header), received {index}")


def _declared_frames(container: Any, stream: Any) -> int:
    """Returns a lower bound on the frame count from the duration, because a truncated file ends without an error."""
    if not container.duration or not stream.average_rate or len(container.streams) > 1:
        return 0  # The duration is that of the longest stream.
    # Containers round the duration, and only some include the last frame's display time.
    return int(0.99 * container.duration / _MICROSECONDS * stream.average_rate) - 1
