"""Numbered versions in a local folder and in an object store."""

import json

import pytest

from framecast.serving import versions

_FILES = {
    **{f"{version}/assets.extra/framecast.json": json.dumps({"version": version}) for version in ("2", "10", "11")},
    **{f"{version}/saved_model.pb": version for version in ("2", "10", ".12.withdrawn")},
    "notes/readme": "",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in _FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture(params=["disk", "store"])
def base(request, folder):
    if request.param == "disk":
        return str(folder)
    bucket = request.getfixturevalue("bucket")
    for name, text in _FILES.items():
        bucket.put(f"serving/{name}", text.encode())
    return f"{bucket.uri}/serving"


def test_newest_is_the_highest_complete_version(base):
    assert versions.newest(base) == 10
    assert versions.newest(f"{base}/notes") is None
    assert versions.newest(f"{base}/nowhere") is None


def test_missing_card_is_empty(base):
    assert versions.read_card(versions.path(base, 10)) == {"version": "10"}
    assert versions.read_card(f"{base}/notes") == {}


def test_digest_covers_names_and_bytes(base, folder):
    digest = versions.digest(versions.path(base, 2))
    assert digest == versions.digest(str(folder / "2"))
    assert digest != versions.digest(versions.path(base, 10))
    (folder / "2" / "saved_model.pb").rename(folder / "2" / "renamed.pb")
    assert digest != versions.digest(str(folder / "2"))
