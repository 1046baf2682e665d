"""What can become of a candidate, through the command line: verdict, exit code, record and report of each."""

import json
import pathlib

import pytest

from framecast.clips.demo.moving_digits import make_demo
from framecast.serving.releases import version_folder

pytestmark = pytest.mark.slow  # Each is a run of the whole pipeline, and test_chain.py makes some already.

_CONFIG = """
data: {train: "clips/train/*", eval: "clips/eval/*"}
clip: {frames: {min: 8, max: 12}}
task: {horizon: 3, context: {min: 4}}
model: {preset: convlstm-tiny}
train: {steps: 3, batch_frames: 96, eval_every: 3}
evaluate: {thresholds: {mse: {max: 1.0, max_increase_vs_serving: 1.0}}}
push: {directory: serving}
"""

# Diverged weights, of a model that trains (`where`: everywhere) or does not notice in training (`where`: where it is
# asked for a forecast, and sees no frame past the context).
_BUILDER = """
import keras

from framecast.models.networks.frame_forecaster import Forecaster


class Diverged(Forecaster):
    def __init__(self, everywhere, **kwargs):
        super().__init__(**kwargs)
        self.everywhere = everywhere
        self.weight = self.add_weight(name="weight", shape=(), initializer=lambda *_, **__: float("nan"))

    def call(self, frames, context_length, steps, observed=None):
        forecast = super().call(frames, context_length, steps, observed)
        asked = keras.ops.max(context_length) == keras.ops.shape(frames)[1]
        return forecast + keras.ops.where(keras.ops.logical_or(self.everywhere, asked), self.weight, 0.0)


def everywhere(channels, dtype):
    return Diverged(True, channels=channels, filters=(4,), kernel_size=3, patch=4, dtype=dtype)


def when_asked(channels, dtype):
    return Diverged(False, channels=channels, filters=(4,), kernel_size=3, patch=4, dtype=dtype)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verdicts")
    make_demo(folder / "clips", clips=84, seed=1, size=32, frames=(8, 12))
    (folder / "config.yaml").write_text(_CONFIG)
    (folder / "builder.py").write_text(_BUILDER)
    return folder


@pytest.fixture
def run(framecast, folder, monkeypatch):
    """Runs `framecast run`; returns its exit code, what `run.json` says, and the report."""
    monkeypatch.chdir(folder)

    def run(*overrides):
        arguments = [argument for override in overrides for argument in ("--set", override)]
        answer = framecast("run", "config.yaml", "--workdir", "work", "--json", *arguments)
        printed = json.loads(answer.out)
        record = json.loads((max((folder / "work" / "runs").iterdir()) / "run.json").read_text())
        assert record == printed
        return answer.code, record, pathlib.Path(record["report"]).read_text()

    return run


def _serving(folder):
    """The versions that serve, the oldest first: each test finds those that the tests before it left."""
    return sorted(path.name for path in (folder / "serving").glob("[0-9]*"))


def test_a_first_run_is_pushed_without_a_serving_model_to_compare_with(run, folder):
    code, record, page = run()
    assert (code, record["verdict"], record["misses"]) == (0, "pushed", [])
    (version,) = version_folder.read_versions(str(folder / "serving"))
    assert (version.labels, str(version.number)) == (("stable",), record["version"])
    assert version.by == f"run {max((folder / 'work' / 'runs').iterdir()).name}"
    assert version.figures == {name: record["figures"][name] for name in ("mse", "skill")}
    assert _serving(folder) == [record["version"]]
    assert '<header id="verdict" class="pushed">' in page
    assert "Compared with no serving model" in page
    assert "Every threshold of the configuration was met." in page
    assert "candidate - serving" not in page


def test_a_candidate_within_its_bounds_replaces_what_serves(run, folder):
    (first,) = _serving(folder)
    code, record, page = run("train.steps=4")
    assert (code, record["verdict"], record["misses"]) == (0, "pushed", [])
    assert _serving(folder) == [first, record["version"]]
    assert "Compared with the serving model" in page
    assert "candidate - serving" in page
    before = json.loads((min((folder / "work" / "runs").iterdir()) / "run.json").read_text())
    assert f"(serving {before['figures']['mse']:.4g})" in page


def test_a_candidate_that_loses_one_slice_only_is_refused_with_its_name(run, folder):
    before = _serving(folder)
    bounds = "{mse: {max: 1.0, slices: {length: {12: {max: 1.0e-09}, 9: {max: 1.0}}, content: {each: {max: 1.0}}}}}"
    code, record, page = run("train.steps=4", f"evaluate.thresholds={bounds}")
    assert (code, record["verdict"]) == (3, "lost")
    (miss,) = record["misses"]
    assert (miss["metric"], miss["slice"], miss["bound"]) == ("mse", "length: 12", "at most 1e-09")
    assert record["why"].endswith(f"mse (length: 12): expected at most 1e-09, received {miss['value']:.6g}")
    assert '<header id="verdict" class="lost">' in page
    assert f'<td class="text">length: 12</td><td>{miss["value"]:.6g}</td><td class="text">at most 1e-09</td>' in page
    states = {part["name"]: part["state"] for part in record["components"]}
    assert states["Trainer"] == "cached"
    assert _serving(folder) == before


def test_a_candidate_whose_forecasts_are_no_numbers_is_refused(run, folder):
    before = _serving(folder)
    code, record, page = run("model.preset=null", "model.builder=builder.py:when_asked")
    assert (code, record["verdict"]) == (3, "lost")
    assert [(miss["metric"], miss["slice"], miss["value"]) for miss in record["misses"]] == [
        ("mse", "overall", None)
    ] * 2
    assert "mse: expected at most 1, received no finite number" in record["why"]
    assert record["figures"]["mse"] is None
    assert '<header id="verdict" class="lost">' in page
    assert "no finite number" in page
    assert _serving(folder) == before


def test_a_candidate_that_diverges_in_training_fails_there(run, folder):
    before = _serving(folder)
    code, record, page = run("model.preset=null", "model.builder=builder.py:everywhere")
    assert (code, record["verdict"]) == (1, "failed")
    assert "Trainer: loss at step 1: expected a finite number, received nan" in record["why"]
    assert '<header id="verdict" class="failed">' in page
    assert "No figures: the run ended before the Evaluator." in page
    assert _serving(folder) == before
