"""The order of runs: by start in UTC, in any zone, also if the clock is set back."""

import datetime
import json

import pytest

from framecast.pipeline.runs import records

_NOON = datetime.datetime(2026, 10, 25, 12, tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_new_run_is_latest_in_any_zone(tmp_path, monkeypatch, zone):
    _earlier_version(tmp_path, "20261025-130000-000000", "2026-10-25T13:00:00+02:00")
    monkeypatch.setenv("TZ", zone)
    new = records.make_folder(tmp_path, _NOON)
    assert new.name == "20261025-120000-000000Z"
    assert records.find_run(tmp_path, "latest").folder == new


def test_repeated_hour_of_october_keeps_order(tmp_path):
    summer = _earlier_version(tmp_path, "20261025-025500-000000", "2026-10-25T02:55:00+02:00")
    winter = _earlier_version(tmp_path, "20261025-020500-000000", "2026-10-25T02:05:00+01:00")
    assert records.folders(tmp_path) == [winter, summer]


def test_clock_set_back_keeps_order(tmp_path):
    first = records.make_folder(tmp_path, _NOON)
    second = records.make_folder(tmp_path, _NOON - datetime.timedelta(days=1))
    third = records.make_folder(tmp_path, _NOON - datetime.timedelta(hours=1))
    assert records.folders(tmp_path) == [third, second, first]
    assert second.name == "20261025-120000-000001Z"


def test_folder_of_another_name_is_oldest(tmp_path):
    foreign = tmp_path / "runs" / "zzz-copy"
    foreign.mkdir(parents=True)
    run = records.make_folder(tmp_path, _NOON)
    assert records.folders(tmp_path) == [run, foreign]


def _earlier_version(workdir, name, time):
    """Writes the record of a run as earlier versions did: named by local time."""
    folder = workdir / "runs" / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"verdict": "pushed", "time": time}))
    return folder
