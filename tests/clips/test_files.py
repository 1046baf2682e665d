"""Tests atomic writes of local files."""

import os

import pytest

from framecast.clips import files


def test_written_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "run.json"
    files.write_whole(path, "old")
    files.write_whole(path, "größer")
    assert path.read_bytes() == "größer".encode()
    assert os.listdir(tmp_path) == ["run.json"]


def test_error_keeps_old_file_and_removes_part(tmp_path):
    path = tmp_path / "forecast.nc"
    files.write_whole(path, b"old")

    def interrupted():
        with files.replacing(path) as part:
            part.write_bytes(b"half")
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        interrupted()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["forecast.nc"]


def test_file_is_synced_before_its_rename(tmp_path, monkeypatch):
    events = []
    for name in ("fsync", "rename", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, _n=name, _o=original: (events.append(_n), _o(*args))[1])
    files.write_whole(tmp_path / "run.json", "{}")
    assert events == ["fsync", "replace", "fsync"]


def test_part_of_killed_writer_is_overwritten(tmp_path):
    (tmp_path / "run.json.part").write_text("left by a killed process, and longer")
    files.write_whole(tmp_path / "run.json", "{}")
    assert (tmp_path / "run.json").read_text() == "{}"
    assert os.listdir(tmp_path) == ["run.json"]


def test_other_part_path_is_used(tmp_path):
    with files.replacing(tmp_path / "clips.gz", part=tmp_path / "unfinished.gz") as part:
        assert part == tmp_path / "unfinished.gz"
        part.write_bytes(b"clips")
    assert (tmp_path / "clips.gz").read_bytes() == b"clips"
    assert os.listdir(tmp_path) == ["clips.gz"]
