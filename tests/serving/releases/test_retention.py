"""Retention: which pushed versions may be deleted, also after a kill."""

import os
import shutil

import pytest

from framecast.serving.releases import releases, retention, version_folder
from framecast.serving.releases.version_folder import ReleaseError
from tests.serving.releases.fakes import FollowingServers, push_version


@pytest.fixture
def base(tmp_path):
    """A folder with versions 1 to 6, each pushed as stable."""
    for number in range(1, 7):
        push_version(tmp_path / "serving", number)
    return tmp_path / "serving"


def _removable(base, keep):
    return [version.number for version in retention.removable(str(base), keep)]


def _names(base):
    return sorted(path.name for path in base.iterdir() if path.name != "tensorflow_serving")


@pytest.mark.parametrize(("keep", "removed"), [(0, [4, 3, 2, 1]), (2, [4, 3, 2, 1]), (4, [2, 1]), (9, [])])
def test_newest_and_loaded_versions_are_kept(base, keep, removed):
    assert _removable(base, keep) == removed
    assert [version.number for version in retention.remove(str(base), keep)] == removed
    assert _names(base) == [str(number) for number in range(1, 7) if number not in removed]
    assert _removable(base, keep) == []


def test_stable_and_rollback_target_outlive_a_canary(base):
    push_version(base, 7, "canary")
    # Servers load 6 and 7; a rollback leads from 6 to 5.
    assert version_folder.rollback_target(str(base)) == 5
    assert _removable(base, 0) == [4, 3, 2, 1]
    assert retention.remove(str(base), 0)
    assert releases.rollback(str(base), FollowingServers())["version"] == 5


def test_stable_is_kept_below_versions_copied_by_hand(base):
    for number in (9, 10):
        (base / str(number)).mkdir()
        (base / str(number) / "saved_model.pb").touch()
    # Servers load 9 and 10; 6 is stable, a rollback leads to 5.
    assert _removable(base, 0) == [4, 3, 2, 1]


def test_withdrawn_versions_are_removable_after_a_rollback(base):
    for expected in (5, 4):
        assert releases.rollback(str(base), FollowingServers())["version"] == expected
    # Servers load 3 and 4; 3 is also the next rollback's target.
    assert _removable(base, 0) == [6, 5, 2, 1]
    assert _removable(base, 2) == [2, 1]
    retention.remove(str(base), 0)
    assert _names(base) == ["3", "4"]
    assert [version.labels for version in version_folder.read_versions(str(base))] == [("stable",), ()]


def test_removed_versions_stay_in_the_log(base):
    retention.remove(str(base), 0)
    assert [entry["version"] for entry in version_folder.read_release_log(str(base))] == [1, 2, 3, 4, 5, 6]


def test_killed_removal_leaves_no_partial_version_visible(base, monkeypatch):
    def killed(path):
        os.unlink(os.path.join(path, "saved_model.pb"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            retention.remove(str(base), 0)
    assert _names(base) == [".4.incomplete", "1", "2", "3", "5", "6"]
    retention.remove(str(base), 0)
    assert _names(base) == [".4.incomplete", "5", "6"]  # The next push removes the incomplete one.


def test_missing_folder_has_nothing_to_remove(tmp_path):
    assert retention.remove(str(tmp_path / "none"), 0) == []
    assert not (tmp_path / "none").exists()
    with pytest.raises(ReleaseError, match="gs://bucket/radar: expected a local folder"):
        retention.removable("gs://bucket/radar", 0)
