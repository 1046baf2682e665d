"""Tests image folders: order, losslessness, pages, and times in file names."""

import numpy as np
import pytest
from PIL import Image

from framecast.clips.convert.sources.discovery import find_sources
from framecast.clips.convert.sources.source import BadSource
from framecast.clips.convert.spec import ConvertSpec
from tests.clips.convert.sources.reading import GRAY, RNG, read_only_source, read_sources, write_image_folder


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_in_natural_order_and_lossless(tmp_path, dtype, channels):
    frames = RNG.integers(0, np.iinfo(dtype).max + 1, (12, 8, 9, channels)).astype(dtype)
    write_image_folder(tmp_path / "root" / "storm", frames)
    recording, _, values = read_only_source(tmp_path / "root")
    assert recording.name == "storm/frame"
    assert values.dtype == dtype
    assert np.array_equal(values, frames)


def test_image_folders_are_recordings_other_files_ignored(tmp_path):
    for name in ("a/x", "a/y", "b"):
        write_image_folder(tmp_path / name, GRAY[:3])
    (tmp_path / "a" / "notes.txt").write_text("?")
    found = find_sources([str(tmp_path)], ConvertSpec())
    assert [source.name for source in found.sources] == ["a/x/frame", "a/y/frame", f"{tmp_path.name}/b/frame"]
    assert found.ignored == [str(tmp_path / "a" / "notes.txt")]


def test_tiff_pages_pgm_and_palette_images(tmp_path):
    pages = [Image.fromarray(frame.astype(np.uint16) * 200) for frame in GRAY]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    _, frames, values = read_only_source(tmp_path / "stack.tif")
    assert np.array_equal(values[..., 0], GRAY.astype(np.uint16) * 200)
    assert frames[4].place.endswith("stack.tif, page 4")
    Image.fromarray(GRAY[0]).save(tmp_path / "b.pgm")
    assert np.array_equal(read_only_source(tmp_path / "b.pgm")[2][0, ..., 0], GRAY[0])
    colours = Image.fromarray(RNG.integers(0, 256, (5, 6, 3), np.uint8)).quantize(8)
    colours.save(tmp_path / "c.png")
    assert np.array_equal(read_only_source(tmp_path / "c.png")[2][0], np.asarray(colours.convert("RGB")))


def test_times_are_read_from_file_names(tmp_path):
    write_image_folder(tmp_path / "RAD25", GRAY[:4], "RAD_5min_20100826000{}_v2.png")
    recording, frames, _ = read_only_source(tmp_path / "RAD25", time_format="%Y%m%d%H%M")
    start = int(np.datetime64("2010-08-26T00:00", "us").astype(int))
    assert [frame.time for frame in frames] == [start + 60_000_000 * index for index in range(4)]
    assert recording.rate == pytest.approx(1 / 60)
    write_image_folder(tmp_path / "plain", GRAY[:1], "0.png")
    with pytest.raises(BadSource, match=r"0\.png: expected one time of format %Y in the file name, received none"):
        read_sources(tmp_path / "plain", time_format="%Y")
    with pytest.raises(ValueError, match=r"time format %B: expected .* received %B"):
        read_sources(tmp_path / "RAD25", time_format="%B")


def test_broken_image_is_named(tmp_path):
    write_image_folder(tmp_path / "storm", GRAY)
    path = tmp_path / "storm" / "frame3.png"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadSource, match=r"storm/frame3\.png: cannot read the image: expected an IEND chunk"):
        read_sources(tmp_path / "storm")
