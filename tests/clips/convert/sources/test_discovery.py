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


def test_duplicate_source_names_are_rejected(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", GRAY)
    with pytest.raises(ValueError, match=r"a\.npy: expected unique source names, but 2 sources have this name"):
        read_sources(tmp_path / "x", tmp_path / "y")
    assert list(read_sources(tmp_path)) == ["x/a.npy", "y/a.npy"]
