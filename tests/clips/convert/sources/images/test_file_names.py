"""Tests which images of a folder make a recording, by their names."""

import numpy as np
import pytest
import tifffile

from framecast.clips import image_codec
from framecast.clips.convert.sources.discovery import find_sources
from framecast.clips.convert.sources.labels import Labels
from framecast.clips.convert.sources.source import BadSource
from framecast.clips.convert.spec import ConvertSpec
from tests.clips.convert.sources.reading import GRAY, read_only_source, read_sources, write_image_folder


def _recordings(folder, names, **read):
    """Writes an image per name, and returns the names, positions and times of each recording."""
    write_image_folder(folder, GRAY[:1], names[0])
    data = (folder / names[0]).read_bytes()
    for name in names[1:]:
        (folder / name).write_bytes(data)
    found = read_sources(folder, **read)
    return {
        recording: (
            [frame.place.rsplit("/", 1)[1] for frame in frames],
            [frame.position for frame in frames],
            [frame.time for frame in frames],
        )
        for recording, (_, frames) in found.items()
    }


@pytest.mark.parametrize(
    ("patterns", "recordings"),
    [
        (["vid1_{:03}.png", "vid2_{:03}.png"], ["f/vid1", "f/vid2"]),
        (["left{}.png", "right{}.png"], ["f/left", "f/right"]),
        (["{:02}_a.png", "{:02}_b.png"], ["f/a", "f/b"]),
        (["cam1-20240101_000{}00.png", "cam2-20240101_000{}00.png"], ["f/cam1", "f/cam2"]),
        (["20240101_{:02}.png", "20240102_{:02}.png"], ["f/20240101", "f/20240102"]),
    ],
)
def test_name_prefixes_are_separate_recordings(tmp_path, patterns, recordings):
    names = [pattern.format(index) for pattern in patterns for index in range(9)]
    found = _recordings(tmp_path / "f", names)
    assert list(found) == recordings
    for pattern, (files, positions, _) in zip(patterns, found.values(), strict=True):
        assert files == [pattern.format(index) for index in range(9)]
        assert positions == list(range(9))


@pytest.mark.parametrize(
    ("names", "positions"),
    [
        (["f1.png", "f2.png", "f4.png", "f10.png"], [0, 1, 3, 9]),
        (["f0.png", "f10.png", "f20.png", "f27.png", "f37.png"], [0, 1, 2, 4, 5]),
        (["f000.png", "f005.png", "f010.png", "f020.png"], [0, 1, 2, 4]),
        (["frame1_of_40.png", "frame2_of_40.png", "frame3_of_40.png"], [0, 1, 2]),
        (["202401010050.png", "202401010055.png", "202401010100.png", "202401010110.png"], [0, 1, 2, 4]),
        (["2024-02-28.png", "2024-02-29.png", "2024-03-01.png", "2024-03-03.png"], [0, 1, 2, 4]),
        (["a_20231231_2355_v2.png", "a_20240101_0000_v2.png", "a_20240101_0005_v2.png"], [0, 1, 2]),
        (["20240101.png", "20240201.png", "20240301.png", "20240401.png"], [0, 1, 2, 3]),
        (["f1_t0.10.png", "f2_t0.25.png", "f3_t0.47.png"], [0, 1, 2]),
        (["20240130.png", "20240131.png", "20240132.png"], [0, 1, 2]),
    ],
)
def test_holes_in_numbers_are_missing_frames(tmp_path, names, positions):
    ((files, found, _),) = _recordings(tmp_path / "f", names).values()
    assert files == names
    assert found == positions


def test_join_takes_names_in_order(tmp_path):
    names = ["a1.png", "a3.png", "b2.png"]
    ((files, positions, _),) = _recordings(tmp_path / "f", names, join=True).values()
    assert (files, positions) == (names, [0, 1, 2])


def test_times_divide_and_order_names(tmp_path):
    names = [f"{site}_20240101000{minute}_{9 - minute}.png" for site in "ab" for minute in (5, 0)]
    found = _recordings(tmp_path / "f", names, time_format="%Y%m%d%H%M")
    assert list(found) == ["f/a", "f/b"]
    for _, positions, times in found.values():
        assert np.diff(times) == 300_000_000
        assert positions == [None, None]


def test_one_frame_in_two_formats_is_an_error(tmp_path):
    with pytest.raises(
        ValueError, match=r"f: f0\.bmp and f0\.png are the same frame in two formats; give one, such as"
    ):
        _recordings(tmp_path / "f", ["f0.png", "f1.png", "f0.bmp", "f1.bmp"])
    assert len(read_sources(str(tmp_path / "f" / "*.png"))) == 1
    with pytest.raises(BadSource, match=r"g/f1\.png: its number is also that of f01\.png; remove one"):
        _recordings(tmp_path / "g", ["f1.png", "f01.png", "f2.png"])


def test_names_without_numbers_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"f: expected numbered images, .* received dawn\.png, noon\.png; set --join"):
        _recordings(tmp_path / "f", ["noon.png", "dawn.png"])


def test_folders_of_one_name_are_not_joined(tmp_path):
    for parent in ("x", "y"):
        write_image_folder(tmp_path / parent / "storm", GRAY)
    given = [str(tmp_path / parent / "storm") for parent in ("x", "y")]
    assert [source.name for source in find_sources(given, ConvertSpec()).sources] == ["x/storm/frame", "y/storm/frame"]


def test_hidden_files_are_no_input(tmp_path):
    write_image_folder(tmp_path / "storm", GRAY)
    for name in ("._frame1.png", ".DS_Store", "storm/._frame2.png", ".trash/old.png", "__MACOSX/storm/a.mp4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0\5\26\7")
    found = find_sources([str(tmp_path)], ConvertSpec())
    assert [len(source.files) for source in found.sources] == [12]
    ignored = (".DS_Store", "._frame1.png", ".trash", "__MACOSX", "storm/._frame2.png")
    assert found.ignored == sorted(str(tmp_path / name) for name in ignored)
    (tmp_path / ".trash" / "old.png").write_bytes((tmp_path / "storm" / "frame0.png").read_bytes())
    assert list(read_sources(tmp_path / ".trash" / "old.png")) == [".trash/old"]


@pytest.mark.parametrize(
    ("name", "read", "message"),
    [
        ("f.npy", {"join": True}, "--join: expected images or gridded files, received arrays"),
        ("f.npy", {"keep_alpha": True}, "--keep-alpha: expected images or videos, received arrays"),
        ("f", {"axes": "THW"}, r"f: expected TIFF \(--axes, --select\)"),
        ("f", {"select": ("Z=1",)}, r"f: expected TIFF \(--axes, --select\)"),
    ],
)
def test_options_that_do_not_apply_are_errors(tmp_path, name, read, message):
    if name == "f":
        write_image_folder(tmp_path / name, GRAY)
    else:
        np.save(tmp_path / name, GRAY)
    with pytest.raises(ValueError, match=message):
        read_sources(tmp_path / name, **read)


def test_stacks_are_joined_only_on_request(tmp_path):
    (tmp_path / "f").mkdir()
    for name in ("cell1.tif", "cell2.tif"):
        tifffile.imwrite(tmp_path / "f" / name, GRAY, metadata=None, photometric="minisblack")
    assert list(read_sources(tmp_path / "f")) == ["cell1.tif", "cell2.tif"]
    recording, _, values = read_only_source(tmp_path / "f", join=True)
    assert recording.name == "f"
    assert np.array_equal(values[..., 0], np.concatenate([GRAY, GRAY]))


def test_class_folders_label_stacks_and_sequences(tmp_path):
    for kind in ("run", "walk"):
        write_image_folder(tmp_path / kind, GRAY, "person1_{}.png")
        for index, pixels in enumerate(GRAY):
            (tmp_path / kind / f"person2_{index}.png").write_bytes(image_codec.encode_png(pixels[..., None]))
        tifffile.imwrite(tmp_path / kind / "cell.tif", GRAY, metadata=None, photometric="minisblack")
    write_image_folder(tmp_path / "sit" / "person3", GRAY)
    sources = find_sources([str(tmp_path)], ConvertSpec()).sources
    labels = Labels("folders", sources)
    assert labels.classes == ["run", "sit", "walk"]
    found = {source.name.removeprefix(f"{tmp_path.name}/"): labels.of("", source).string for source in sources}
    assert found == {
        "run/cell.tif": "run",
        "run/person1": "run",
        "run/person2": "run",
        "sit/person3/frame": "sit",
        "walk/cell.tif": "walk",
        "walk/person1": "walk",
        "walk/person2": "walk",
    }
