"""Three daily spans in succession, one of them broken at first, and garbage collection after them."""

import json
import pathlib
import shutil

import pytest

from framecast.clips.demo.moving_digits import make_demo
from framecast.serving.releases import version_folder

_CONFIG = """
data: {train: "day{SPAN}/train/*", eval: "day{SPAN}/eval/*", drift: {action: warn}}
clip: {frames: {min: 8, max: 12}}
task: {horizon: 3, context: {min: 4}}
model: {preset: convlstm-tiny}
train: {steps: 3, batch_frames: 96, eval_every: 3, warm_start: true}
evaluate: {thresholds: {mse: {max: 1.0}}}
push: {directory: serving}
"""


class Daily:
    """A folder that receives clips every day, and the command that cron would run."""

    def __init__(self, folder, framecast):
        self.folder = folder
        self._framecast = framecast
        (folder / "config.yaml").write_text(_CONFIG)

    def arrive(self, day):
        make_demo(self.folder / f"day{day}", clips=84, seed=day, size=32, frames=(8, 12))

    def run(self, *arguments):
        """Returns exit code and result of `framecast run --span latest`, or of other arguments."""
        arguments = arguments or ("--span", "latest")
        answer = self._framecast("run", "config.yaml", "--workdir", "work", "--json", *arguments)
        return answer.code, json.loads(answer.out)

    def records(self):
        """Returns `run.json` of every run, oldest first."""
        return [json.loads((run / "run.json").read_text()) for run in sorted((self.folder / "work" / "runs").iterdir())]

    def serving(self):
        """Returns labels and modification time of the serving versions, by number."""
        return {
            version.number: (version.labels, (self.folder / "serving" / str(version.number)).stat().st_mtime_ns)
            for version in version_folder.read_versions(str(self.folder / "serving"))
        }


def _artifact(record, component, key):
    (execution,) = (part for part in record["lineage"] if part["component"] == component)
    (artifact,) = (part for part in execution["outputs"] if part["key"] == key)
    return artifact


def _note(record, component):
    (note,) = (part["note"] for part in record["components"] if part["name"] == component)
    return note


@pytest.mark.slow
def test_each_day_runs_once_despite_a_broken_day(framecast, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    daily = Daily(tmp_path, framecast)
    daily.arrive(1)
    assert daily.run()[0] == 0
    first = daily.serving()
    assert len(first) == 1
    assert _note(daily.records()[0], "Trainer").startswith("cold start: nothing is serving, trained in ")
    code, result = daily.run()
    assert (code, result["verdict"]) == (0, "unchanged")
    assert result["why"].startswith("nothing to do: run ")
    assert len(daily.records()) == 1

    daily.arrive(2)
    path = next((tmp_path / "day2" / "train").iterdir())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    for failures in (1, 2):  # A failed run is tried again.
        code, result = daily.run()
        assert (code, result["verdict"]) == (1, "failed")
        assert str(path) in result["why"]
        assert daily.serving() == first
        assert len(daily.records()) == 1 + failures
    path.write_bytes(whole)
    assert daily.run()[1]["verdict"] == "pushed"
    daily.arrive(3)
    assert daily.run()[1]["verdict"] == "pushed"

    records = daily.records()
    ended = [record for record in records if record["verdict"] == "pushed"]
    assert [record["spans"] for record in ended] == [[1], [2], [3]]
    assert len({record["data"] for record in ended}) == 3
    versions = [int(record["version"]) for record in ended]
    assert sorted(daily.serving()) == versions
    assert daily.serving()[versions[0]] == ((), first[versions[0]][1])
    assert daily.serving()[versions[-1]][0] == ("stable",)
    runs = sorted(path.name for path in (tmp_path / "work" / "runs").iterdir())
    for number, record in enumerate(ended):
        run = runs[records.index(record)]
        examples, base = _artifact(record, "ClipExampleGen", "examples"), _artifact(record, "ServingModel", "model")
        assert examples["run"] == run
        # The copy of the model that served at that time; an earlier failed run of this span may have made it.
        serving = f"version {versions[number - 1]}" if number else "nothing is serving"
        assert (pathlib.Path(base["uri"]) / "serving.txt").read_text() == f"{serving}\n"
        (trainer,) = (part for part in record["lineage"] if part["component"] == "Trainer")
        assert base["id"] in [artifact["id"] for artifact in trainer["inputs"]]
        assert version_folder.read_versions("serving")[-1 - number].by == f"run {run}"
        assert _note(record, "Trainer").startswith(
            f"{'warm start from' if number else 'cold start:'} {serving}, trained in "
        )

    serving = daily.serving()
    code, result = daily.run("--span", "3", "--set", "evaluate.thresholds.mse.max=1.0e-09")
    assert (code, result["verdict"]) == (3, "rejected")
    assert daily.serving() == serving
    assert daily.run()[1]["why"].endswith("ended with span 3: rejected")

    newest = max(path.name for path in (tmp_path / "work" / "runs").iterdir())
    answer = framecast("runs", "gc", "work", "--keep", "1", "--versions", "1", "--yes", "--json")
    assert answer.code == 0, answer.text
    # Kept: the newest run, and the run that pushed the stable version.
    assert sorted(json.loads(answer.out)["kept"]) == [runs[-1], newest]
    # Servers load the newest two versions.
    assert sorted(daily.serving()) == versions[1:]
    assert daily.run()[1]["why"].endswith("ended with span 3: rejected")
    kept = daily.records()[0]
    for execution in kept["lineage"]:
        for artifact in (*execution["inputs"], *execution["outputs"]):
            assert pathlib.Path(artifact["uri"]).exists()
    assert not pathlib.Path(_artifact(ended[0], "Trainer", "model")["uri"]).exists()
    shutil.rmtree("day1")
    code, result = daily.run("--span", "2")  # An earlier span again: deleted artifacts are recomputed.
    assert (code, result["verdict"]) == (0, "pushed"), result["why"]
    assert result["spans"] == [2]
