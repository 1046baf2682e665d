"""Tests alpha of videos against the frames that were written."""

import fractions

import av
import numpy as np
import pytest

from tests.clips.convert.sources.reading import read_only_source


def _write(path, codec, layout, frames):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options={"auto-alt-ref": "0"} if "vpx" in codec else {})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], layout
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba")
            frame.pts, frame.time_base = index, fractions.Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("name", "codec", "layout", "error"),
    [
        ("a.webm", "libvpx-vp9", "yuva420p", 8),
        ("b.webm", "libvpx", "yuva420p", 8),
        ("a.mov", "qtrle", "argb", 0),
        ("a.mkv", "ffv1", "bgra", 0),
        ("a.avi", "png", "rgba", 0),
    ],
)
def test_alpha_of_videos_is_composited(tmp_path, name, codec, layout, error):
    frames = np.zeros((10, 32, 48, 4), np.uint8)
    frames[..., 0] = 200
    frames[:, :, :16, 3] = 255
    frames[:, :, 16:32, 3] = 128
    _write(tmp_path / name, codec, layout, frames)
    _, read, values = read_only_source(tmp_path / name)
    inside = np.s_[..., [4, 10, 22, 27, 40, 44], :]  # Not where lossy codecs blur the edges.
    expected = frames[..., :3] * (frames[..., 3:] / 255)
    assert np.abs(values[inside] - expected[inside]).max() <= max(error, 0.5)
    assert all("transparent" in frame.notes[0] for frame in read)
    kept = read_only_source(tmp_path / name, keep_alpha=True)[2]
    assert np.abs(kept[..., 3].astype(int) - frames[..., 3])[..., [4, 22, 44]].max() <= error
