"""Tests which sources are found in paths."""

import numpy as np
import pytest

from tests.clips.convert.sources.reading import GRAY, read_sources, write_image_folder


def test_mixed_kinds_need_kind_option(tmp_path):
    np.save(tmp_path / "a.npy", GRAY)
    write_image_folder(tmp_path / "storm", GRAY)
    with pytest.raises(ValueError, match=r"expected sources of one kind, received arrays and images; set --kind"):
        read_sources(tmp_path)
    assert list(read_sources(tmp_path, kind="arrays")) == ["a.npy"]
    with pytest.raises(FileNotFoundError, match="nowhere: expected files, received none"):
        read_sources(tmp_path / "nowhere")


def test_file_given_twice_is_one_source(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", GRAY)
    monkeypatch.chdir(tmp_path)
    assert list(read_sources(tmp_path, "a.npy", tmp_path / "*.npy")) == ["a.npy"]
