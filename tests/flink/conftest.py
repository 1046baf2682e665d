"""A Flink cluster for the tests of this folder, and the demo's chain, run on it by the command line."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from framecast.clips.demo import make_demo

_SPEC = importlib.util.spec_from_file_location("flink_cluster", pathlib.Path(__file__).with_name("cluster.py"))
cluster_module = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(cluster_module)

_CONFIG = """
data: {{train: "{folder}/clips/train/*", eval: "{folder}/clips/eval/*"}}
clip: {{frames: {{min: 8, max: 24}}}}
task: {{horizon: 5, context: {{min: 4}}}}
model: {{preset: convlstm-tiny}}
train: {{steps: 40, batch_frames: 96, learning_rate: 0.005, eval_every: 20}}
evaluate:
  events: {{thresholds: [0.2, 0.8], scales: [1, 5]}}
  thresholds: {{mse: {{max: 1.0}}}}
push: {{directory: "{folder}/serving"}}
"""


class Run:
    """A run of the pipeline in a process of its own, in a work directory of its own."""

    def __init__(self, folder, config, beam, to):
        self.folder = folder
        self.config = config
        self.serving = folder / "serving"
        command = [pathlib.Path(sys.executable).with_name("framecast"), "run", config, "--workdir", folder]
        command += ["--set", f"beam={json.dumps(beam)}", "--set", f"push.directory={self.serving}"]
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
        files = sorted(map(str, (max(folders, key=lambda path: int(path.name)) / f"Split-{split}").glob("*.gz")))
        return sorted(tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator())


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    with cluster_module.FlinkCluster(tmp_path_factory.mktemp("flink") / "cluster", task_managers=2) as running:
        yield running


@pytest.fixture(scope="session")
def await_():
    return cluster_module.await_


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Starts a run of the demo's chain: `start(name, beam section, to=component)`."""
    folder = tmp_path_factory.mktemp("runs")
    make_demo(folder / "clips", clips=63, seed=3, size=32)
    (folder / "config.yaml").write_text(_CONFIG.format(folder=folder))
    runs = []

    def starting(name, beam, to=None):
        runs.append(Run(folder / name, folder / "config.yaml", beam, to))
        return runs[-1]

    yield starting
    for run in runs:
        run.process.kill()


@pytest.fixture(scope="session")
def local_run(start):
    """The run of one process that all others are held against."""
    run = start("local", {"engine": "local", "parallelism": 1})
    record = run.wait()
    assert record["verdict"] == "pushed", record
    return run
