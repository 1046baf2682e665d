"""Tests video frames, rates and times against PyAV."""

import fractions

import av
import numpy as np
import pytest
from PIL import Image

from framecast.clips.convert.sources.source import BadSource
from tests.clips.convert.sources.reading import GRAY, RNG, read_only_source, read_sources


def _write_video(path, frames, codec="ffv1", layout="gray", rate=25, **options):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = layout
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format={3: "rgb24"}.get(pixels.ndim, layout))
            frame.pts, frame.time_base = index, fractions.Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(("suffix", "layout"), [("mkv", "gray"), ("avi", "gray"), ("mkv", "gray16le")])
def test_lossless_video_is_exact(tmp_path, suffix, layout):
    frames = GRAY if layout == "gray" else GRAY.astype(np.uint16) * 257 + 3
    _write_video(tmp_path / f"a.{suffix}", frames, layout=layout)
    recording, _, values = read_only_source(tmp_path / f"a.{suffix}")
    assert np.array_equal(values[..., 0], frames)
    assert recording.name == f"a.{suffix}"


def test_video_count_rate_and_times_match_pyav(tmp_path):
    path = tmp_path / "a.mp4"
    _write_video(path, np.repeat(GRAY[:, :, :, None], 3, -1), codec="mpeg4", layout="yuv420p", rate=30)
    recording, frames, values = read_only_source(tmp_path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        expected = list(container.decode(stream))
        assert len(frames) == len(expected) == stream.frames == 12
        assert recording.rate == float(stream.average_rate) == 30
        assert [frame.time for frame in frames] == [round(frame.pts * stream.time_base * 10**6) for frame in expected]
        assert np.array_equal(values[5], expected[5].to_ndarray(format="rgb24"))


def test_gif_is_read_as_video(tmp_path):
    pages = [Image.fromarray(frame) for frame in GRAY]
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:], duration=40)
    _, frames, values = read_only_source(tmp_path)
    assert [frame.time for frame in frames] == [40_000 * index for index in range(12)]
    assert np.array_equal(values[..., 1], GRAY)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_truncated_video_is_named(tmp_path, suffix, share):
    path = tmp_path / f"cut.{suffix}"
    frames = np.repeat(RNG.integers(0, 256, (60, 64, 64, 1), np.uint8), 3, -1)
    _write_video(path, frames, codec="mpeg4", layout="yuv420p")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(BadSource, match=rf"cut\.{suffix}"):
        read_sources(path)


def test_non_video_file_is_named(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    with pytest.raises(BadSource, match=r"a\.mp4: cannot open the video"):
        read_sources(tmp_path)
