"""Tests frames, times and rates of videos and GIFs with pauses, jitter, edit lists and reordered frames."""

import collections
import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from framecast.clips.convert import frame_times
from framecast.clips.convert.sources.source import BadSource
from framecast.clips.convert.sources.video import HIDDEN, NO_KEYFRAME, Video
from framecast.clips.convert.spec import CutSpec
from framecast.clips.convert.windowing import cut


def _write(path, times, codec="libx264", ticks=12800, rate=25, bframes=0, gop=10):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        context = stream.codec_context
        context.time_base, context.gop_size, context.max_b_frames = Fraction(1, ticks), gop, bframes
        for index, time in enumerate(times):
            pixels = np.full((48, 64, 3), index * 2, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(time * ticks), Fraction(1, ticks)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _write_gif(path, delays):
    pages = [Image.fromarray(np.full((32, 40), index * 5, np.uint8)) for index in range(len(delays))]
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=delays, loop=0)
    return path


def _remux(source, path, shift=0.0, skip=0):
    """Copies packets; a negative first time becomes an edit list."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = old.streams.video[0]
        target = new.add_stream_from_template(stream)
        ticks = round(shift / stream.time_base)
        for packet in itertools.islice(old.demux(stream), skip, None):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - ticks, packet.dts - ticks, target
                new.mux(packet)
    return path


def _cut(path, fps=None, keep_hidden=False):
    recordings = Video("a", (str(path),), keep_hidden=keep_hidden).recordings()
    recording = next(recordings)  # The file is open until the next one.
    tally = collections.Counter()
    segments = list(cut(recording, fps=fps, spec=CutSpec(frames={"min": 1, "max": 1000}), tally=tally))
    for segment in segments:
        assert np.all(np.abs(np.diff(segment.times) - 1e6 / segment.rate) <= 0.01 * 1e6 / segment.rate + 1)
    return segments, tally + recording.left_out


def _shape(segments):
    return [(round(segment.rate, 4), len(segment.frames)) for segment in segments]


def _decoded(path):
    """Returns pixels and microseconds as PyAV decodes them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        times = [round(frame.pts * stream.time_base * 10**6) for frame in frames]
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames]), times


def _pixels(segments):
    return np.stack([frame.values for segment in segments for frame in segment.frames])


@pytest.mark.parametrize(("name", "ticks"), [("a.mp4", 12800), ("a.mkv", 1000), ("a.mov", 600), ("a.avi", 25)])
def test_pause_cuts_video_into_two_runs(tmp_path, name, ticks):
    path = _write(tmp_path / name, [*np.arange(40) / 25, *(3 + np.arange(40) / 25)], codec="mpeg4", ticks=ticks)
    segments, tally = _cut(path)
    assert _shape(segments) == [(25, 40), (25, 40)]
    assert tally["gaps"] == 1
    expected, times = _decoded(path)
    assert np.array_equal(_pixels(segments), expected)
    assert [time for segment in segments for time in segment.times] == times


@pytest.mark.parametrize(
    ("delays", "rate"),
    [
        ([100, *[70, 70, 60] * 13, 70], 15),
        ([100] * 19 + [2000], 10),
        ([40] * 30 + [5000], 25),
        ([0] * 20, 10),
        ([10] * 20, 100),
        ([30, 30, 40] * 12, 30),
        ([80, 90, 80, 80] * 8, 12.1212),
    ],
)
def test_gif_is_one_run_of_all_frames(tmp_path, delays, rate):
    path = _write_gif(tmp_path / "a.gif", delays)
    (segment,), tally = _cut(path)
    expected, times = _decoded(path)
    assert len(segment.frames) == len(times) == len(delays)
    assert segment.rate == pytest.approx(rate, rel=0.02)
    assert tally["gaps"] == 0
    assert np.array_equal(_pixels([segment]), expected)
    assert np.abs(np.subtract(segment.times, times)).max() <= 0.5e6 / rate + 10_000


def test_gif_pause_is_one_gap(tmp_path):
    segments, tally = _cut(_write_gif(tmp_path / "a.gif", [100] * 9 + [2000] + [100] * 10))
    assert _shape(segments) == [(10, 10), (10, 10)]
    assert tally["gaps"] == 1


@pytest.mark.parametrize("fps", [None, 30])
@pytest.mark.parametrize("jitter", [0.001, 0.003, 0.008])
def test_jitter_keeps_all_frames_of_video(tmp_path, fps, jitter):
    path = _write(tmp_path / "a.mp4", [index / 30 + (-1) ** index * jitter for index in range(60)], rate=30)
    (segment,), tally = _cut(path, fps)
    expected, times = _decoded(path)
    assert (segment.rate, len(segment.frames), tally["gaps"]) == (30, 60, 0)
    assert np.array_equal(_pixels([segment]), expected)
    assert np.abs(np.subtract(segment.times, times)).max() <= 0.5e6 / 30


def test_rate_change_in_matroska_makes_two_runs(tmp_path):
    times = [*np.arange(60) / 30, *(2 + np.arange(50) / 5)]
    path = _write(tmp_path / "a.mkv", times, rate=30, ticks=1000)
    segments, tally = _cut(path)
    assert [rate for rate, _ in _shape(segments)] == [30, 5]
    assert np.array_equal(_pixels(segments), _decoded(path)[0])
    assert tally["gaps"] == 1
    slow, tally = _cut(path, fps=5)
    assert {rate for rate, _ in _shape(slow)} == {5}
    assert tally["frames"] == 110 == sum(count for _, count in _shape(slow)) + tally[frame_times.NOT_WANTED]


def test_ntsc_rate_in_milliseconds_is_exact(tmp_path):
    path = _write(tmp_path / "a.mkv", np.arange(120) * 1001 / 30000, rate=30, ticks=1000)
    (segment,), _ = _cut(path)
    assert segment.rate == pytest.approx(30000 / 1001, rel=1e-5)


@pytest.mark.parametrize(("shift", "shown"), [(0.6, 45), (1.2, 30), (1.6, 20), (0.04, 59)])
@pytest.mark.parametrize("bframes", [0, 2])
def test_edit_list_hides_frames_without_error(tmp_path, shift, shown, bframes):
    whole = _write(tmp_path / "whole.mp4", np.arange(60) / 25, gop=30, bframes=bframes)
    path = _remux(whole, tmp_path / "trim.mp4", shift)
    (segment,), tally = _cut(path)
    assert len(segment.frames) == len(_decoded(path)[0]) == shown
    assert tally[HIDDEN] == 60 - shown
    assert np.array_equal(_pixels([segment]), _decoded(whole)[0][60 - shown :])
    (segment,), tally = _cut(path, keep_hidden=True)
    assert np.array_equal(_pixels([segment]), _decoded(whole)[0])
    assert tally[HIDDEN] == 0


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("fps", [None, 25])
def test_avi_frames_are_in_display_order(tmp_path, codec, fps):
    path = _write(tmp_path / "a.avi", np.arange(60) / 25, codec, ticks=25, bframes=2)
    (segment,), _ = _cut(path, fps)
    assert (segment.rate, len(segment.frames)) == (25, 60)
    assert np.array_equal(_pixels([segment]), _decoded(path)[0])
    assert np.all(np.diff(_pixels([segment])[:, 24, 32, 0].astype(int)) >= -1)
    assert segment.times == [40_000 * index for index in range(60)]


# AVI has no display times: with B-frames, a gap is after the frames that are decoded before it.
@pytest.mark.parametrize(("bframes", "runs"), [(0, [20, 18, 19]), (2, [22, 18, 17])])
def test_dropped_avi_frames_are_gaps(tmp_path, bframes, runs):
    kept = [index for index in range(60) if index not in (20, 21, 40)]
    segments, tally = _cut(_write(tmp_path / "a.avi", np.divide(kept, 25), ticks=25, bframes=bframes))
    assert _shape(segments) == [(25, count) for count in runs]
    assert tally["gaps"] == 2


def test_mpeg_program_stream_is_one_run(tmp_path):
    path = _write(tmp_path / "a.mpg", np.arange(60) / 25, "mpeg2video", ticks=25, bframes=2)
    (segment,), _ = _cut(path)
    assert (segment.rate, len(segment.frames)) == (25, 60)
    assert segment.times == _decoded(path)[1]


def test_frames_before_first_keyframe_are_counted(tmp_path):
    whole = _write(tmp_path / "whole.mkv", np.arange(60) / 25, ticks=1000, gop=30)
    (segment,), tally = _cut(_remux(whole, tmp_path / "a.mkv", skip=10))
    assert tally[NO_KEYFRAME] == 50 - len(segment.frames) > 0


def test_longer_audio_is_no_truncation(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("mpeg4", rate=25), container.add_stream("aac", rate=16000)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for index in range(30):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), index, np.uint8))))
        for index in range(100):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 16000, index * 1024
            container.mux(audio.encode(sound))
        container.mux(video.encode())
        container.mux(audio.encode())
    (segment,), _ = _cut(path)
    assert len(segment.frames) == 30


def _noise(path, codec, **options):
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(40):
            pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
@pytest.mark.parametrize("name", ["start.mp4", "fragments.mp4", "a.mkv", "a.webm", "a.avi", "a.gif"])
def test_truncated_file_keeps_frames_before_cut(tmp_path, name, share):
    path = tmp_path / name
    if name == "a.gif":
        rng = np.random.default_rng(0)
        pages = [Image.fromarray(rng.integers(0, 256, (64, 64), np.uint8)) for _ in range(40)]
        pages[0].save(path, save_all=True, append_images=pages[1:], duration=40)
    else:
        codec = "libvpx" if path.suffix == ".webm" else "libx264"
        flags = {"start.mp4": "faststart", "fragments.mp4": "frag_keyframe+empty_moov"}
        _noise(path, codec, **({"movflags": flags[name]} if name in flags else {}))
    assert abs(_frames_before_cut(path, share) - 40 * share) <= 6


def _frames_before_cut(path, share):
    expected, _ = _decoded(path)
    assert len(_pixels(_cut(path)[0])) == 40
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    found = []
    recordings = Video("a", (str(path),)).recordings()
    recording = next(recordings)
    with pytest.raises(BadSource, match=rf"{path.name}.*(truncated|damaged|corrupt|cannot decode)"):
        found.extend(frame.values for frame in recording.frames)
    assert np.array_equal(found, expected[: len(found)].reshape(np.shape(found)))
    return len(found)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_truncated_program_stream_is_damaged(tmp_path, share):
    _noise(tmp_path / "a.mpg", "mpeg2video")
    assert _frames_before_cut(tmp_path / "a.mpg", share) < 40


def test_program_stream_without_padding_is_whole(tmp_path):
    path = tmp_path / "a.mpg"
    _noise(path, "mpeg2video")
    expected, _ = _decoded(path)
    data = path.read_bytes()
    path.write_bytes(data.rstrip(b"\xff"))
    assert np.array_equal(_pixels(_cut(path)[0]), expected)
