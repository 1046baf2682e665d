"""Tests that names of recordings come from their files alone, and are unique across separate conversions."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from framecast.clips.convert.pipeline import convert
from framecast.clips.convert.spec import ConvertSpec
from framecast.clips.records import read_records
from tests.clips.convert.sources.reading import write_image_folder

_RNG = np.random.default_rng(0)


def _write_array(folder, name="a.npy"):
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / name, _RNG.integers(0, 256, (9, 8, 8), np.uint8))


def _write_images(folder, pattern="f{}.png"):
    frames = _RNG.integers(0, 256, (9, 8, 8), np.uint8)
    frames[0] = 0  # Equal first frames do not make equal names.
    write_image_folder(folder / "rgb", frames, pattern)


def _names(tmp_path, *given, **read):
    """Converts, and returns the names of all recordings and clips."""
    to = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
    convert([str(path) for path in given], to, ConvertSpec.model_validate({"read": {"fps": 5, **read}}))
    media, ids = set(), []
    for path in to.glob("*.tfrecord.gz"):
        for _, record in read_records(str(path)):
            context = tf.train.SequenceExample.FromString(record).context.feature
            media.add(context["clip/media_id"].bytes_list.value[0].decode())
            ids.append(context["example/id"].bytes_list.value[0])
    assert len(set(ids)) == len(ids)
    return media


@pytest.mark.parametrize("write", [_write_array, _write_images])
def test_equal_file_names_make_distinct_recordings(tmp_path, write):
    for day in ("day1", "day2", "x/day1"):
        write(tmp_path / day)
    apart = [_names(tmp_path, tmp_path / day) for day in ("day1", "day2", "x/day1")]
    assert len(set.union(*apart)) == 3
    assert _names(tmp_path, tmp_path / "x", tmp_path / "day2", tmp_path / "day1") == set.union(*apart)


def test_name_is_independent_of_other_inputs(tmp_path, monkeypatch):
    for name in ("a.npy", "b.npy"):
        _write_array(tmp_path / "in", name)
    both = _names(tmp_path, tmp_path / "in")
    alone = [_names(tmp_path, tmp_path / "in" / name) for name in ("a.npy", "b.npy")]
    assert both == set.union(*alone)
    monkeypatch.chdir(tmp_path / "in")
    assert _names(tmp_path, "b.npy", "a.npy") == both
    shutil.copytree(tmp_path / "in", tmp_path / "elsewhere" / "in")
    assert _names(tmp_path, tmp_path / "elsewhere") == both


def test_image_sequence_alone_keeps_its_name(tmp_path):
    for prefix in ("left", "right"):
        write_image_folder(tmp_path / prefix, _RNG.integers(0, 256, (9, 8, 8), np.uint8), prefix + "{}.png")
        (tmp_path / "in").mkdir(exist_ok=True)
        for path in (tmp_path / prefix).iterdir():
            path.rename(tmp_path / "in" / path.name)
    both = _names(tmp_path, tmp_path / "in")
    assert _names(tmp_path, tmp_path / "in" / "left*.png") < both
    assert {name.partition("@")[0] for name in both} == {f"{tmp_path.name}/in/left", f"{tmp_path.name}/in/right"}


def test_folder_that_grows_keeps_its_name(tmp_path):
    frames = _RNG.integers(0, 256, (30, 8, 8), np.uint8)
    write_image_folder(tmp_path / "in", frames)
    later = [path for path in (tmp_path / "in").iterdir() if int(path.stem[5:]) >= 20]
    (tmp_path / "kept").mkdir()
    for path in later:
        path.rename(tmp_path / "kept" / path.name)
    before = _names(tmp_path, tmp_path / "in")
    for path in later:
        (tmp_path / "kept" / path.name).rename(path)
    assert _names(tmp_path, tmp_path / "in") == before


def test_copies_of_one_name_are_refused(tmp_path):
    _write_array(tmp_path / "x" / "in")
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    with pytest.raises(ValueError, match=r"x/in/a\.npy and .*y/in/a\.npy: expected different recordings, .* give one"):
        _names(tmp_path, tmp_path / "x", tmp_path / "y")


def test_csv_may_name_any_part_of_path(tmp_path):
    for split in ("train", "test"):
        _write_array(tmp_path / "in" / split / "walk")
    for keys in (("train/walk/a.npy", "test/walk/a.npy"), ("in/train/walk/a.npy", "in/test/walk/a.npy")):
        rows = "".join(f"{key},{index}\n" for index, key in enumerate(keys))
        (tmp_path / "labels.csv").write_text("recording,label\n" + rows)
        assert len(_names(tmp_path, tmp_path / "in", labels=str(tmp_path / "labels.csv"))) == 2
