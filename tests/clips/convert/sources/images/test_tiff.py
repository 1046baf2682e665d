"""Tests TIFF stacks, hyperstacks, colours and damaged files against tifffile and Pillow."""

import contextlib
import gzip
import itertools

import numpy as np
import pytest
import tifffile
from PIL import Image

from framecast.clips.convert.sources.source import BadSource
from tests.clips.convert.sources.reading import RNG, read_only_source, read_sources

_STACK = RNG.integers(0, 4000, (12, 9, 13)).astype(np.uint16)
_HYPER = RNG.integers(0, 4000, (12, 3, 2, 9, 13)).astype(np.uint16)  # TZCYX
_RGB = RNG.integers(0, 4000, (12, 9, 13, 3)).astype(np.uint16)


@pytest.mark.parametrize(
    "options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"compression": "zlib"}, {"tile": (16, 16)}]
)
@pytest.mark.parametrize("pixels", [_STACK, _RGB, _STACK.astype(np.uint8), _STACK.astype(np.float32)])
def test_stack_equals_the_array(tmp_path, options, pixels):
    photometric = "rgb" if pixels.ndim == 4 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata=None, photometric=photometric, **options)
    _, frames, values = read_only_source(tmp_path)
    assert values.dtype == pixels.dtype
    assert np.array_equal(values, pixels if pixels.ndim == 4 else pixels[..., None])
    assert frames[4].place.endswith("a.tif, page 4")


@pytest.mark.parametrize("flavour", ["imagej", "ome", "shaped"])
@pytest.mark.parametrize("axes", ["TYX", "TCYX", "TYXS"])
def test_axes_come_from_the_file(tmp_path, flavour, axes):
    pixels = {"TYX": _STACK, "TCYX": _HYPER[:, 0], "TYXS": _RGB.astype(np.uint8)}[axes]
    options = {"imagej": True} if flavour == "imagej" else {"ome": flavour == "ome"}
    photometric = "rgb" if axes == "TYXS" else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata={"axes": axes}, photometric=photometric, **options)
    expected = {"TYX": pixels[..., None], "TCYX": np.moveaxis(pixels, 1, -1), "TYXS": pixels}[axes]
    assert np.array_equal(read_only_source(tmp_path)[2], expected)


@pytest.mark.parametrize("order", ["CTYX", "TCYX"])
def test_any_order_of_axes_is_read(tmp_path, order):
    pixels = _HYPER[:, 0] if order == "TCYX" else _HYPER[:, 0].swapaxes(0, 1)
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata={"axes": order}, photometric="minisblack")
    assert np.array_equal(read_only_source(tmp_path)[2], np.moveaxis(_HYPER[:, 0], 1, -1))


@pytest.mark.parametrize("flavour", [{"imagej": True}, {"ome": True}])
def test_slices_need_a_choice(tmp_path, flavour):
    tifffile.imwrite(tmp_path / "a.tif", _HYPER, metadata={"axes": "TZCYX"}, photometric="minisblack", **flavour)
    message = r"axis Z is unknown in T=12 Z=3 C=2 Y=9 X=13; set --axes .* such as TNCHW, or --select Z=0"
    with pytest.raises(BadSource, match=message):
        read_sources(tmp_path)
    slices = read_sources(tmp_path, axes="TNCHW")
    assert len(slices) == 3
    for number, (recording, frames) in enumerate(slices.values()):
        assert recording.group.endswith("/a.tif")
        expected = np.moveaxis(_HYPER[:, number], 1, -1)
        assert np.array_equal(np.stack([frame.values for frame in frames]), expected)
    assert np.array_equal(read_only_source(tmp_path, select=("Z=2",))[2], np.moveaxis(_HYPER[:, 2], 1, -1))
    with pytest.raises(BadSource, match=r"expected --select with an axis of .* and an index from 0, received Z=3"):
        read_sources(tmp_path, select=("Z=3",))


def test_unnamed_axes_and_lone_channels_need_a_choice(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", _HYPER[:, 0], photometric="minisblack")
    with pytest.raises(BadSource, match=r"axis Q is unknown in Q=12 Q=2 Y=9 X=13; set --axes .* such as TCHW"):
        read_sources(tmp_path)
    assert read_only_source(tmp_path, axes="TCHW")[2].shape == (12, 9, 13, 2)
    with pytest.raises(BadSource, match="expected --axes with a letter for each of Q=12 Q=2 Y=9 X=13, received THW"):
        read_sources(tmp_path, axes="THW")
    tifffile.imwrite(tmp_path / "a.tif", _STACK, imagej=True)
    with pytest.raises(BadSource, match=r"no axis of C=12 Y=9 X=13 is time; set --axes, .* such as THW"):
        read_sources(tmp_path)
    assert np.array_equal(read_only_source(tmp_path, axes="THW")[2][..., 0], _STACK)


def test_series_are_recordings_and_thumbnails_are_left_out(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(_STACK, photometric="minisblack", metadata={"axes": "TYX"})
        file.write(_STACK[:9, :4], photometric="minisblack", metadata={"axes": "TYX"})
    read = read_sources(tmp_path)
    assert {name: len(frames) for name, (_, frames) in read.items()} == {"a.tif/0": 12, "a.tif/1": 9}
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=True) as file:
        file.write(_STACK, photometric="minisblack", metadata={"axes": "TYX"}, subifds=1)
        file.write(_STACK[:, ::2, ::2], photometric="minisblack", subfiletype=1)
    _, frames, values = read_only_source(tmp_path)
    assert np.array_equal(values[..., 0], _STACK)
    assert frames[0].notes == ("frames stored in lower resolutions too, which are left out",)


def test_planes_of_numbered_files_are_channels(tmp_path):
    for index, planes in enumerate(_HYPER[:, 0]):
        tifffile.imwrite(tmp_path / f"f{index}.tif", planes, imagej=True, metadata={"axes": "CYX"})
    recording, _, values = read_only_source(tmp_path)
    assert recording.name == f"{tmp_path.name}/f"
    assert np.array_equal(values, np.moveaxis(_HYPER[:, 0], 1, -1))
    tifffile.imwrite(tmp_path / "f7.tif", _STACK, metadata={"axes": "TYX"})
    with pytest.raises(BadSource, match=r"f7\.tif: expected one image, as in the files before it, received 12"):
        read_sources(tmp_path)


def test_frame_rate_comes_from_imagej(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", _STACK, imagej=True, metadata={"axes": "TYX", "finterval": 0.5})
    assert read_only_source(tmp_path)[0].rate == 2


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "jpeg", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "1", "P"])
def test_compressed_pages_equal_pillow(tmp_path, compression, mode):
    if compression == "jpeg" and mode not in ("L", "RGB"):
        pytest.skip("JPEG has 8 bits")
    source = {
        "L": [Image.fromarray(page.astype(np.uint8)) for page in _STACK],
        "RGB": [Image.fromarray(page.astype(np.uint8)) for page in _RGB],
        "I;16": [Image.fromarray(page) for page in _STACK],
        "1": [Image.fromarray(page > 2000) for page in _STACK],
        "P": [Image.fromarray(page.astype(np.uint8)).quantize(7) for page in _RGB],
    }[mode]
    source[0].save(tmp_path / "a.tif", save_all=True, append_images=source[1:], compression=compression)
    with Image.open(tmp_path / "a.tif") as image:
        expected = []
        for page in range(12):
            image.seek(page)
            expected.append(np.asarray(image.convert({"1": "L", "P": "RGB"}.get(mode, mode))))
    values = read_only_source(tmp_path)[2]
    assert np.array_equal(values[..., 0] if mode in ("L", "I;16", "1") else values, expected)


@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("compression", ["tiff_lzw", "zstd"])
def test_compressed_sixteen_bit_rgb_is_lossless(tmp_path, compression, predictor):
    def strip(page):
        """Compresses a page with libtiff, which sees a row of bytes."""
        values = np.concatenate([page[:, :1], np.diff(page, axis=1)], axis=1) if predictor else page
        Image.frombytes("L", (values.nbytes, 1), values.tobytes()).save(tmp_path / "row.tif", compression=compression)
        with tifffile.TiffFile(tmp_path / "row.tif") as row:
            handle, first = row.filehandle, row.pages[0]
            handle.seek(first.dataoffsets[0])
            return handle.read(first.databytecounts[0])

    options = {"shape": (9, 13, 3), "dtype": "u2", "photometric": "rgb", "rowsperstrip": 9, "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in _RGB:
            file.write(iter([strip(page)]), compression="zlib", predictor=predictor, **options)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        for page in file.pages:
            page.tags["Compression"].overwrite({"tiff_lzw": 5, "zstd": 50000}[compression])
    (tmp_path / "row.tif").unlink()
    assert np.array_equal(read_only_source(tmp_path)[2], _RGB)


def test_packed_twelve_bits_are_those_stored(tmp_path):
    values = RNG.integers(0, 4096, (9, 14)).astype(np.uint16)
    first, second = values[:, ::2], values[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", packed.reshape(9, 21), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        file.pages[0].tags["ImageWidth"].overwrite(14)
        file.pages[0].tags["BitsPerSample"].overwrite(12)
    assert np.array_equal(read_only_source(tmp_path)[2][0, ..., 0], values)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_file_raises_no_other_error(tmp_path, seed):
    rng = np.random.default_rng(seed)
    options = [{"metadata": None}, {"compression": "zlib"}, {"imagej": True}, {"ome": True}][seed % 4]
    tifffile.imwrite(tmp_path / "a.tif", _STACK, photometric="minisblack", **options)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    for position in rng.integers(0, 400, 3):
        data[position] = rng.integers(256)
    (tmp_path / "a.tif").write_bytes(data)
    with contextlib.suppress(BadSource):
        read_sources(tmp_path)


def test_white_as_zero_is_inverted_and_noted(tmp_path):
    for pixels in (_STACK[0], _STACK[0].astype(np.uint8), _STACK[0] > 2000):
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite", metadata=None)
        _, (frame,), values = read_only_source(tmp_path)
        whitest = 255 if pixels.dtype == bool else np.iinfo(pixels.dtype).max
        assert np.array_equal(
            values[0, ..., 0], whitest - pixels.astype(np.uint16) * (255 if pixels.dtype == bool else 1)
        )
        assert frame.notes == ("frames stored with 0 as white, inverted",)


def test_planes_of_rgb_and_premultiplied_alpha(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(_RGB[0], -1, 0), photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_only_source(tmp_path)[2][0], _RGB[0])
    clear = np.dstack([_RGB[0] // 4, _RGB[0, ..., :1]])
    for kind in ("assocalpha", "unassalpha"):
        tifffile.imwrite(tmp_path / "a.tif", clear, photometric="rgb", extrasamples=[kind], metadata=None)
        share = clear[..., 3:] / 65535 if kind == "unassalpha" else 1
        assert np.abs(read_only_source(tmp_path)[2][0] - clear[..., :3] * share).max() <= 0.5


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    "options", [{"imagej": True}, {"metadata": None}, {"metadata": None, "compression": "zlib"}, {"ome": True}]
)
def test_truncated_stack_is_named(tmp_path, share, options):
    tifffile.imwrite(tmp_path / "a.tif", _STACK, photometric="minisblack", **options)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[: int(share * len(data))])
    with pytest.raises(BadSource, match=r"a\.tif"):
        read_sources(tmp_path)


def test_files_of_an_ome_set_are_not_repeated(tmp_path):
    for index in range(2):
        tifffile.imwrite(tmp_path / f"s{index}.ome.tif", _STACK, metadata={"axes": "TYX"}, photometric="minisblack")
    text = tifffile.TiffFile(tmp_path / "s0.ome.tif").ome_metadata
    shared = text.replace("</TiffData>", "").replace(
        'PlaneCount="12"', 'PlaneCount="12"><UUID FileName="s1.ome.tif">urn:uuid:b</UUID></TiffData'
    )
    assert shared != text
    tifffile.tiffcomment(str(tmp_path / "s0.ome.tif"), shared.encode().replace(b"\xc2\xb5", b"&#181;"))
    with pytest.raises(BadSource, match=r"s0\.ome\.tif: .*the ome metadata do not match the pages: .* set --axes"):
        read_sources(tmp_path / "s0.ome.tif")


def test_gzipped_stack_is_read(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", _STACK, metadata=None, photometric="minisblack")
    (tmp_path / "b.tif.gz").write_bytes(gzip.compress((tmp_path / "a.tif").read_bytes()))
    assert np.array_equal(read_only_source(tmp_path / "b.tif.gz")[2][..., 0], _STACK)


def test_random_stacks_are_read_back_equal(tmp_path):
    for number in range(500):
        rng = np.random.default_rng(number)
        axes = "T" + "".join(rng.choice(["", "C"], 1)) + "YX"
        shape = (int(rng.integers(2, 6)), *rng.integers(2, 5, len(axes) - 3), *rng.integers(5, 20, 2))
        dtype = rng.choice(["u1", "u2", "i2", "f4", "u4", "f8"])
        pixels = rng.integers(0, 100, shape).astype(dtype)
        flavours = itertools.chain(
            [{"ome": True}, {"metadata": {"axes": axes}}], [{"imagej": True}] if dtype in ("u1", "u2", "f4") else []
        )
        flavour = dict(rng.choice(list(flavours)))
        options = {"metadata": {"axes": axes}, **flavour}
        if "imagej" not in options:
            options.update(byteorder=rng.choice(["<", ">"]), compression=rng.choice([None, "zlib"]))
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", **options)
        expected = pixels[..., None] if "C" not in axes else np.moveaxis(pixels, 1, -1)
        values = read_only_source(tmp_path / "a.tif")[2]
        assert values.dtype == pixels.dtype
        assert np.array_equal(values, expected), (number, options)
