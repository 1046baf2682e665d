"""Reads video files of any format that FFmpeg decodes, through PyAV."""

import collections
import dataclasses
import heapq
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from framecast.clips.convert.sources.images.still import open_data
from framecast.clips.convert.sources.images.video_frame import decoder_of, frame_orientation, upright_frame
from framecast.clips.convert.sources.source import BadSource, Frame, Recording
from framecast.clips.convert.sources.truncation import find_missing_end

SUFFIXES = (".mp4", ".mkv", ".avi", ".gif", ".mov", ".webm", ".m4v", ".mpg", ".mpeg")
_MICROSECONDS = 1_000_000
_SIMILAR = 0.2  # Relative difference of two estimates of one rate.
HIDDEN = "frames hidden by a video's edit list"
NO_KEYFRAME = "frames before a video's first keyframe"
DEPENDENT = "frames that depend on a damaged frame, up to the next keyframe"
NOT_LATER = "frames whose time is not after that of the frame before"
RESTARTED = "frames after times that start again, counted on from the frame before"
_HELD = 16  # B-frames at most between two other frames; H.264 allows 16.
_RESTART = 1  # Seconds; times that go back further start again, as in files that were joined.


@dataclasses.dataclass(frozen=True)
class Video:
    """The first video stream of a file.

    Args:
        name: Name of the source.
        files: The file.
        keep_alpha: Whether alpha is a channel.
        keep_hidden: Whether to read frames that an edit list hides.
    """

    name: str
    files: tuple[str, ...]
    keep_alpha: bool = False
    keep_hidden: bool = False

    def recordings(self) -> Iterator[Recording]:
        """Yields the video as one recording."""
        import av

        (path,) = self.files
        try:
            container = av.open(open_data(path), options={"ignore_editlist": "1"} if self.keep_hidden else {})
        except (av.FFmpegError, OSError) as error:
            raise BadSource(path, f"cannot open the video: {error}") from error
        with container:
            if not container.streams.video:
                raise BadSource(path, "expected a video stream, received none")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = _nominal_rate(stream)
            left_out: collections.Counter[str] = collections.Counter()
            recording = Recording(
                self.name,
                iter(()),
                rate=float(rate) if rate else None,
                # AVI counts frames, so its times are exact.
                resolution=0.0 if container.format.name == "avi" else float((stream.time_base or 0) * _MICROSECONDS),
                left_out=left_out,
            )
            decoder = _Decoder(path, container, stream, self.keep_alpha, recording)
            recording.frames = decoder.frames()
            yield recording


def _nominal_rate(stream: Any) -> Fraction | None:
    """Returns FFmpeg's guess, the lowest rate that has all timestamps, unless jitter makes it much too high."""
    guess, average = stream.guessed_rate, stream.average_rate
    return guess if guess and (not average or abs(guess / average - 1) <= _SIMILAR) else average


class _Decoder:
    """Decodes one stream in display order, and counts the frames that are not shown."""

    def __init__(self, path: str, container: Any, stream: Any, keep_alpha: bool, recording: Recording):
        self._path = path
        self._container = container
        self._stream = stream
        self._codec = decoder_of(stream)
        self._keep_alpha = keep_alpha
        self._recording = recording
        self._left_out = recording.left_out
        self._times: list[int] = []  # Heap of the times of packets whose frames are not decoded yet.
        self._packets = 0
        self._leading = 0  # Packets before the first keyframe.
        self._hidden = 0
        self._index = 0
        self._before: Fraction | None = None  # Time of the last frame, in ticks.
        self._shift = Fraction(0)  # Added to times that started again, in ticks.
        self._damaged: set[int] = set()  # Times of the packets that FFmpeg reports as damaged.
        self._waiting = False  # For a keyframe, after a damaged frame.
        self._held: list[Any] = []  # B-frames, which may depend on the next frame that is none.
        self._format = container.format.name
        self._orientation: int | None = None  # Of the first frame of an animated PNG.

    def frames(self) -> Iterator[Frame]:
        """Yields the frames.

        Raises:
            BadSource: If a frame cannot be decoded, or the end of the file is missing.
        """
        import av

        missing = find_missing_end(self._path, self._format)
        try:
            for packet in self._container.demux(self._stream):
                if missing is not None and self._packets == missing.whole_frames:
                    yield from self._shown(self._decoded(None))
                    raise BadSource(self._place(), missing.message)
                # AVI marks a dropped frame by an empty packet; the last packet, without a time, flushes the decoder.
                if packet.size or packet.dts is None:
                    self._count(packet)
                    yield from self._shown(self._decoded(packet))
        except av.FFmpegError as error:
            raise BadSource(self._place(), f"cannot read the next frame: {error}") from error
        yield from self._released()
        if self._damaged:
            self._skip("FFmpeg reports a damaged packet")
        is_mp4 = "mov" in self._format
        complete = is_mp4 and self._packets == self._stream.frames
        if missing is not None and not complete:
            raise BadSource(self._path, missing.message)
        if not self._index:
            raise BadSource(self._path, f"expected frames, decoded none of {self._packets} packets")
        # FFmpeg reads no packets of an MP4's hidden groups of pictures, which its header counts.
        self._left_out[HIDDEN] += self._hidden + (max(self._stream.frames - self._packets, 0) if is_mp4 else 0)
        self._left_out[NO_KEYFRAME] += max(min(self._leading, self._packets - self._hidden - self._index), 0)

    def _place(self) -> str:
        return f"{self._path}, frame {self._index}"

    def _count(self, packet: Any) -> None:
        if not packet.size:
            return
        self._leading += packet.is_keyframe is False and self._leading == self._packets
        self._packets += 1
        self._hidden += packet.is_discard
        time = packet.pts if packet.pts is not None and self._format != "avi" else packet.dts
        if time is not None and not packet.is_discard:
            heapq.heappush(self._times, time)
        if packet.is_corrupt and time is not None:
            self._damaged.add(time)

    def _decoded(self, packet: Any) -> Iterator[Any]:
        """Yields the frames of a packet, or the last frames; continues after a packet that cannot be decoded."""
        import av

        while True:
            try:
                yield from self._codec.decode(packet)
            except av.EOFError:
                return
            except av.FFmpegError as error:
                yield from self._released()
                if self._times and self._format == "avi":
                    heapq.heappop(self._times)
                self._damaged.clear()
                self._skip(f"cannot decode the frame: {error}")
                if packet is None or packet.size == 0:
                    packet = None
                    continue
            return

    def _skip(self, message: str) -> None:
        """Reports a damaged frame. Frames are left out up to the next keyframe, because they may depend on it."""
        self._recording.skip(BadSource(self._place(), message))
        self._index += 1
        self._waiting = True

    def _shown(self, decoded: Iterable[Any]) -> Iterator[Frame]:
        """Yields the frames to keep; holds B-frames, whose reference is shown after them."""
        from av.video.frame import PictureType

        for frame in decoded:
            # The times of AVI packets are in decoding order; sorted, they are those of the frames in display order.
            earliest = heapq.heappop(self._times) if self._times else None
            pts = earliest if frame.pts is None or self._format == "avi" else frame.pts
            is_reference = frame.pict_type != PictureType.B
            if frame.is_corrupt or pts in self._damaged:
                self._damaged.discard(pts)
                held, self._held = self._held, []
                # B-frames of one group may depend on each other.
                self._left_out[DEPENDENT] += len(held)
                self._index += len(held)
                if not self._waiting or frame.key_frame:
                    self._skip("FFmpeg reports a corrupt frame")
                    continue
            elif frame.key_frame:
                self._waiting = False
            if self._waiting:
                self._left_out[DEPENDENT] += 1
                self._index += 1
                continue
            self._held.append((frame, pts))
            if is_reference or len(self._held) > _HELD:
                yield from self._released()

    def _released(self) -> Iterator[Frame]:
        held, self._held = self._held, []
        for frame, pts in held:
            if pts is None:
                raise BadSource(self._place(), "the frame has no timestamp")
            ticks = self._later(self._ticks(pts))
            if ticks is not None:
                yield self._converted(frame, ticks)
            self._index += 1

    def _later(self, ticks: Fraction) -> Fraction | None:
        """Returns the time of a frame, which continues where times start again; None if it is not later."""
        ticks += self._shift
        if self._before is not None and ticks <= self._before:
            second = 1 / self._stream.time_base
            if self._before - ticks < _RESTART * second:
                self._left_out[NOT_LATER] += 1
                return None
            rate = self._stream.guessed_rate or self._stream.average_rate or 1
            # Two intervals later, so that clips end here.
            follow = self._before + 2 / (rate * self._stream.time_base)
            self._shift += follow - ticks
            ticks = follow
        self._left_out[RESTARTED] += self._shift != 0
        self._before = ticks
        return ticks

    def _converted(self, frame: Any, ticks: Fraction) -> Frame:
        try:
            orientation = frame_orientation(frame)
            if self._format == "apng":  # FFmpeg has it with the first frame alone.
                orientation = self._orientation = orientation or self._orientation
            image = upright_frame(frame, self._keep_alpha, orientation or 1)
        except ValueError as error:
            raise BadSource(self._place(), str(error)) from error
        # time_base is an exact fraction; floats would drift in long videos.
        time = round(ticks * self._stream.time_base * _MICROSECONDS)
        return Frame(image.values, time, self._place(), None, image.notes)

    def _ticks(self, pts: int) -> Fraction:
        """Returns the time of a frame; an MPEG program stream has times of blocks, up to a frame off."""
        rate = self._stream.guessed_rate
        if self._format != "mpeg" or self._before is None or not rate:
            return Fraction(pts)
        expected = self._before - self._shift + 1 / (rate * self._stream.time_base)
        return expected if abs(pts - expected) < 1.5 / (rate * self._stream.time_base) else Fraction(pts)
