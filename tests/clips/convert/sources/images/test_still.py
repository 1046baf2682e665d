"""Tests still images and animations against Pillow."""

import gzip
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from framecast.clips import image_codec
from framecast.clips.convert.sources.source import BadSource
from tests.clips.convert.sources.reading import GRAY, RNG, read_only_source, read_sources

_MASK = RNG.integers(0, 2, (9, 13)).astype(bool)
_COLOURS = RNG.integers(0, 256, (10, 14, 3), np.uint8)
_CLEAR = np.dstack([_COLOURS, RNG.integers(0, 256, (10, 14), np.uint8)])


def _on_black(pixels):
    """Returns RGBA pixels as Pillow composites them over opaque black."""
    black = Image.new("RGBA", pixels.shape[1::-1], (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(black, Image.fromarray(pixels)))[..., :3]


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "pbm"])
def test_white_of_a_bitmap_is_255(tmp_path, suffix):
    Image.fromarray(_MASK).save(tmp_path / f"a.{suffix}")
    _, _, values = read_only_source(tmp_path)
    assert values.dtype == np.uint8
    assert np.array_equal(values[0, ..., 0], _MASK * 255)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_alpha_is_composited_over_black(tmp_path, suffix):
    Image.fromarray(_CLEAR).save(tmp_path / f"a.{suffix}", lossless=True, exact=True)
    _, (frame,), values = read_only_source(tmp_path)
    assert np.array_equal(values[0], _on_black(_CLEAR))
    assert frame.notes == ("frames with transparent pixels, shown on black (--keep-alpha keeps alpha as a channel)",)
    assert np.array_equal(read_only_source(tmp_path, keep_alpha=True)[2][0], _CLEAR)


def test_opaque_alpha_is_dropped_without_note(tmp_path):
    Image.fromarray(np.dstack([_COLOURS, np.full((10, 14), 255, np.uint8)])).save(tmp_path / "a.png")
    _, (frame,), values = read_only_source(tmp_path)
    assert np.array_equal(values[0], _COLOURS)
    assert frame.notes == ()


def test_sixteen_bit_alpha_is_composited(tmp_path):
    deep = RNG.integers(0, 65536, (10, 14, 4)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(image_codec.encode_png(deep))
    exact = deep[..., :3] * (deep[..., 3:] / 65535)
    assert np.abs(read_only_source(tmp_path)[2][0] - exact).max() <= 0.5


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "LA"])
def test_transparent_colour_is_black(tmp_path, mode):
    image = Image.fromarray(_COLOURS).convert(mode) if mode != "P" else Image.fromarray(_COLOURS).quantize(8)
    pixel = image.getpixel((3, 2))
    key = {"L": pixel, "RGB": pixel, "P": 3, "LA": None}[mode]
    image.save(tmp_path / "a.png", **({} if key is None else {"transparency": key}))
    with Image.open(tmp_path / "a.png") as saved:
        expected = _on_black(np.asarray(saved.convert("RGBA")))
    values = read_only_source(tmp_path)[2][0]
    assert values.shape[-1] == (1 if mode in ("L", "LA") else 3)
    assert np.array_equal(np.broadcast_to(values, expected.shape), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_colour_of_16_bits_is_black(tmp_path, channels):
    deep = RNG.integers(300, 65536, (10, 14, channels)).astype(np.uint16)
    data = image_codec.encode_png(deep)
    key = b"tRNS" + deep[2, 3].astype(">u2").tobytes()
    chunk = struct.pack(">I", len(key) - 4) + key + struct.pack(">I", zlib.crc32(key))
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])
    expected = np.where((deep == deep[2, 3]).all(-1, keepdims=True), 0, deep)
    assert np.array_equal(read_only_source(tmp_path)[2][0], expected)


@pytest.mark.parametrize("data", [b"", b"GIF8", b"\x89PNG\r\n\x1a\n\0\0\0\r", b"II+"])
def test_unknown_content_is_named(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(BadSource, match=r"a\.png: cannot read the image: (unknown format or damaged|expected an IEND)"):
        read_sources(tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_is_converted_to_rgb(tmp_path, suffix):
    Image.fromarray(_CLEAR, "CMYK").save(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as image:
        expected = np.asarray(image.convert("RGB"))
    _, (frame,), values = read_only_source(tmp_path)
    assert np.abs(values[0].astype(int) - expected).max() <= 1
    assert frame.notes == ("frames in CMYK, converted to RGB",)


@pytest.mark.parametrize("bits", [2, 4])
def test_png_of_few_bits_is_scaled(tmp_path, bits):
    levels = RNG.integers(0, 2**bits, (8, 8)).astype(np.uint8)
    packed = np.packbits((levels[..., None] >> np.arange(bits)[::-1]) & 1, axis=None).reshape(8, -1)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, bits, 0, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    assert np.array_equal(read_only_source(tmp_path)[2][0, ..., 0], levels * (255 // (2**bits - 1)))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm"])
def test_gzipped_images_are_read(tmp_path, suffix):
    for index in range(3):
        buffer = io.BytesIO()
        Image.fromarray(_COLOURS + np.uint8(index)).save(buffer, {"tif": "tiff"}.get(suffix, suffix))
        (tmp_path / f"a{index}.{suffix}.gz").write_bytes(gzip.compress(buffer.getvalue()))
    assert np.array_equal(read_only_source(tmp_path)[2], [_COLOURS + np.uint8(index) for index in range(3)])


def test_truncated_gzip_is_named(tmp_path):
    (tmp_path / "a.pgm.gz").write_bytes(gzip.compress(b"P5 64 64 255\n" + RNG.bytes(4096))[:-200])
    with pytest.raises(BadSource, match=r"a\.pgm\.gz: cannot read the image: Compressed file ended"):
        read_sources(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "webp", "apng"])
def test_animation_is_a_recording(tmp_path, suffix):
    pages = [Image.fromarray(np.repeat(frame[..., None], 3, -1)) for frame in GRAY]
    options = {"save_all": True, "append_images": pages[1:], "duration": 40, "lossless": True}
    for name in ("a", "b"):
        pages[0].save(tmp_path / f"{name}.{suffix}", format="webp" if suffix == "webp" else "png", **options)
    read = read_sources(tmp_path)
    assert list(read) == [f"a.{suffix}", f"b.{suffix}"]
    for _, frames in read.values():
        assert [frame.time for frame in frames] == [40_000 * index for index in range(12)]
        assert np.array_equal(np.stack([frame.values for frame in frames])[..., 1], GRAY)


def test_animation_with_transparency_equals_pillow(tmp_path):
    pages = []
    for index in range(9):
        pixels = np.zeros((32, 32, 4), np.uint8)
        pixels[8:16, index : index + 8] = 200, 100, 50, 128
        pages.append(Image.fromarray(pixels))
    for suffix in ("png", "webp", "gif"):
        path = tmp_path / suffix / f"a.{suffix}"
        path.parent.mkdir()
        pages[0].save(path, save_all=True, append_images=pages[1:], duration=100, disposal=2, lossless=True)
        with Image.open(path) as image:
            expected = []
            for index in range(image.n_frames):
                image.seek(index)
                expected.append(_on_black(np.asarray(image.convert("RGBA"))))
        _, frames, values = read_only_source(path)
        assert np.abs(values.astype(int) - expected).max() <= 1, suffix
        assert frames[3].notes
