"""A Flink cluster for the tests of this folder, and the radar pipeline, run on it by the command line."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

from framecast.clips.records import read_records
from framecast.pipeline.config import config as configuration

_SPEC = importlib.util.spec_from_file_location("flink_cluster", pathlib.Path(__file__).with_name("cluster.py"))
cluster_module = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(cluster_module)

_TREE = pathlib.Path(__file__).resolve().parents[2]
_CONFIG = _TREE / "configs/radar.yaml"
# Few steps, of which no skill can be asked.
_SETTINGS = [
    "train.steps=4",
    "train.eval_every=2",
    "train.batch_frames=64",
    "export.batch_sizes=[1]",
    "evaluate.thresholds.skill.min=-1e9",
]


class Run:
    """A run of the radar pipeline in a separate process and work directory."""

    def __init__(self, folder, beam, to):
        self.folder = folder
        self.serving = folder / "serving"
        command = [pathlib.Path(sys.executable).with_name("framecast"), "run", _CONFIG, "--workdir", folder]
        for setting in (*_SETTINGS, f"beam={json.dumps(beam)}", f"push.directory={self.serving}"):
            command += ["--set", setting]
        command += ["--to", to] if to else []
        folder.mkdir(exist_ok=True)
        with open(folder / "screen.txt", "a") as screen:
            self.process = subprocess.Popen(command, stdout=screen, stderr=screen)

    def check(self):
        """Raises when the run is over, which whoever waits for something of it does not expect."""
        assert self.process.poll() is None, self.record()

    def wait(self, seconds=1200):
        """The run's record, once it is over."""
        self.process.wait(seconds)
        return self.record()

    def record(self):
        newest = max((self.folder / "runs").iterdir()) / "run.json"
        return json.loads(newest.read_text()) if newest.exists() else (self.folder / "screen.txt").read_text()

    def records(self, component, output, split):
        """All records of a split of a component's newest output, sorted."""
        folders = (self.folder / "artifacts" / component / output).iterdir()
        files = (max(folders, key=lambda path: int(path.name)) / f"Split-{split}").glob("*-of-*")
        return sorted(record for file in files for _, record in read_records(file))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    with cluster_module.FlinkCluster(tmp_path_factory.mktemp("flink") / "cluster", task_managers=2) as running:
        yield running


@pytest.fixture(scope="session")
def resolved():
    """The configuration of every run, as `resolved(*overrides)`."""
    return lambda *overrides: configuration.load(str(_CONFIG), [*_SETTINGS, *overrides])


@pytest.fixture(scope="session")
def await_():
    return cluster_module.await_


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Starts a run of the radar pipeline: `start(name, beam section, to=component)`."""
    folder = tmp_path_factory.mktemp("runs")
    runs = []

    def starting(name, beam, to=None):
        runs.append(Run(folder / name, beam, to))
        return runs[-1]

    yield starting
    for run in runs:
        run.process.kill()


@pytest.fixture(scope="session")
def local_run(start):
    """The single-process run that others are compared with."""
    run = start("local", {"engine": "local", "parallelism": 1})
    record = run.wait()
    assert record["verdict"] == "pushed", record
    return run
