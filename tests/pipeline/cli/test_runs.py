"""`framecast runs list`, `show` and `compare` on recorded runs, without TensorFlow or TFX."""

import json
import subprocess
import sys

import pytest
import yaml

_FIRST, _SECOND, _KILLED = "20260101-120000-000001Z", "20260102-120000-000001Z", "20260103-120000-000001Z"
_CONFIG = {
    "task": {"kind": "forecast", "horizon": 2},
    "train": {"steps": 40, "learning_rate": 0.005},
    "evaluate": {"thresholds": {}},
}


_EXAMPLES = {
    "id": 1,
    "key": "examples",
    "uri": "/artifacts/examples/1",
    "execution": 1,
    "run": "20251231-120000-000001Z",
}
_MODEL = {"id": 9, "key": "model", "uri": "/artifacts/model/5", "execution": 5, "run": _FIRST}
_LINEAGE = [
    {"id": 4, "component": "ClipExampleGen", "state": "cached", "inputs": [], "outputs": [_EXAMPLES]},
    {"id": 5, "component": "Trainer", "state": "done", "inputs": [_EXAMPLES], "outputs": [_MODEL]},
    {"id": 6, "component": "Evaluator", "state": "failed", "inputs": [_EXAMPLES, _MODEL], "outputs": []},
]


def _record(folder, steps, mse, skill, **changes):
    folder.mkdir(parents=True)
    config = {**_CONFIG, "train": {**_CONFIG["train"], "steps": steps}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    record = {
        "verdict": "pushed",
        "why": "version 7 at serving/7",
        "figures": {
            "mse": mse,
            "skill": skill,
            "mse/lead_1": mse / 2,
            "mse/lead_2": mse * 1.5,
            "psnr": None,
            "power_2px": mse,
            "power_4px": mse,
        },
        "misses": [],
        "components": [
            {"name": "ClipExampleGen", "state": "cached", "seconds": 0.1, "peak_memory": None, "note": "clips"},
            {"name": "Trainer", "state": "done", "seconds": 30.5, "peak_memory": 2300 * 2**20, "note": "val loss 0.1"},
        ],
        "bad_clips": {"empty-clip": 2},
        "spans": [3, 4],
        "drift": [],
        "version": "7",
        "log": str(folder / "log.txt"),
        "report": str(folder / "report" / "index.html"),
        "seconds": 83.7,
        "time": "2026-01-01T12:00:00+00:00",
        "data": "d1d1",
        "code": "c0de",
        "packages": {"python": "3.10.13", "tensorflow": "2.16.2"},
        "lineage": _LINEAGE,
    }
    (folder / "run.json").write_text(json.dumps({**record, **changes}))


@pytest.fixture
def workdir(tmp_path):
    runs = tmp_path / "work" / "runs"
    _record(runs / _FIRST, 40, 0.04, -0.5)
    changes = {
        "verdict": "rejected",
        "why": "mse: expected at most 0.01, received 0.02",
        "version": None,
        "data": "d2d2",
    }
    _record(runs / _SECOND, 80, 0.02, 0.25, packages={"python": "3.10.13", "tensorflow": "2.16.3"}, **changes)
    return tmp_path / "work"


def test_list_has_every_run_newest_first(framecast, workdir):
    (workdir / "runs" / _KILLED).mkdir()
    lines = framecast("runs", "list", "--workdir", workdir).text.splitlines()
    assert [line.split()[0] for line in lines] == ["run", _KILLED, _SECOND, _FIRST]
    assert "no record: killed or still running" in lines[1]
    assert lines[2].split()[1:] == ["rejected", "mse", "0.02,", "skill", "0.25", "83.7"]
    assert lines[3].split()[1:] == ["pushed", "mse", "0.04,", "skill", "-0.5", "7", "83.7"]
    listed = json.loads(framecast("runs", "list", "--workdir", workdir, "--json").out)
    assert [run["name"] for run in listed] == [_KILLED, _SECOND, _FIRST]
    assert listed[2]["figures"] == {"mse": 0.04, "skill": -0.5}
    assert (listed[2]["verdict"], listed[2]["version"], listed[2]["seconds"]) == ("pushed", "7", 83.7)


def test_old_verdict_lost_is_read_as_rejected(framecast, workdir):
    path = workdir / "runs" / _FIRST / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "verdict": "lost"}))
    shown = json.loads(framecast("runs", "show", _FIRST, "--workdir", workdir, "--json").out)
    assert shown["record"]["verdict"] == "rejected"


@pytest.mark.parametrize("name", [_FIRST, "20260101"])
def test_run_is_shown_with_its_origins(framecast, workdir, name):
    answer = framecast("runs", "show", name, "--workdir", workdir)
    assert answer.code == 0
    for part in (
        f"run {_FIRST}, 2026-01-01T12:00:00+00:00, 84 s", "pushed: version 7 at serving/7", "data: d1d1", "code: c0de",
        "tensorflow 2.16.2", "2 empty-clip", "spans: 3, 4", "train.steps: 40", "val loss 0.1",
        f"report: {workdir}/runs/{_FIRST}/report/index.html",
    ):  # fmt: skip
        assert part in answer.text
    (row,) = (line.split() for line in answer.text.splitlines() if line.startswith("mse "))
    assert row == ["mse", "0.04", "0.02", "0.06"]
    assert [f"power_{length}px" in answer.text for length in (2, 4)] == [False, True]


def test_run_is_shown_with_memory_and_lineage(framecast, workdir):
    rows = [line.split() for line in framecast("runs", "show", _FIRST, "--workdir", workdir).text.splitlines()]
    for row in (
        ["component", "state", "seconds", "peak", "MiB", "note"],
        ["ClipExampleGen", "cached", "0.1", "clips"],
        ["Trainer", "done", "30.5", "2300", "val", "loss", "0.1"],
        ["component", "execution", "made", "from", "artifact", "made", "in", "run", "folder"],
        ["ClipExampleGen", "4", "cached", "1", "examples", "20251231-120000-000001Z", "/artifacts/examples/1"],
        ["Trainer", "5", "done", "1", "9", "model", _FIRST, "/artifacts/model/5"],
        ["Evaluator", "6", "failed", "1,", "9"],
    ):
        assert row in rows, row
    shown = json.loads(framecast("runs", "show", _FIRST, "--workdir", workdir, "--json").out)
    assert shown["record"]["lineage"] == _LINEAGE


def test_missing_lineage_is_shown_as_unknown(framecast, workdir):
    path = workdir / "runs" / _FIRST / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lineage": []}))
    assert "lineage: unknown" in framecast("runs", "show", _FIRST, "--workdir", workdir).text.splitlines()


def test_latest_is_the_newest_run(framecast, workdir):
    shown = json.loads(framecast("runs", "show", "latest", "--workdir", workdir, "--json").out)
    assert (shown["name"], shown["record"]["verdict"], shown["config"]["train.steps"]) == (_SECOND, "rejected", 80)


def test_killed_run_is_shown_without_record(framecast, workdir):
    (workdir / "runs" / _KILLED).mkdir()
    answer = framecast("runs", "show", "latest", "--workdir", workdir)
    assert answer.code == 0
    assert "no record: killed or still running" in answer.text


def test_comparison_lists_figures_and_keys(framecast, workdir):
    found = json.loads(framecast("runs", "compare", _FIRST, "latest", "--workdir", workdir, "--json").out)
    assert found["runs"] == [_FIRST, _SECOND]
    assert found["figures"]["mse"] == {"a": 0.04, "b": 0.02, "difference": -0.02}
    assert found["figures"]["psnr"] == {"a": None, "b": None, "difference": None}
    assert found["config"] == {"train.steps": [40, 80]}
    assert found["packages"] == {"tensorflow": ["2.16.2", "2.16.3"]}
    assert found["overview"]["data"] == ["d1d1", "d2d2"]
    text = framecast("runs", "compare", _FIRST, "latest", "--workdir", workdir).text
    rows = [line.split() for line in text.splitlines()]
    assert ["mse", "0.04", "0.02", "-0.02", "better"] in rows
    assert ["skill", "-0.5", "0.25", "+0.75", "better"] in rows
    assert ["train.steps", "40", "80"] in rows
    assert [f"power_{length}px" in text for length in (2, 4)] == [False, True]
    assert "The data differ, so the figures may be over different clips." in text
    backwards = framecast("runs", "compare", "latest", _FIRST, "--workdir", workdir).text
    assert ["mse", "0.02", "0.04", "+0.02", "worse"] in [line.split() for line in backwards.splitlines()]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("20260101-120000-00001", f"received 20260101-120000-00001; did you mean {_FIRST}?"),
        ("best", f"received best; runs: {_SECOND}, {_FIRST}"),
        ("2026", f"run name '2026' is ambiguous: {_SECOND}, {_FIRST}"),
    ],
)
def test_unknown_run_error_lists_the_runs(framecast, workdir, name, message):
    answer = framecast("runs", "show", name, "--workdir", workdir)
    assert answer.code == 2
    assert message in answer.text


def test_folder_without_runs_is_named(framecast, tmp_path):
    answer = framecast("runs", "list", "--workdir", tmp_path)
    assert answer.code == 2
    assert f"expected a work directory of framecast run, found no run in {tmp_path}/runs" in answer.text


@pytest.mark.parametrize("command", [["list"], ["show", "latest"], ["compare", _FIRST, _SECOND]])
def test_nothing_heavy_is_imported(workdir, command):
    code = (
        "import sys\n"
        "from framecast.pipeline.cli import main as cli\n"
        f"sys.argv = ['framecast', 'runs', *{command!r}, '--workdir', {str(workdir)!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "loaded = [name for name in ('tensorflow', 'tfx', 'apache_beam', 'keras') if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
