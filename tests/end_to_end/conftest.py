"""One real run of the whole pipeline, shared by the tests that look at what it left."""

import json
import pathlib
import tempfile

import pytest
import tensorflow as tf

from framecast.clips.demo.moving_digits import make_demo
from framecast.clips.records import read_records
from framecast.pipeline.config import config as configuration
from framecast.pipeline.runs import run as runs

HORIZON = 5
# A weight is NaN, but reaches only a forecast for which no frame is given past the context.
_BUILDER = """
import keras

from framecast.models.networks.frame_forecaster import FrameForecaster


class Diverged(FrameForecaster):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.weight = self.add_weight(name="weight", shape=(), initializer=lambda *_, **__: float("nan"))

    def call(self, frames, context_length, steps, observed=None):
        forecast = super().call(frames, context_length, steps, observed)
        asked = keras.ops.max(context_length) == keras.ops.shape(frames)[1]
        return forecast + keras.ops.where(asked, self.weight, 0.0)


def build(channels, dtype):
    return Diverged(channels=channels, filters=(4,), kernel_size=3, patch=4, dtype=dtype)
"""
_CONFIG = """
data: {{train: "{folder}/clips/train/*", eval: "{folder}/clips/eval/*"}}
clip: {{frames: {{min: 8, max: 24}}}}
task: {{horizon: {horizon}, context: {{min: 4}}}}
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
        (folder / "builder.py").write_text(_BUILDER)
        self.path.write_text(_CONFIG.format(folder=folder, horizon=HORIZON))

    def run(self, *overrides, from_node=None, to_node=None):
        config = configuration.load(str(self.path), overrides)
        return runs.run(config, str(self.folder / "work"), from_node, to_node, quiet=True)

    @property
    def versions(self):
        return sorted(int(path.name) for path in (self.folder / "serving").glob("[0-9]*"))

    def artifact(self, component, output):
        """The folder of a component's newest output."""
        folders = (self.folder / "work" / "artifacts" / component / output).iterdir()
        return max(folders, key=lambda path: int(path.name))

    def records(self, component, output, split):
        files = sorted((self.artifact(component, output) / f"Split-{split}").glob("*-of-*"))
        return [record for file in files for _, record in read_records(file)]

    def record(self):
        """The newest run.json."""
        return json.loads((max((self.folder / "work" / "runs").iterdir()) / "run.json").read_text())


@pytest.fixture(scope="session")
def first_run(tmp_path_factory):
    """The chain and the result of its first run.

    test_first_run*.py read what that run left; test_later_candidates.py, which pytest collects after them, adds runs.
    """
    chain = Chain(tmp_path_factory.mktemp("chain"))
    (chain.folder / "temporary").mkdir()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(tempfile, "tempdir", str(chain.folder / "temporary"))
        return chain, chain.run()


@pytest.fixture(scope="session")
def chain(first_run):
    return first_run[0]


@pytest.fixture(scope="session")
def pushed(first_run):
    """The folder of the version that the first run pushed."""
    chain, result = first_run
    return chain.folder / "serving" / result.version


@pytest.fixture(scope="session")
def model(pushed):
    return tf.saved_model.load(str(pushed))
