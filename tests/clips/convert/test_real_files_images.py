"""Tests depth, colours, animations, gzip and orientation of image files against tifffile, Pillow and PyAV."""

import fractions
import gzip
import io
import struct

import av
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from framecast.clips import image_codec
from tests.clips.convert.sources.reading import read_only_source

_RNG = np.random.default_rng(0)
_COLOURS = _RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)
_GRAY = _RNG.integers(0, 256, (12, 20, 30)).astype(np.uint8)
_MASK = _RNG.integers(0, 2, (20, 30)).astype(bool)


def _values(path, **read):
    return read_only_source(path, **read)[2]


def _on_black(image):
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(black, image.convert("RGBA")))[..., :3]


@pytest.mark.parametrize(
    ("shape", "dtype", "options"),
    [
        ((12, 3, 20, 30), "u2", {"photometric": "rgb", "planarconfig": "separate"}),
        ((12, 20, 30, 3), "u2", {"photometric": "rgb", "bigtiff": True, "byteorder": ">", "tile": (16, 16)}),
        ((12, 20, 30, 3), "f4", {"photometric": "rgb", "compression": "zlib", "predictor": True}),
        ((12, 20, 30), "i2", {"photometric": "minisblack", "compression": "zlib", "rowsperstrip": 3}),
        ((12, 20, 30), "f2", {"photometric": "minisblack"}),
        ((12, 20, 30), "u4", {"photometric": "minisblack", "byteorder": ">"}),
        ((12, 20, 30), "f8", {"photometric": "minisblack", "predictor": True, "compression": "zlib"}),
    ],
)
def test_stack_in_any_depth_equals_tifffile(tmp_path, shape, dtype, options):
    pixels = (_RNG.random(shape) * 4000).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata=None, **options)
    expected = np.moveaxis(pixels, 1, -1) if shape[1] == 3 else pixels.reshape(12, 20, 30, -1)
    values = _values(tmp_path)
    assert values.dtype == pixels.dtype
    assert np.array_equal(values, expected)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        pages = np.stack([page.asarray() for page in file.pages])
    assert np.array_equal(values, np.moveaxis(pages, 1, -1) if shape[1] == 3 else pages.reshape(expected.shape))


@pytest.mark.parametrize(
    ("suffix", "compression"), [("tif", "group4"), ("tif", "group3"), ("bmp", None), ("png", None)]
)
@pytest.mark.parametrize("colours", [None, (250, 10, 20, 0, 90, 255)])
def test_one_bit_image_equals_pillow(tmp_path, suffix, compression, colours):
    image = Image.fromarray(_MASK)
    if colours:
        if suffix == "tif":
            pytest.skip("a bilevel code has no palette")
        image = Image.fromarray(_MASK.astype(np.uint8), "P")
        image.putpalette(colours)
    image.save(tmp_path / f"a.{suffix}", **({"compression": compression} if compression else {"bits": 1}))
    with Image.open(tmp_path / f"a.{suffix}") as saved:
        expected = np.asarray(saved.convert("RGB"))
    assert len(np.unique(expected.reshape(-1, 3), axis=0)) == 2
    values = _values(tmp_path)[0]
    assert np.array_equal(np.broadcast_to(values, expected.shape), expected)


@pytest.mark.parametrize("case", ["bmp", "png of 4 bits", "png of 2 bits", "tiff of 4 bits", "tiff colormap"])
def test_palette_image_equals_pillow(tmp_path, case):
    path = tmp_path / f"a.{case[:3]}"
    count = {"png of 4 bits": 16, "png of 2 bits": 4}.get(case, 200)
    image = Image.fromarray(_COLOURS).quantize(count)
    if "colormap" in case:
        levels = _RNG.integers(0, 256, (20, 30)).astype(np.uint8)
        colormap = _RNG.integers(0, 256, (3, 256)).astype(np.uint16) * 257
        tifffile.imwrite(path, levels, photometric="palette", colormap=colormap, metadata=None)
    elif case == "tiff of 4 bits":
        levels = _RNG.integers(0, 16, (20, 30)).astype(np.uint8)
        colormap = _RNG.integers(0, 256, (3, 16)).astype(np.uint16) * 257
        tag = [(320, 3, 48, tuple(int(entry) for entry in colormap.ravel()), True)]
        packed = levels[:, ::2] << 4 | levels[:, 1::2]
        tifffile.imwrite(path, packed, photometric="minisblack", metadata=None, extratags=tag)
        with tifffile.TiffFile(path, mode="r+") as file:
            for name, value in (("ImageWidth", 30), ("BitsPerSample", 4), ("PhotometricInterpretation", 3)):
                file.pages[0].tags[name].overwrite(value)
    else:
        image.save(path, **({"bits": int(case[7])} if "bits" in case else {}))
    if "tif" in case:
        expected = np.moveaxis(colormap[:, levels] >> 8, 0, -1)
    else:
        with Image.open(path) as saved:
            assert saved.mode == "P"
            expected = np.asarray(saved.convert("RGB"))
    assert np.array_equal(_values(tmp_path)[0], expected)


def test_gif_pages_have_their_own_palettes(tmp_path):
    pages = [Image.fromarray(np.roll(_COLOURS, index * 5, 1)).quantize(30) for index in range(12)]
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:], duration=100)
    expected = []
    with Image.open(tmp_path / "a.gif") as image:
        for index in range(12):
            image.seek(index)
            expected.append(np.asarray(image.convert("RGB")))
    assert np.array_equal(_values(tmp_path), expected)


@pytest.mark.parametrize("case", ["8", "16", "separate", "stack"])
def test_cmyk_tiff_is_ink_over_white(tmp_path, case):
    dtype = np.uint16 if case == "16" else np.uint8
    shape = (5, 20, 30, 4) if case == "stack" else (20, 30, 4)
    inks = _RNG.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    planar = {"planarconfig": "separate"} if case == "separate" else {}
    stored = np.moveaxis(inks, -1, 0) if planar else inks
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="separated", metadata=None, **planar)
    light = 1 - inks / np.iinfo(dtype).max
    expected = light[..., :3] * light[..., 3:] * np.iinfo(dtype).max
    values = _values(tmp_path)
    assert values.dtype == dtype
    assert np.abs(values - expected).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
@pytest.mark.parametrize("suffix", ["png", "tif", "gif"])
def test_alpha_of_any_mode_is_composited(tmp_path, mode, suffix):
    if (mode == "LA" and suffix == "gif") or (mode == "P" and suffix == "tif"):
        pytest.skip("not a mode of the format")
    alpha = _RNG.choice([0, 90, 255], (20, 30)).astype(np.uint8)
    image = Image.fromarray(np.dstack([_COLOURS, alpha])).convert("RGBA")
    options = {}
    if mode == "P":
        image = Image.fromarray(_COLOURS).quantize(8)
        options = {"transparency": 2 if suffix == "gif" else bytes([0, 128, 255, 40])}
    elif mode == "LA":
        image = image.convert("LA")
    image.save(tmp_path / f"a.{suffix}", **options)
    with Image.open(tmp_path / f"a.{suffix}") as saved:
        expected = _on_black(saved)
    values = _values(tmp_path)[0]
    assert np.abs(np.broadcast_to(values, expected.shape).astype(int) - expected).max() <= (suffix == "tif")


def _moving_square(count):
    frames = np.repeat(_COLOURS[None], count, 0)
    for index, frame in enumerate(frames):
        frame[5:10, index : index + 5] = 255 - index
    return frames


@pytest.mark.parametrize("blend", [0, 1])
@pytest.mark.parametrize("disposal", [0, 1, 2])
def test_partial_pages_of_apng_are_whole_frames(tmp_path, blend, disposal):
    frames = _moving_square(12)
    pages = [Image.fromarray(frame).convert("RGBA") for frame in frames]
    options = {"blend": blend, "disposal": disposal, "duration": [50, 100, 50] * 4}
    pages[0].save(tmp_path / "a.png", save_all=True, append_images=pages[1:], **options)
    _, read, values = read_only_source(tmp_path)
    expected = []
    with Image.open(tmp_path / "a.png") as image:
        for index in range(image.n_frames):
            image.seek(index)
            expected.append(_on_black(image))
    assert np.array_equal(values, expected)
    assert [frame.time for frame in read] == np.cumsum([0, *[50_000, 100_000, 50_000] * 4])[:12].tolist()


def test_default_image_of_apng_is_no_frame(tmp_path):
    frames = _moving_square(12)
    pages = [Image.fromarray(frame) for frame in frames]
    cover = Image.fromarray(255 - _COLOURS)
    cover.save(tmp_path / "a.png", save_all=True, append_images=pages, default_image=True, duration=100)
    _, read, values = read_only_source(tmp_path)
    assert np.array_equal(values, frames)
    assert [frame.time for frame in read] == [100_000 * index for index in range(12)]


@pytest.mark.parametrize("cover", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_one_bit_animation_equals_its_masks(tmp_path, cover, packed):
    masks = _RNG.integers(0, 2, (12, 20, 30)).astype(bool)
    first, *rest = [Image.fromarray(mask) for mask in ([_MASK, *masks] if cover else masks)]
    buffer = io.BytesIO()
    first.save(buffer, "PNG", save_all=True, append_images=rest, default_image=cover, duration=40, bits=1)
    assert buffer.getvalue()[24:26] == b"\1\0"
    data = gzip.compress(buffer.getvalue()) if packed else buffer.getvalue()
    (tmp_path / f"a.png{'.gz' * packed}").write_bytes(data)
    _, read, values = read_only_source(tmp_path)
    assert np.array_equal(values[..., 0], masks * 255)
    assert [frame.time for frame in read] == [40_000 * index for index in range(12)]


@pytest.mark.parametrize(
    "options", [{"quality": 70}, {"lossless": True, "kmin": 3, "kmax": 5}, {"minimize_size": True}]
)
def test_webp_pages_equal_pillow(tmp_path, options):
    pages = [Image.fromarray(frame) for frame in _moving_square(12)]
    delays = [40, 80, 40] * 4
    pages[0].save(tmp_path / "a.webp", save_all=True, append_images=pages[1:], duration=delays, **options)
    _, read, values = read_only_source(tmp_path)
    expected = []
    with Image.open(tmp_path / "a.webp") as image:
        for index in range(image.n_frames):
            image.seek(index)
            expected.append(np.asarray(image.convert("RGB")))
    assert np.array_equal(values, expected)
    assert [frame.time for frame in read] == np.cumsum([0, *[40_000, 80_000, 40_000] * 4])[:12].tolist()


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_gzipped_animation_equals_its_pages(tmp_path, suffix):
    frames = _moving_square(12)
    pages, buffer = [Image.fromarray(frame) for frame in frames], io.BytesIO()
    pages[0].save(buffer, suffix, save_all=True, append_images=pages[1:], duration=100, lossless=True)
    (tmp_path / f"a.{suffix}.gz").write_bytes(gzip.compress(buffer.getvalue()))
    _, read, values = read_only_source(tmp_path)
    assert np.array_equal(values, frames)
    assert read[3].time == 300_000


def test_gzip_of_several_members_and_depths(tmp_path):
    deep = _RNG.integers(0, 65536, (12, 20, 30, 3)).astype(np.uint16)
    for index, frame in enumerate(deep):
        data = image_codec.encode_png(frame)
        members = gzip.compress(data[:500]) + gzip.compress(data[500:])
        (tmp_path / f"a{index}.png.gz").write_bytes(members)
    assert np.array_equal(_values(tmp_path), deep)


def _exif(orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "jpg.gz"])
def test_every_exif_orientation_equals_pillow(tmp_path, suffix, orientation):
    kind, _, packed = suffix.partition(".")
    buffer = io.BytesIO()
    names = {"jpg": "JPEG", "tif": "TIFF"}
    Image.fromarray(_COLOURS).save(buffer, names.get(kind, kind), exif=_exif(orientation), lossless=True)
    data = buffer.getvalue()
    (tmp_path / f"a.{suffix}").write_bytes(gzip.compress(data) if packed else data)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(buffer)))
    assert np.array_equal(_values(tmp_path)[0], expected)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["tif", "webp", "png"])
def test_stacks_and_animations_are_upright(tmp_path, kind, orientation):
    path = tmp_path / f"a.{kind}"
    if kind == "tif":
        tag = [(274, 3, 1, orientation, True)]
        tifffile.imwrite(path, _GRAY, photometric="minisblack", metadata=None, extratags=tag)
    else:
        pages = [Image.fromarray(np.repeat(frame[..., None], 3, -1)) for frame in _GRAY]
        options = {"duration": 100, "lossless": True, "exif": _exif(orientation)}
        pages[0].save(path, save_all=True, append_images=pages[1:], **options)
    expected = []
    for frame in _GRAY:
        image = Image.fromarray(frame)
        image.getexif()[0x112] = orientation
        expected.append(np.asarray(ImageOps.exif_transpose(image)))
    assert np.array_equal(_values(tmp_path)[..., 0], expected)


_TURNS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}  # Clockwise.


@pytest.mark.parametrize("clockwise", [90, 180, 270])
@pytest.mark.parametrize(
    ("name", "codec", "flags"),
    [("a.mp4", "libx264", ""), ("a.mov", "mpeg4", ""), ("a.mp4", "libx264", "frag_keyframe+empty_moov")],
)
def test_phone_video_is_turned_as_pyav_says(tmp_path, name, codec, flags, clockwise):
    path = tmp_path / name
    with av.open(str(path), "w", options={"movflags": flags} if flags else {}) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for index in range(12):
            pixels = np.repeat(np.repeat(_RNG.integers(0, 256, (4, 6, 3)).astype(np.uint8), 8, 0), 8, 1)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, fractions.Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    data = path.read_bytes()
    a, b, c, d = (entry << 16 for entry in _TURNS[clockwise])
    at = data.index(b"tkhd") + 44
    path.write_bytes(data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :])
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
    assert {-frame.rotation % 360 for frame in decoded} == {clockwise}
    expected = [np.rot90(frame.to_ndarray(format="rgb24"), decoded[0].rotation // 90) for frame in decoded]
    _, read, values = read_only_source(path)
    assert np.array_equal(values, expected)
    assert [frame.time for frame in read] == [round(frame.time * 10**6) for frame in decoded]


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("suffix", ["avi", "mov"])
def test_motion_jpeg_of_camera_is_upright(tmp_path, suffix, orientation):
    path, expected = tmp_path / f"a.{suffix}", []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuvj444p"
        for index in range(12):
            pixels = np.repeat(np.repeat(_RNG.integers(0, 256, (4, 6)).astype(np.uint8), 8, 0), 8, 1)
            buffer = io.BytesIO()
            options = {} if orientation is None else {"exif": _exif(orientation)}
            Image.fromarray(np.dstack([pixels] * 3)).save(buffer, "JPEG", subsampling=0, quality=95, **options)
            packet = av.Packet(buffer.getvalue())
            packet.stream, packet.pts, packet.dts = stream, index, index
            packet.time_base = fractions.Fraction(1, 10)
            packet.is_keyframe = True
            container.mux(packet)
            expected.append(np.asarray(ImageOps.exif_transpose(Image.open(buffer))))
    values = _values(path)
    assert values.shape == np.shape(expected)
    assert np.abs(values.astype(int) - expected).max() <= 3  # Two decoders round differently.
