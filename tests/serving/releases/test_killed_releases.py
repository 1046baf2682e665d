"""Releases that are killed before or after each of their file operations."""

import itertools
import shutil

import pytest

from framecast.serving.releases import releases, tf_serving_config, version_folder
from tests.killing import Killed, kill_at
from tests.serving.releases.fakes import FollowingServers, labels, push_version, state, visible


def _rollback(base):
    releases.rollback(str(base), FollowingServers())


def _promote(version=None):
    return lambda base: releases.promote(str(base), version, FollowingServers())


_RELEASES = {
    "rollback": (["stable", "stable"], _rollback),
    "rollback under a canary": (["stable", "stable", "canary"], _rollback),
    "promote": (["stable", "canary"], _promote()),
    "promote a withdrawn version": (["stable", "canary", "canary"], _promote(2)),
    "promote an older version": (["stable", "stable", "stable", "canary"], _promote(1)),
    "promote the stable version": (["stable", "stable", "canary"], _promote(2)),
}


def _push(base, pushed_labels):
    for number, label in enumerate(pushed_labels, 1):
        push_version(base, number, label)
    return base


def _last_entry(base, pushes):
    (*pushed, entry) = version_folder.read_release_log(str(base))
    assert len(pushed) == pushes
    return {**entry, "time": ""}


@pytest.mark.parametrize("name", _RELEASES)
@pytest.mark.parametrize("done", [False, True], ids=["before the step", "after the step"])
def test_same_command_finishes_a_killed_release(tmp_path, name, done, monkeypatch):
    pushed_labels, release = _RELEASES[name]
    pushed = _push(tmp_path / "pushed", pushed_labels)
    completed = shutil.copytree(pushed, tmp_path / "completed")
    release(completed)
    for step in itertools.count():
        base = shutil.copytree(pushed, tmp_path / str(step))
        with monkeypatch.context() as patch:
            kill_at(patch, step, done)
            try:
                release(base)
            except Killed:
                pass
            else:
                assert step > 3
                break
        # Servers can load the stable version at every step.
        assert labels(base)["stable"] in visible(base)[-tf_serving_config.LOADED_VERSIONS :]
        pending = base / "tensorflow_serving" / "pending.json"
        logged = len(version_folder.read_release_log(str(base))) > len(pushed_labels)
        if pending.exists() or not logged:  # Else all was done before the kill.
            release(base)
        assert state(base) == state(completed), step
        assert _last_entry(base, len(pushed_labels)) == _last_entry(completed, len(pushed_labels)), step
        assert not pending.exists()


def test_next_release_finishes_a_killed_one(tmp_path, monkeypatch):
    base = _push(tmp_path / "serving", ["stable", "stable", "stable"])
    with monkeypatch.context() as patch:
        kill_at(patch, 5, False)
        with pytest.raises(Killed):
            releases.rollback(str(base), FollowingServers())
    assert (base / "tensorflow_serving" / "pending.json").exists()
    with releases.exclusive(str(base)):
        assert releases.finish(str(base), FollowingServers())["action"] == "rollback"
    assert state(base) == ([1, 2], [3], {"stable": 2})
