"""One real run of the whole pipeline, shared by the tests that look at what it left."""

import json
import pathlib
import tempfile

import pytest
import tensorflow as tf

from framecast.clips.demo.moving_digits import make_demo
from framecast.pipeline.config import config as configuration
from framecast.pipeline.runs import run as runs

_CONFIG = """
data: {{train: "{folder}/clips/train/*", eval: "{folder}/clips/eval/*"}}
clip: {{frames: {{min: 8, max: 24}}}}
task: {{horizon: 5, context: {{min: 4}}}}
model: {{preset: convlstm-tiny}}
train: {{steps: 40, batch_frames: 96, learning_rate: 0.005, eval_every: 20}}
evaluate:
  events: {{thresholds: [0.2, 0.8], scales: [1, 5]}}
  thresholds:
    mse: {{max: 1.0, max_increase_vs_serving: 0.0}}
    skill_black: {{min: -5.0, per_lead_time: true}}
    csi_0.2: {{min: 0.0}}
push: {{directory: {folder}/serving}}
"""


class Chain:
    """A work directory with clips, a configuration and a serving folder."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        make_demo(folder / "clips", clips=63, seed=3, size=32)
        self.path = folder / "config.yaml"
        self.path.write_text(_CONFIG.format(folder=folder))

    def run(self, *overrides, from_node=None, to_node=None):
        config = configuration.load(str(self.path), overrides)
        return runs.run(config, str(self.folder / "work"), from_node, to_node, quiet=True)

    @property
    def versions(self):
        return sorted(int(path.name) for path in (self.folder / "serving").glob("[0-9]*"))

    @property
    def newest(self):
        """The folder of the version that was pushed last."""
        return self.folder / "serving" / str(self.versions[-1])

    def model(self):
        return tf.saved_model.load(str(self.newest))

    def artifact(self, component, output):
        """The folder of a component's newest output."""
        folders = (self.folder / "work" / "artifacts" / component / output).iterdir()
        return max(folders, key=lambda path: int(path.name))

    def records(self, component, output, split):
        files = sorted(map(str, (self.artifact(component, output) / f"Split-{split}").glob("*.gz")))
        return list(tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator())

    def record(self):
        """The newest run.json."""
        return json.loads((max((self.folder / "work" / "runs").iterdir()) / "run.json").read_text())


@pytest.fixture(scope="session")
def first_run(tmp_path_factory):
    """The chain and the result of its first run."""
    chain = Chain(tmp_path_factory.mktemp("chain"))
    (chain.folder / "temporary").mkdir()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(tempfile, "tempdir", str(chain.folder / "temporary"))
        return chain, chain.run()
