"""Releases of pushed versions, and what is left of one that is killed at any of its steps."""

import itertools
import json
import os
import pathlib

import pytest

from framecast.serving import versions
from framecast.serving.releases import releases, tf_serving_config, version_folder
from framecast.serving.releases.releases import PushRecord
from framecast.serving.releases.version_folder import ReleaseError
from tests.killing import Killed, kill_at


class Prompt:
    """Servers that follow at once, and record what they saw when they were waited for."""

    def __init__(self, base):
        self.base = base
        self.seen = []

    def wait_loaded(self, version):
        self.seen.append(("wait_loaded", version, _visible(self.base)))

    def wait_relabelled(self, version, leaving):
        self.seen.append(("wait_relabelled", version, leaving, _visible(self.base)))

    def wait_unloaded(self, version, withdrawn):
        self.seen.append(("wait_unloaded", version, withdrawn, _visible(self.base)))


class Failing(Prompt):
    """Servers that fail in one method."""

    def __init__(self, base, method):
        super().__init__(base)
        setattr(self, method, self._fail)

    def _fail(self, *_, **__):
        raise ReleaseError("10.0.0.1:8500: version 3 failed to load: no memory")


def _visible(base):
    return sorted(int(path.name) for path in base.iterdir() if path.name.isdigit())


def _withdrawn(base):
    return sorted(int(path.name.split(".")[1]) for path in base.glob(".*.withdrawn"))


def _labels(base):
    text = (base / "tensorflow_serving" / "models.config").read_text()
    (model,) = tf_serving_config.parse_models_config(text).model_config_list.config
    return dict(model.version_labels)


def _state(base):
    return _visible(base), _withdrawn(base), _labels(base)


def _model(folder, content="weights"):
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text(content)
    return versions.digest(str(folder))


def _push(base, number, label="stable", content=None, **details):
    with releases.exclusive(str(base)):
        digest = _model(base / f".{number}.incomplete", content or f"weights of {number}")
        return releases.publish(
            str(base), number, PushRecord(digest=digest, by=f"run {number}", label=label, **details)
        )


@pytest.fixture
def base(tmp_path):
    """Versions 1 and 2, both pushed as stable."""
    base = tmp_path / "serving"
    for number in (1, 2):
        _push(base, number)
    return base


@pytest.fixture
def servers(base):
    return Prompt(base)


def test_a_pushed_version_is_stable_at_once(base):
    assert _state(base) == ([1, 2], [], {"stable": 2})


def test_a_canary_is_served_beside_stable_and_a_newer_one_takes_its_place(base):
    _push(base, 3, "canary")
    assert _state(base) == ([1, 2, 3], [], {"stable": 2, "canary": 3})
    _push(base, 4, "canary")
    assert _state(base) == ([1, 2, 4], [3], {"stable": 2, "canary": 4})
    _push(base, 5)  # Pushed as stable: the canary goes, the stable before it is what can be gone back to.
    assert _state(base) == ([1, 2, 5], [3, 4], {"stable": 5})


def test_the_first_version_is_stable_even_where_canaries_are_pushed(tmp_path):
    _push(tmp_path, 1, "canary")
    assert _state(tmp_path) == ([1], [], {"stable": 1})


def test_versions_from_before_there_were_labels_have_the_newest_as_stable(tmp_path):
    for number in (1, 2):
        _model(tmp_path / str(number))
    _push(tmp_path, 3, "canary")
    assert _state(tmp_path) == ([1, 2, 3], [], {"stable": 2, "canary": 3})


def test_promote_makes_the_canary_stable(base, servers):
    _push(base, 3, "canary")
    record = releases.promote(str(base), None, servers)
    assert _state(base) == ([1, 2, 3], [], {"stable": 3})
    assert (record["action"], record["version"], record["labels"]) == ("promote", 3, {"stable": 3})
    assert servers.seen == [
        ("wait_loaded", 3, [1, 2, 3]), ("wait_relabelled", 3, False, [1, 2, 3]), ("wait_unloaded", 3, [], [1, 2, 3])
    ]  # fmt: skip


def test_promote_withdraws_what_is_above(base, servers):
    _push(base, 3)
    _push(base, 4, "canary")
    releases.promote(str(base), 1, servers)
    assert _state(base) == ([1], [2, 3, 4], {"stable": 1})
    # Stable and what is to be stable are the two that are loaded while the label moves, and only then does one go.
    assert servers.seen == [
        ("wait_loaded", 1, [1, 3]),
        ("wait_relabelled", 1, True, [1, 3]),
        ("wait_unloaded", 1, [2, 3, 4], [1]),
    ]


def test_promote_of_the_stable_version_withdraws_the_canary(base, servers):
    _push(base, 3, "canary")
    releases.promote(str(base), 2, servers)
    assert _state(base) == ([1, 2], [3], {"stable": 2})


def test_promote_brings_a_withdrawn_version_back(base, servers):
    _push(base, 3, "canary")
    _push(base, 4, "canary")
    releases.promote(str(base), 3, servers)
    assert _state(base) == ([1, 2, 3], [4], {"stable": 3})
    assert servers.seen[0] == ("wait_loaded", 3, [1, 2, 3])


def test_rollback_goes_back_through_what_was_stable(base, servers):
    _push(base, 3, "canary")
    releases.promote(str(base), None, servers)
    _push(base, 4)
    for stable, withdrawn in ((3, [4]), (2, [3, 4]), (1, [2, 3, 4])):
        assert releases.rollback(str(base), servers)["version"] == stable
        assert _state(base) == (list(range(1, stable + 1)), withdrawn, {"stable": stable})
    with pytest.raises(ReleaseError, match="expected a version that was stable before 1, found none"):
        releases.rollback(str(base), servers)


def test_rollback_passes_over_canaries_that_never_were_stable(base, servers):
    _push(base, 3, "canary")
    _push(base, 4)
    assert releases.rollback(str(base), servers)["version"] == 2


def test_rollback_of_a_promoted_older_version_brings_the_newer_one_back(base, servers):
    releases.promote(str(base), 1, servers)
    assert releases.rollback(str(base), servers)["version"] == 2
    assert _state(base) == ([1, 2], [], {"stable": 2})


def test_rollback_withdraws_a_canary_first_so_that_what_it_goes_back_to_is_loaded(base, servers):
    _push(base, 3, "canary")
    releases.rollback(str(base), servers)
    assert _state(base) == ([1], [2, 3], {"stable": 1})
    assert servers.seen == [
        ("wait_loaded", 1, [1, 2]),
        ("wait_relabelled", 1, True, [1, 2]),
        ("wait_unloaded", 1, [2, 3], [1]),
    ]


def test_rollback_without_a_record_goes_to_the_next_lower_whole_version(tmp_path):
    for number in (1, 2, 4):
        _model(tmp_path / str(number))
    (tmp_path / "3").mkdir()
    assert releases.rollback(str(tmp_path), Prompt(tmp_path))["version"] == 2


def test_a_withdrawn_model_that_is_pushed_again_is_a_canary_and_the_record_says_why(base, servers):
    releases.rollback(str(base), servers)
    record = _push(base, 3, content="weights of 2")
    assert record["note"] == "the same model as version 2, which was withdrawn"
    assert _state(base) == ([1, 3], [2], {"stable": 1, "canary": 3})


def test_the_record_says_who_did_what(base, servers, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    _push(base, 3, "canary", figures={"mse": 0.25})
    releases.rollback(str(base), servers)
    told = [
        (entry["action"], entry["version"], entry["labels"], entry["withdrawn"], entry["by"])
        for entry in version_folder.read_release_log(str(base))
    ]
    assert told[1:] == [
        ("push", 2, {"stable": 2}, [], "run 2"),
        ("push", 3, {"stable": 2, "canary": 3}, [], "run 3"),
        ("rollback", 1, {"stable": 1}, [2, 3], "ada"),
    ]


def test_versions_are_listed_with_state_labels_figures_and_size(base, servers):
    _push(base, 3, "canary", figures={"mse": 0.25})
    _push(base, 4, "canary")
    (base / "5").mkdir()
    found = {version.number: version for version in version_folder.read_versions(str(base))}
    assert list(found) == [5, 4, 3, 2, 1]
    told = {number: (version.state, version.labels) for number, version in found.items()}
    assert told == {
        5: ("incomplete", ()), 4: ("served", ("canary",)), 3: ("withdrawn", ()), 2: ("kept", ("stable",)),
        1: ("kept", ()),
    }  # fmt: skip
    assert (found[3].figures, found[3].by, found[3].bytes) == ({"mse": 0.25}, "run 3", len("weights of 3"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "saved_model.pb").unlink(), r"/1: expected a whole exported model, found none"),
        (lambda path: (path / "saved_model.pb").write_text("x"), r"/1: expected the files that were pushed, digest"),
        (lambda path: os.rename(path, path.parent / "old"), r"expected one of the versions 2, received 1"),
    ],
)
def test_a_version_that_is_not_whole_is_refused_by_name(base, servers, damage, message):
    damage(base / "1")
    before = _labels(base)
    with pytest.raises(ReleaseError, match=message):
        releases.promote(str(base), 1, servers)
    assert _labels(base) == before


def test_object_stores_are_refused():
    for release in (version_folder.read_versions, lambda base: releases.rollback(base, Prompt(None))):
        with pytest.raises(ReleaseError, match="gs://bucket/radar: expected a local folder"):
            release("gs://bucket/radar")


def test_nothing_to_promote_is_said(base, servers):
    with pytest.raises(ReleaseError, match="expected a canary to promote, found none"):
        releases.promote(str(base), None, servers)
    with pytest.raises(ReleaseError, match="version 2 is stable already"):
        releases.promote(str(base), 2, servers)


@pytest.mark.parametrize("method", ["wait_loaded", "wait_relabelled", "wait_unloaded"])
@pytest.mark.parametrize(
    "attempt",
    [
        lambda base, servers: releases.promote(base, 4, servers),
        lambda base, servers: releases.promote(base, 1, servers),
        releases.rollback,
    ],
    ids=["promote what was withdrawn", "promote an older version", "rollback"],
)
def test_what_a_server_does_not_take_is_undone(base, method, attempt):
    _push(base, 3)
    _push(base, 4, "canary")
    _push(base, 5, "canary")
    before = _state(base)
    servers = Failing(base, method)
    with pytest.raises(ReleaseError, match=r"10\.0\.0\.1:8500: version 3 failed to load"):
        attempt(str(base), servers)
    assert _state(base) == before
    assert version_folder.read_release_log(str(base))[-1]["action"] == "push"
    releases.promote(str(base), None, Prompt(base))  # Nothing is left of it.
    assert _labels(base) == {"stable": 5}


def _rollback(base):
    return lambda: releases.rollback(str(base), Prompt(base))


def _promote(base, version=None):
    return lambda: releases.promote(str(base), version, Prompt(base))


_RELEASES = {
    "rollback": ([(1, "stable"), (2, "stable")], _rollback),
    "rollback under a canary": ([(1, "stable"), (2, "stable"), (3, "canary")], _rollback),
    "promote": ([(1, "stable"), (2, "canary")], _promote),
    "promote what was withdrawn": ([(1, "stable"), (2, "canary"), (3, "canary")], lambda base: _promote(base, 2)),
    "promote an older version": (
        [(1, "stable"), (2, "stable"), (3, "stable"), (4, "canary")], lambda base: _promote(base, 1)
    ),
    "promote what is stable": ([(1, "stable"), (2, "stable"), (3, "canary")], lambda base: _promote(base, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", _RELEASES)
@pytest.mark.parametrize("done", [False, True], ids=["before the step", "after the step"])
def test_a_release_killed_at_any_step_is_finished_by_the_same_command(tmp_path, name, done, monkeypatch):
    pushes, make = _RELEASES[name]
    whole = tmp_path / "whole"
    for number, label in pushes:
        _push(whole, number, label)
    make(whole)()
    for step in itertools.count():
        base = tmp_path / str(step)
        for number, label in pushes:
            _push(base, number, label)
        with monkeypatch.context() as patch:
            kill_at(patch, step, done)
            try:
                make(base)()
            except Killed:
                pass
            else:
                assert step > 3
                break
        # What production is answered by is loaded, wherever it stopped.
        assert _labels(base)["stable"] in _visible(base)[-tf_serving_config.LOADED_VERSIONS :]
        begun = (base / "tensorflow_serving" / "pending.json").exists()
        if begun or len(version_folder.read_release_log(str(base))) == len(
            pushes
        ):  # Else it was killed when all was done.
            make(base)()
        assert _state(base) == _state(whole), step
        (*pushed, record), (*_, expected) = (
            version_folder.read_release_log(str(base)),
            version_folder.read_release_log(str(whole)),
        )
        assert len(pushed) == len(pushes), step
        assert {**record, "time": ""} == {**expected, "time": ""}, step
        assert not (base / "tensorflow_serving" / "pending.json").exists()


def test_a_release_that_was_killed_is_finished_before_another(base, monkeypatch):
    _push(base, 3)
    with monkeypatch.context() as patch:
        kill_at(patch, 5, False)
        with pytest.raises(Killed):
            releases.rollback(str(base), Prompt(base))
    assert (base / "tensorflow_serving" / "pending.json").exists()
    with releases.exclusive(str(base)):
        assert releases.finish(str(base), Prompt(base))["action"] == "rollback"
    assert _state(base) == ([1, 2], [3], {"stable": 2})


def test_without_addresses_servers_get_the_time_to_read_the_labels(base, monkeypatch):
    slept, said = [], []
    monkeypatch.setattr(releases.time, "sleep", lambda seconds: slept.append((seconds, _visible(base), _labels(base))))
    releases.rollback(str(base), releases.FixedWait(said.append))
    assert slept == [(tf_serving_config.LABELS_POLL_SECONDS, [1, 2], {"stable": 1})]
    assert "waiting 10 s" in said[0]
    assert _visible(base) == [1]
    slept.clear()
    releases.promote(str(base), 2, releases.FixedWait(said.append))  # No label leaves a version that goes.
    assert slept == []


def test_a_damaged_configuration_is_named(base, servers):
    path = base / "tensorflow_serving" / "models.config"
    path.write_text("model_config_list {")
    with pytest.raises(
        ReleaseError, match=r"models.config: expected a ModelServerConfig.*the newest version is stable"
    ):
        releases.rollback(str(base), servers)


def test_two_releases_at_once_wait_for_each_other(base):
    import subprocess
    import sys

    code = (
        "import sys, time\n"
        "from framecast.serving import releases\n"
        f"with releases.exclusive({str(base)!r}):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
        f"    open({str(base / 'released')!r}, 'w').close()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        import fcntl

        with open(base / "tensorflow_serving" / ".lock", "a") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder.stdin.close()
        with releases.exclusive(str(base)):
            assert (base / "released").exists()


def test_what_is_written_is_json_a_line(base):
    text = pathlib.Path(base, "tensorflow_serving", "releases.jsonl").read_text()
    assert [json.loads(line)["version"] for line in text.splitlines()] == [1, 2]
