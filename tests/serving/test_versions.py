"""The folder of numbered versions, by a local path and through TensorFlow's file systems."""

import json

import pytest

from framecast.serving import versions


@pytest.fixture
def folder(tmp_path):
    for version in ("2", "10", "11"):
        (tmp_path / version / "assets.extra").mkdir(parents=True)
        (tmp_path / version / "assets.extra" / "framecast.json").write_text(json.dumps({"version": version}))
    for version in ("2", "10"):
        (tmp_path / version / "saved_model.pb").write_text(version)
    (tmp_path / "notes").mkdir()
    return tmp_path


@pytest.fixture(params=["", "file://"])
def base(request, folder):
    return f"{request.param}{folder}"


def test_the_newest_is_the_highest_number_that_is_whole(base):
    assert versions.newest(base) == 10
    assert versions.newest(f"{base}/notes") is None
    assert versions.newest(f"{base}/nowhere") is None


def test_a_card_is_read_and_without_one_there_is_nothing(base):
    assert versions.read_card(versions.path(base, 10)) == {"version": "10"}
    assert versions.read_card(f"{base}/notes") == {}


def test_a_digest_is_of_names_and_bytes_wherever_the_folder_lies(base, folder):
    digest = versions.digest(versions.path(base, 2))
    assert digest == versions.digest(str(folder / "2"))
    assert digest != versions.digest(versions.path(base, 10))
    (folder / "2" / "saved_model.pb").rename(folder / "2" / "renamed.pb")
    assert digest != versions.digest(versions.path(base, 2))
