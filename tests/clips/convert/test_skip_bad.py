"""Tests that an unreadable frame costs only itself with `--skip-bad`."""

import gzip

import numpy as np
import pytest
import tifffile
from PIL import Image

from framecast.clips.convert.pipeline import BadSourcesError, convert
from framecast.clips.convert.spec import ConvertSpec

_SPEC = ConvertSpec.model_validate({"read": {"fps": 10}, "cut": {"frames": {"min": 8, "max": 24}}})


def _write_png(folder, index):
    Image.fromarray(np.full((32, 32), index, np.uint8)).save(folder / f"f{index:03d}.png")


def _write_pgm_gz(folder, index):
    (folder / f"f{index:03d}.pgm.gz").write_bytes(gzip.compress(b"P5 32 32 255\n" + bytes([index]) * 1024))


def _write_tiff(folder, index):
    tifffile.imwrite(folder / f"f{index:03d}.tif", np.full((32, 32, 3), index, np.uint16), photometric="rgb")


@pytest.mark.parametrize("write", [_write_png, _write_pgm_gz, _write_tiff])
@pytest.mark.parametrize("bad", [0, 20, 39])
def test_one_bad_image_leaves_the_rest(tmp_path, write, bad):
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(40):
        write(folder, index)
    path = sorted(folder.iterdir())[bad]
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(BadSourcesError, match=path.name):
        convert([str(folder)], tmp_path / "out", _SPEC)
    manifest = convert([str(folder)], tmp_path / "out", _SPEC, skip_bad=True)
    assert manifest["lengths"] == ({"19": 1, "20": 1} if bad == 20 else {"15": 1, "24": 1})
    assert manifest["frames"] == 39
    assert manifest["left_out"].get("gaps", 0) == (bad == 20)
    assert manifest["left_out"]["frames that cannot be read"] == 1
    (message,) = manifest["bad"]
    assert message.startswith(f"{path}: cannot read the ")


def test_one_bad_page_leaves_the_rest(tmp_path):
    pages = np.random.default_rng(0).integers(0, 9, (30, 32, 32)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pages, compression="zlib", metadata=None, photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        at = file.pages[12].dataoffsets[0]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[at : at + 20] = bytes(20)
    (tmp_path / "a.tif").write_bytes(data)
    manifest = convert([str(tmp_path / "a.tif")], tmp_path / "out", _SPEC, skip_bad=True)
    assert manifest["lengths"] == {"12": 1, "17": 1}
    assert manifest["bad"][0].startswith(f"{tmp_path}/a.tif, page 12: cannot read the page")


def test_missing_numbers_cut_a_recording(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for index in [*range(10), *range(13, 25)]:
        _write_png(folder, index)
    manifest = convert([str(folder)], tmp_path / "out", _SPEC)
    assert manifest["lengths"] == {"10": 1, "12": 1}
    assert manifest["left_out"] == {
        "frames missing by the numbers in file names (--join ignores the numbers)": 3,
        "gaps": 1,
    }
    joined = _SPEC.model_copy(update={"read": _SPEC.read.model_copy(update={"join": True})})
    assert convert([str(folder)], tmp_path / "joined", joined)["lengths"] == {"22": 1}


def test_notes_of_frames_are_counted(tmp_path):
    pages = [Image.new("RGBA", (32, 32), (index, 0, 0, 128)) for index in range(9)]
    pages[0].save(tmp_path / "a.webp", save_all=True, append_images=pages[1:], duration=100, lossless=True)
    manifest = convert([str(tmp_path / "a.webp")], tmp_path / "out", ConvertSpec())
    note = "frames with transparent pixels, shown on black (--keep-alpha keeps alpha as a channel)"
    assert manifest["left_out"][note] == 9
    assert manifest["clip"]["channels"] == 3
