"""Which pushed versions may be deleted, and what is left when that is killed."""

import os
import shutil

import pytest

from framecast.serving import versions
from framecast.serving.releases import releases, retention, version_folder
from framecast.serving.releases.releases import PushRecord
from framecast.serving.releases.version_folder import ReleaseError


def _push(base, number, label="stable"):
    with releases.exclusive(str(base)):
        folder = base / f".{number}.incomplete"
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_text(f"weights of {number}")
        return releases.publish(str(base), number, PushRecord(versions.digest(str(folder)), f"run {number}", label))


@pytest.fixture
def base(tmp_path):
    """Versions 1 to 6, each pushed as stable."""
    for number in range(1, 7):
        _push(tmp_path / "serving", number)
    return tmp_path / "serving"


class Prompt:
    """Servers that follow at once."""

    def wait_loaded(self, version):
        pass

    def wait_relabelled(self, version, leaving):
        pass

    def wait_unloaded(self, version, withdrawn):
        pass


def _removable(base, keep):
    return [version.number for version in retention.removable(str(base), keep)]


def _there(base):
    return sorted(path.name for path in base.iterdir() if path.name != "tensorflow_serving")


@pytest.mark.parametrize(("keep", "gone"), [(0, [4, 3, 2, 1]), (2, [4, 3, 2, 1]), (4, [2, 1]), (9, [])])
def test_the_newest_stay_and_at_least_those_that_servers_load(base, keep, gone):
    assert _removable(base, keep) == gone
    assert [version.number for version in retention.remove(str(base), keep)] == gone
    assert _there(base) == [str(number) for number in range(1, 7) if number not in gone]
    assert _removable(base, keep) == []


def test_what_is_stable_below_a_canary_stays_and_what_a_rollback_goes_back_to(base):
    _push(base, 7, "canary")
    # Servers load 6 and 7; a rollback goes back from 6 to 5.
    assert version_folder.rollback_target(str(base)) == 5
    assert _removable(base, 0) == [4, 3, 2, 1]
    assert retention.remove(str(base), 0)
    assert releases.rollback(str(base), Prompt())["version"] == 5


def test_with_versions_copied_there_by_hand_all_that_may_be_asked_for_stay(base):
    for number in (9, 10):
        (base / str(number)).mkdir()
        (base / str(number) / "saved_model.pb").touch()
    # Servers load 9 and 10; 6 is stable, a rollback goes back to 5.
    assert _removable(base, 0) == [4, 3, 2, 1]


def test_after_a_rollback_withdrawn_versions_go_and_what_comes_next_in_line_stays(base):
    for expected in (5, 4):
        assert releases.rollback(str(base), Prompt())["version"] == expected
    # Servers load 3 and 4, and 3 is also where the next rollback goes.
    assert _removable(base, 0) == [6, 5, 2, 1]
    assert _removable(base, 2) == [2, 1]
    retention.remove(str(base), 0)
    assert _there(base) == ["3", "4"]
    assert [version.labels for version in version_folder.read_versions(str(base))] == [("stable",), ()]


def test_numbers_of_what_is_gone_are_not_given_again(base):
    retention.remove(str(base), 0)
    assert [entry["version"] for entry in version_folder.read_release_log(str(base))] == [1, 2, 3, 4, 5, 6]


def test_killed_while_files_go_no_server_sees_half_a_version(base, monkeypatch):
    def killed(path):
        os.unlink(os.path.join(path, "saved_model.pb"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            retention.remove(str(base), 0)
    assert _there(base) == [".4.incomplete", "1", "2", "3", "5", "6"]
    retention.remove(str(base), 0)
    assert _there(base) == [".4.incomplete", "5", "6"]  # Which the next push removes, as what it leaves itself.


def test_a_folder_without_versions_has_none_to_remove(tmp_path):
    assert retention.remove(str(tmp_path / "none"), 0) == []
    assert not (tmp_path / "none").exists()
    with pytest.raises(ReleaseError, match="gs://bucket/radar: expected a local folder"):
        retention.removable("gs://bucket/radar", 0)
