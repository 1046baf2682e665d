"""Tests that damaged frames and times that go back cost only what depends on them."""

import av
import numpy as np
import pytest

from framecast.clips.convert.sources.source import BadSource
from framecast.clips.convert.sources.video import DEPENDENT, NOT_LATER, RESTARTED, Video

_RNG = np.random.default_rng(0)


def _write(path, codec="libx264", bframes=2):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 12, bframes
        for _ in range(60):
            pixels = _RNG.integers(0, 256, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def _pixels(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _read(path, skip=True):
    recordings = Video("a", (str(path),)).recordings()
    recording = next(recordings)  # The file is open until the next one.
    errors = []
    if skip:
        recording.skip = errors.append
    return list(recording.frames), errors, recording.left_out


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4")])
@pytest.mark.parametrize("bframes", [0, 2])
def test_damaged_middle_is_named_and_left_out(tmp_path, name, codec, bframes):
    path = _write(tmp_path / name, codec, bframes)
    whole = _pixels(path)
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][30]
        half = packet.size // 2
        # The header of an H.264 unit, after its size and type; other damage may decode without an error.
        start, damage = (packet.pos + 5, b"\xff" * 24) if codec == "libx264" else (packet.pos + half, bytes(half))
    data = bytearray(path.read_bytes())
    data[start : start + len(damage)] = damage
    path.write_bytes(data)
    with pytest.raises(BadSource, match=rf"{name}, frame (2[5-9]|3[0-5]): "):
        _read(path, skip=False)
    frames, errors, left_out = _read(path)
    assert 45 <= len(frames) == 60 - len(errors) - left_out[DEPENDENT] < 60
    for frame in frames:
        assert np.array_equal(frame.values, whole[round(frame.time / 40_000)])


@pytest.mark.parametrize("shift", [40, 80])
def test_frame_out_of_time_is_counted(tmp_path, shift):
    whole = _write(tmp_path / "whole.mkv", bframes=0)
    path = tmp_path / "a.mkv"
    with av.open(str(whole)) as old, av.open(str(path), "w") as new:
        target = new.add_stream_from_template(old.streams.video[0])
        for index, packet in enumerate(old.demux(video=0)):
            if packet.dts is not None:
                packet.pts, packet.stream = packet.pts + (shift if index == 20 else 0), target
                new.mux(packet)
    frames, errors, left_out = _read(path)
    assert (len(frames), errors, left_out[NOT_LATER]) == (60 - shift // 40, [], shift // 40)
    assert np.all(np.diff([frame.time for frame in frames]) > 0)


def test_joined_files_keep_all_frames(tmp_path):
    path = _write(tmp_path / "a.mpg", "mpeg2video")
    path.write_bytes(path.read_bytes() * 2)
    assert len(_pixels(path)) == 120
    frames, errors, left_out = _read(path)
    spacings = np.diff([frame.time for frame in frames])
    assert (len(frames), errors, left_out[RESTARTED]) == (120, [], 60)
    assert (spacings == 40_000).sum() == 118
    assert spacings[59] == 80_000
