"""Publish, promote and rollback: labels, visible folders, log entries, and refused requests."""

import fcntl
import json
import os
import pathlib
import subprocess
import sys

import pytest

from framecast.serving.releases import releases, tf_serving_config, version_folder
from framecast.serving.releases.version_folder import ReleaseError
from tests.serving.releases.fakes import FollowingServers, labels, push_version, state, visible, write_model


class RecordingServers:
    """Follows every release immediately, and records the visible versions at each wait."""

    def __init__(self, base):
        self.base = base
        self.seen = []

    def wait_loaded(self, version):
        self.seen.append(("loaded", version, visible(self.base)))

    def wait_relabelled(self, version, leaving):
        self.seen.append(("relabelled", version, leaving, visible(self.base)))

    def wait_unloaded(self, version, withdrawn):
        self.seen.append(("unloaded", version, withdrawn, visible(self.base)))


class FailingServers(FollowingServers):
    """Fails in one method."""

    def __init__(self, method):
        setattr(self, method, self._fail)

    def _fail(self, *_, **__):
        raise ReleaseError("10.0.0.1:8500: version 3 failed to load: no memory")


@pytest.fixture
def base(tmp_path):
    """A folder with versions 1 and 2, both pushed as stable."""
    base = tmp_path / "serving"
    for number in (1, 2):
        push_version(base, number)
    return base


@pytest.fixture
def servers(base):
    return RecordingServers(base)


def test_pushed_version_is_stable(base):
    assert state(base) == ([1, 2], [], {"stable": 2})


def test_newer_push_replaces_the_canary(base):
    push_version(base, 3, "canary")
    assert state(base) == ([1, 2, 3], [], {"stable": 2, "canary": 3})
    push_version(base, 4, "canary")
    assert state(base) == ([1, 2, 4], [3], {"stable": 2, "canary": 4})
    push_version(base, 5)  # As stable: the canary is withdrawn, the previous stable version stays for a rollback.
    assert state(base) == ([1, 2, 5], [3, 4], {"stable": 5})


def test_first_version_is_stable_also_as_canary(tmp_path):
    push_version(tmp_path, 1, "canary")
    assert state(tmp_path) == ([1], [], {"stable": 1})


def test_without_labels_the_newest_version_is_stable(tmp_path):
    for number in (1, 2):
        write_model(tmp_path / str(number))
    push_version(tmp_path, 3, "canary")
    assert state(tmp_path) == ([1, 2, 3], [], {"stable": 2, "canary": 3})


def test_promote_makes_the_canary_stable(base, servers):
    push_version(base, 3, "canary")
    entry = releases.promote(str(base), None, servers)
    assert state(base) == ([1, 2, 3], [], {"stable": 3})
    assert (entry["action"], entry["version"], entry["labels"]) == ("promote", 3, {"stable": 3})
    assert servers.seen == [
        ("loaded", 3, [1, 2, 3]), ("relabelled", 3, False, [1, 2, 3]), ("unloaded", 3, [], [1, 2, 3])
    ]  # fmt: skip


def test_promote_withdraws_newer_versions(base, servers):
    push_version(base, 3)
    push_version(base, 4, "canary")
    releases.promote(str(base), 1, servers)
    assert state(base) == ([1], [2, 3, 4], {"stable": 1})
    # The old and the new stable version are loaded while the label moves; the old one is withdrawn after that.
    assert servers.seen == [
        ("loaded", 1, [1, 3]),
        ("relabelled", 1, True, [1, 3]),
        ("unloaded", 1, [2, 3, 4], [1]),
    ]


def test_promoting_the_stable_version_withdraws_the_canary(base, servers):
    push_version(base, 3, "canary")
    releases.promote(str(base), 2, servers)
    assert state(base) == ([1, 2], [3], {"stable": 2})


def test_promote_restores_a_withdrawn_version(base, servers):
    push_version(base, 3, "canary")
    push_version(base, 4, "canary")
    releases.promote(str(base), 3, servers)
    assert state(base) == ([1, 2, 3], [4], {"stable": 3})
    assert servers.seen[0] == ("loaded", 3, [1, 2, 3])


def test_repeated_rollbacks_follow_the_stable_history(base, servers):
    push_version(base, 3, "canary")
    releases.promote(str(base), None, servers)
    push_version(base, 4)
    for stable, withdrawn in ((3, [4]), (2, [3, 4]), (1, [2, 3, 4])):
        assert releases.rollback(str(base), servers)["version"] == stable
        assert state(base) == (list(range(1, stable + 1)), withdrawn, {"stable": stable})
    with pytest.raises(ReleaseError, match="expected a version that was stable before 1, found none"):
        releases.rollback(str(base), servers)


def test_rollback_skips_canaries_that_were_never_stable(base, servers):
    push_version(base, 3, "canary")
    push_version(base, 4)
    assert releases.rollback(str(base), servers)["version"] == 2


def test_rollback_after_promoting_older_version_restores_newer(base, servers):
    releases.promote(str(base), 1, servers)
    assert releases.rollback(str(base), servers)["version"] == 2
    assert state(base) == ([1, 2], [], {"stable": 2})


def test_rollback_withdraws_the_canary_before_servers_load(base, servers):
    push_version(base, 3, "canary")
    releases.rollback(str(base), servers)
    assert state(base) == ([1], [2, 3], {"stable": 1})
    assert servers.seen == [
        ("loaded", 1, [1, 2]),
        ("relabelled", 1, True, [1, 2]),
        ("unloaded", 1, [2, 3], [1]),
    ]


def test_rollback_without_log_takes_next_lower_complete_version(tmp_path):
    for number in (1, 2, 4):
        write_model(tmp_path / str(number))
    (tmp_path / "3").mkdir()
    assert releases.rollback(str(tmp_path), FollowingServers())["version"] == 2


def test_withdrawn_model_pushed_again_becomes_a_canary(base, servers):
    releases.rollback(str(base), servers)
    entry = push_version(base, 3, content="weights of 2")
    assert entry["note"] == "the same model as version 2, which was withdrawn"
    assert state(base) == ([1, 3], [2], {"stable": 1, "canary": 3})


def test_log_names_run_or_user(base, servers, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    push_version(base, 3, "canary", figures={"mse": 0.25})
    releases.rollback(str(base), servers)
    entries = [
        (entry["action"], entry["version"], entry["labels"], entry["withdrawn"], entry["by"])
        for entry in version_folder.read_release_log(str(base))
    ]
    assert entries[1:] == [
        ("push", 2, {"stable": 2}, [], "run 2"),
        ("push", 3, {"stable": 2, "canary": 3}, [], "run 3"),
        ("rollback", 1, {"stable": 1}, [2, 3], "ada"),
    ]


def test_read_versions_returns_state_labels_figures_size(base, servers):
    push_version(base, 3, "canary", figures={"mse": 0.25})
    push_version(base, 4, "canary")
    (base / "5").mkdir()
    found = {version.number: version for version in version_folder.read_versions(str(base))}
    assert list(found) == [5, 4, 3, 2, 1]
    states = {number: (version.state, version.labels) for number, version in found.items()}
    assert states == {
        5: ("incomplete", ()), 4: ("served", ("canary",)), 3: ("withdrawn", ()), 2: ("kept", ("stable",)),
        1: ("kept", ()),
    }  # fmt: skip
    assert (found[3].figures, found[3].by, found[3].bytes) == ({"mse": 0.25}, "run 3", len("weights of 3"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "saved_model.pb").unlink(), r"/1: expected a complete exported model, found none"),
        (lambda path: (path / "saved_model.pb").write_text("x"), r"/1: expected the files that were pushed, digest"),
        (lambda path: os.rename(path, path.parent / "old"), r"expected one of the versions 2, received 1"),
    ],
)
def test_promote_refuses_incomplete_or_changed_version(base, servers, damage, message):
    damage(base / "1")
    before = labels(base)
    with pytest.raises(ReleaseError, match=message):
        releases.promote(str(base), 1, servers)
    assert labels(base) == before


def test_object_store_is_refused():
    for release in (version_folder.read_versions, lambda base: releases.rollback(base, FollowingServers())):
        with pytest.raises(ReleaseError, match="gs://bucket/radar: expected a local folder"):
            release("gs://bucket/radar")


def test_promote_without_anything_to_change_is_refused(base, servers):
    with pytest.raises(ReleaseError, match="expected a canary to promote, found none"):
        releases.promote(str(base), None, servers)
    with pytest.raises(ReleaseError, match="version 2 is already stable"):
        releases.promote(str(base), 2, servers)


@pytest.mark.parametrize("method", ["wait_loaded", "wait_relabelled", "wait_unloaded"])
@pytest.mark.parametrize(
    "attempt",
    [
        lambda base, servers: releases.promote(base, 4, servers),
        lambda base, servers: releases.promote(base, 1, servers),
        releases.rollback,
    ],
    ids=["promote a withdrawn version", "promote an older version", "rollback"],
)
def test_server_failure_undoes_the_release(base, method, attempt):
    push_version(base, 3)
    push_version(base, 4, "canary")
    push_version(base, 5, "canary")
    before = state(base)
    servers = FailingServers(method)
    with pytest.raises(ReleaseError, match=r"10\.0\.0\.1:8500: version 3 failed to load"):
        attempt(str(base), servers)
    assert state(base) == before
    assert version_folder.read_release_log(str(base))[-1]["action"] == "push"
    releases.promote(str(base), None, FollowingServers())  # Nothing of the failed attempt is left.
    assert labels(base) == {"stable": 5}


def test_fixed_wait_sleeps_before_stable_is_withdrawn(base, monkeypatch):
    slept, messages = [], []
    monkeypatch.setattr(releases.time, "sleep", lambda seconds: slept.append((seconds, visible(base), labels(base))))
    releases.rollback(str(base), releases.FixedWait(messages.append))
    assert slept == [(tf_serving_config.LABELS_POLL_SECONDS, [1, 2], {"stable": 1})]
    assert "waiting 10 s" in messages[0]
    assert visible(base) == [1]
    slept.clear()
    releases.promote(str(base), 2, releases.FixedWait(messages.append))  # No version that loses a label is withdrawn.
    assert slept == []


def test_damaged_models_config_is_named(base, servers):
    path = base / "tensorflow_serving" / "models.config"
    path.write_text("model_config_list {")
    with pytest.raises(
        ReleaseError, match=r"models.config: expected a ModelServerConfig.*the newest version is stable"
    ):
        releases.rollback(str(base), servers)


def test_second_release_waits_for_the_lock(base):
    code = (
        "import sys, time\n"
        "from framecast.serving.releases import releases\n"
        f"with releases.exclusive({str(base)!r}):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
        f"    open({str(base / 'released')!r}, 'w').close()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with open(base / "tensorflow_serving" / ".lock", "a") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder.stdin.close()
        with releases.exclusive(str(base)):
            assert (base / "released").exists()


def test_log_is_one_json_object_per_line(base):
    text = pathlib.Path(base, "tensorflow_serving", "releases.jsonl").read_text()
    assert [json.loads(line)["version"] for line in text.splitlines()] == [1, 2]
