"""`framecast run --span`: the selected span, when there is nothing to do, and no import of TFX in that case."""

import json
import subprocess
import sys

import pytest
import yaml

from framecast.clips.files import exclusive
from tests.pipeline.config_file import write_config


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, data='{train: "day{SPAN}/*.gz", eval: "eval{SPAN}/*.gz"}')
    for name in ("day1/a.gz", "eval1/a.gz", "day2/a.gz", "eval2/a.gz", "day3/a.gz"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture
def ran(folder):
    """Writes the record of a run."""

    def ran(name, spans, verdict, components=("ClipExampleGen", "Pusher"), train="day{SPAN}/*.gz"):
        run = folder / "work" / "runs" / name
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(yaml.safe_dump({"data": {"train": str(folder / train)}}))
        if verdict is not None:
            parts = [{"name": component} for component in components]
            (run / "run.json").write_text(json.dumps({"verdict": verdict, "spans": spans, "components": parts}))

    return ran


@pytest.fixture
def started(monkeypatch):
    """Returns the configurations of started runs; nothing is run."""
    from framecast.pipeline.runs import run as runs
    from framecast.pipeline.runs.result import RunResult

    configs = []

    def begin(config, *_):
        configs.append(config)
        return RunResult(verdict="pushed")

    monkeypatch.setattr(runs, "_recorded_run", begin)
    return configs


@pytest.mark.parametrize("verdict", ["pushed", "unchanged", "rejected"])
def test_finished_span_is_not_run_again(framecast, ran, started, verdict):
    ran("20260101-000000-000000", [1, 2], verdict)
    ran("20260102-000000-000000", [1], "pushed")  # A later run of an earlier span.
    answer = framecast("run", "config.yaml", "--span", "latest")
    assert (answer.code, started) == (0, [])
    done = f"unchanged: nothing to do: run 20260101-000000-000000 ended with span 2: {verdict}; span 3 is"
    assert answer.text.startswith(done)
    printed = json.loads(framecast("run", "config.yaml", "--span", "latest", "--json").out)
    assert printed["verdict"] == "unchanged"
    assert framecast("run", "config.yaml", "--span", "2").code == 0
    assert [config.data.newest_span for config in started] == [2]


@pytest.mark.parametrize(
    "run",
    [
        {"spans": [2], "verdict": "failed"},
        {"spans": [2], "verdict": None},
        {"spans": [2], "verdict": "unchanged", "components": ["ClipExampleGen", "Transform"]},
        {"spans": [2], "verdict": "pushed", "train": "week{SPAN}/*.gz"},
        {"spans": [1], "verdict": "pushed"},
    ],
    ids=["failed", "killed", "stopped as asked", "of other data", "of the span before"],
)
def test_unfinished_span_is_run(framecast, ran, started, run):
    ran("20260101-000000-000000", **run)
    assert framecast("run", "config.yaml", "--span", "latest").code == 0
    assert [config.data.newest_span for config in started] == [2]


def test_no_complete_span_means_nothing_to_do(framecast, folder, started):
    for day in (1, 2):
        (folder / f"day{day}" / ".b.gz.part").touch()
    answer = framecast("run", "config.yaml", "--span", "latest")
    assert (answer.code, started) == (0, [])
    assert f"span 1 is incomplete: data.train: {folder}/day1/.b.gz.part is still being written" in answer.text
    assert not (folder / "work").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--span=latest", "--set=data={train: day1/*, eval: null}"], "--span latest: expected {SPAN} in data.train"),
        (["--span=newest"], "--span: expected latest or a number, received newest"),
        (["--span=7"], "/day{SPAN}/*.gz (1, 2, 3), received 7"),
        (["--span=3"], "data.eval: expected files for each span of data.train, received none of span 3"),
        (["--span=latest", "--set=data.train=week{SPAN}/*"], "data.train: expected files, received none that match"),
    ],
)
def test_impossible_span_is_rejected_with_its_name(framecast, folder, arguments, message):
    answer = framecast("run", "config.yaml", *arguments)
    assert answer.code == 2
    assert message in answer.text


def test_impossible_work_directory_is_refused(framecast, folder, started):
    (folder / "file").touch()
    for workdir, message in (("work [1]", "expected a path without wildcards"), ("file", "expected a folder")):
        answer = framecast("run", "config.yaml", "--workdir", workdir)
        assert (answer.code, started) == (2, [])
        assert f"--workdir: {message}" in answer.text
        assert str(folder / workdir) in answer.text


def test_second_run_fails_while_one_runs(framecast, folder, started):
    (folder / "work").mkdir()
    with exclusive(folder / "work", "run"):
        answer = framecast("run", "config.yaml", "--span", "latest")
    assert (answer.code, started) == (1, [])
    assert "expected no other run in this folder, found process" in answer.text


def test_nothing_to_do_imports_no_tfx(folder, ran):
    ran("20260101-000000-000000", [2], "rejected")
    code = (
        "import sys\n"
        "from framecast.pipeline.cli import main as cli\n"
        "sys.argv = ['framecast', 'run', 'config.yaml', '--span', 'latest']\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "loaded = [name for name in ('tensorflow', 'tfx', 'apache_beam', 'keras') if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
