"""Tests orientation of images and videos against Pillow."""

import fractions
import struct

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from framecast.clips.convert.sources.images.orientation import matrix_orientation, turn_upright
from framecast.clips.convert.sources.source import BadSource
from tests.clips.convert.sources.reading import read_only_source, read_sources

_PIXELS = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
# Display matrices (a, b, c, d) of each EXIF orientation, as FFmpeg and MP4 define them.
_MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


def _exif(orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    return exif


def _upright(pixels, orientation):
    """Returns the pixels as Pillow turns them."""
    image = Image.fromarray(pixels)
    image.getexif()[0x112] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_equals_pillow(orientation):
    assert np.array_equal(turn_upright(_PIXELS[..., None], orientation)[..., 0], _upright(_PIXELS, orientation))
    a, b, c, d = (entry << 16 for entry in _MATRICES[orientation])
    assert matrix_orientation(struct.pack("=9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)) == orientation


@pytest.mark.parametrize(
    ("suffix", "options"),
    [("png", {}), ("tif", {}), ("tif", {"compression": "tiff_lzw"}), ("webp", {"lossless": True})],
)
@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
def test_images_are_turned_as_exif_says(tmp_path, suffix, options, orientation):
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", exif=_exif(orientation), **options)
    assert np.array_equal(read_only_source(tmp_path)[2][0], _upright(pixels, orientation))


def test_jpeg_is_turned_as_exif_says(tmp_path):
    Image.fromarray(np.repeat(_PIXELS[..., None], 3, -1)).save(tmp_path / "a.jpg", exif=_exif(6), quality=100)
    with Image.open(tmp_path / "a.jpg") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(read_only_source(tmp_path)[2][0], expected)


def _write_phone_video(path, matrix):
    """Writes an MP4, and replaces the unity matrix of its track header."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        pixels = np.zeros((32, 48, 3), np.uint8)
        pixels[:16, :16] = 250
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, fractions.Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    data = path.read_bytes()
    unity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    at = data.index(unity, data.index(b"tkhd"))
    path.write_bytes(data[:at] + struct.pack(">9i", *matrix) + data[at + len(unity) :])


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_video_is_turned_by_its_display_matrix(tmp_path, orientation):
    a, b, c, d = (entry << 16 for entry in _MATRICES[orientation])
    _write_phone_video(tmp_path / "plain.mp4", (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    _write_phone_video(tmp_path / "turned.mp4", (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    plain = read_only_source(tmp_path / "plain.mp4")[2]
    turned = read_only_source(tmp_path / "turned.mp4")[2]
    assert plain.shape == (10, 32, 48, 3)
    assert all(
        np.array_equal(after, _upright(before, orientation)) for before, after in zip(plain, turned, strict=True)
    )
    with av.open(str(tmp_path / "turned.mp4")) as container:
        counterclockwise = next(container.decode(video=0)).rotation
    if orientation != 2:  # PyAV has no number for a flip.
        assert counterclockwise % 360 == {3: 180, 6: 270, 8: 90}[orientation]


def test_oblique_display_matrix_is_an_error(tmp_path):
    _write_phone_video(tmp_path / "a.mp4", (46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30))
    with pytest.raises(BadSource, match=r"a\.mp4, frame 0: .*a multiple of 90 degrees, received \(46341, 46341"):
        read_sources(tmp_path)
