"""`framecast evaluate`: metrics, comparisons and thresholds of exported models, and refused input."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf

from framecast.clips.demo.moving_digits import make_demo
from framecast.clips.demo.task_demos import make_motion
from framecast.clips.records import read_records, write_records
from framecast.evaluation.baselines import extrapolation
from framecast.evaluation.metrics.forecast import REFERENCES
from framecast.evaluation.metrics.sums import Sums
from framecast.pipeline.commands import evaluate as evaluation
from framecast.pipeline.config import config as configuration
from framecast.pipeline.dag.contract import contract
from framecast.schemas import features
from framecast.serving.exported_model import find_model
from framecast.serving.predictions import extrapolation_comparison
from tests.untrained import export_untrained

_CONFIG = """
data: {train: "clips/train/*", eval: "clips/eval/*"}
clip: {frames: {min: 8, max: 12}}
task: {horizon: 3, context: {min: 6}}
model: {preset: convlstm-tiny}
train: {steps: 1}
evaluate:
  thresholds: {mse: {max: 1.0, max_increase_vs_serving: 0.0}, skill: {min: 0.9, per_lead_time: true}}
push: {directory: serving}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Clips; versions 2 and 10 of a model, another model, and a model of another horizon."""
    folder = tmp_path_factory.mktemp("evaluate")
    make_demo(folder / "clips", clips=42, seed=1, size=32, frames=(8, 12))
    config = folder / "config.yaml"
    config.write_text(_CONFIG)
    export_untrained(config, folder / "serving" / "10", seed=1)
    export_untrained(config, folder / "other", seed=2)
    # Copies, because no test depends on the weights of these two.
    for copy in ("serving/2", "far"):
        shutil.copytree(folder / "serving" / "10", folder / copy)
    card = {"contract": contract(configuration.load(str(config), ["task.horizon=4"]))}
    (folder / "far" / "assets.extra" / "framecast.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="module")
def compared(folder):
    """The newest version of `serving`, compared with `other` on the eval split."""
    files = list(map(str, (folder / "clips" / "eval").iterdir()))
    return evaluation.evaluate(find_model(str(folder / "serving")), files, find_model(str(folder / "other")))


@pytest.fixture
def evaluate(framecast, folder):
    """Runs `framecast evaluate` on the eval split or on `clips`; returns the exit code and the JSON or the error."""

    def run(model, *arguments, clips=None):
        done = framecast("evaluate", folder / model, clips or folder / "clips" / "eval", *arguments, "--json")
        return done.code, json.loads(done.out) if done.out else done.text

    return run


def _lengths(folder):
    """Returns the number of frames of each clip of the eval split."""
    examples = [
        tf.train.SequenceExample.FromString(record)
        for path in sorted((folder / "clips" / "eval").iterdir())
        for _, record in read_records(path)
    ]
    return [len(example.feature_lists.feature_list[features.ENCODED].feature) for example in examples]


def test_newest_version_is_compared_on_the_same_clips(evaluate, compared, folder):
    found = compared.to_json()
    assert (found["model"], found["against"]) == (str(folder / "serving" / "10"), str(folder / "other"))
    code, other = evaluate("other")
    assert code == 0
    assert found["figures"]["against"] == other["figures"]["model"]
    assert found["figures"]["model"]["mse/lead_3"] != found["figures"]["against"]["mse/lead_3"]
    lengths = _lengths(folder)
    assert found["left_out"] == sum(length < 9 for length in lengths) > 0
    assert found["clips"] + found["left_out"] == len(lengths)
    expected = {f"length: {length}" for length in lengths if length >= 9}
    assert {name for name in found["slices"] if "length" in name} == expected


def test_missed_thresholds_are_named_and_exit_with_3(evaluate, folder):
    code, found = evaluate("serving/2", f"--config={folder / 'config.yaml'}", f"--against={folder / 'serving' / '2'}")
    assert (code, found["blessed"]) == (3, False)
    missed = [(miss["metric"], miss["lead_time"], miss["bound"]) for miss in found["misses"]]
    assert missed == [("skill", lead, "at least 0.9") for lead in (1, 2, 3)]
    for miss in found["misses"]:
        assert miss["value"] == found["figures"]["model"][f"skill/lead_{miss['lead_time']}"]


def test_table_has_model_and_baselines_side_by_side(compared):
    found = dataclasses.replace(compared, extrapolation=None)
    lines = found.describe().splitlines()
    header = next(line for line in lines if "persistence" in line)
    assert header.split() == ["model", "against", "persistence", "climatology", "black", "persistence", "blurred"]
    first = next(place for place, line in enumerate(lines) if line.startswith("mse "))
    keys = ["mse{}", "mse{}", *(f"mse_{reference}{{}}" for reference in REFERENCES)]
    for lead, line in enumerate(lines[first : first + 4]):
        place = f"/lead_{lead}" if lead else ""
        expected = [found.verdict.figures[key.format(place)] for key in keys]
        expected[1] = found.verdict.serving[f"mse{place}"]
        assert list(map(float, line.split()[-6:])) == pytest.approx(expected, rel=1e-3)
    assert lines[-1] == extrapolation.MISSING
    sums = {"model": Sums(), "against": Sums(), "extrapolation": Sums()}
    comparison = extrapolation_comparison.ExtrapolationComparison(7, sums)
    lines = dataclasses.replace(found, extrapolation=comparison).describe().splitlines()
    place = lines.index("over the pixels that extrapolation reaches, 7 clips:")
    assert lines[place + 1].split() == ["model", "against", "extrapolation"]
    rows = [line.split()[0] for line in lines[place + 2 :] if not line.startswith("  lead")]
    assert {"mse", "mae", "psnr", "ssim", "skill"} <= set(rows)
    assert not any("persistence" in name for name in rows)


def test_bad_clip_names_file_and_record(evaluate, folder, tmp_path):
    (path, *_) = sorted((folder / "clips" / "eval").iterdir())
    records = [record for _, record in read_records(path)]
    broken = tf.train.SequenceExample.FromString(records[1])
    broken.feature_lists.feature_list[features.TIMESTAMP].feature[3].int64_list.value[0] += 70_000
    write_records(tmp_path / "bad.tfrecord", [records[0], broken.SerializeToString(), *records[2:]])
    code, text = evaluate("serving", clips=tmp_path / "bad.tfrecord")
    assert code == 1
    assert text.startswith(f"framecast: {tmp_path}/bad.tfrecord, record 1: clip ")
    assert "frame 3: image/timestamp" in text
    assert "while running" not in text


def test_only_short_clips_are_an_error(evaluate, folder, tmp_path):
    make_demo(tmp_path / "short", clips=7, seed=1, size=32, frames=(8, 8))
    code, text = evaluate("serving", clips=tmp_path / "short" / "eval")
    assert code == 1
    assert "expected a clip of at least 9 frames, received 1 shorter ones" in text


def test_models_of_different_contracts_are_not_compared(evaluate, folder):
    code, text = evaluate("serving", f"--against={folder / 'far'}")
    assert code == 2
    assert "'horizon': 3" in text
    assert "'horizon': 4" in text


def _with_rate(folder, name, rate):
    """Copies a model with another frame rate on its card."""
    shutil.copytree(folder / "serving" / "10", folder / name)
    path = folder / name / "assets.extra" / "framecast.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "frame_rate": rate}))
    return name


def test_clips_of_another_interval_are_refused(evaluate, folder):
    slow = _with_rate(folder, "slow", 5.0)
    code, text = evaluate(slow)
    assert code == 1
    assert re.search(r"clips/eval/.*, record 0: clip .*: expected 0.2 s between frames, received 0.1 s", text)
    code, text = evaluate(_with_rate(folder, "fast", 10.0), f"--against={folder / slow}")
    assert code == 2
    assert "clip.intervals: expected 0.1 s between frames, received 0.2 s" in text
    other = folder / "other.yaml"
    other.write_text(_CONFIG.replace("max: 12}", "max: 12}, intervals: [0.1]"))
    code, text = evaluate(slow, f"--config={other}")
    assert code == 2
    assert f"{other}: clip.intervals: expected 0.2 s between frames, received 0.1 s" in text


def test_unknown_interval_of_model_is_said(compared):
    assert compared.not_compared == compared.to_json()["not_compared"] == ["interval between frames 0.1 s"]
    expected = "not compared, because the model's card does not have it: interval between frames 0.1 s"
    assert compared.describe().splitlines().count(expected) == 1


def test_configuration_of_another_task_is_refused(evaluate, folder):
    code, text = evaluate("far", f"--config={folder / 'config.yaml'}")
    assert code == 2
    assert "config.yaml: task: expected " in text


def test_missing_model_is_named_without_importing_tensorflow(folder):
    code = (
        "import sys\n"
        "from framecast.pipeline.cli import main as cli\n"
        f"sys.argv = ['framecast', 'evaluate', {str(folder / 'clips')!r}, {str(folder / 'clips')!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert end.code == 1\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"{folder / 'clips'}: expected an exported model or a folder of versions, received none" in done.stderr


def test_model_without_card_is_refused(evaluate, folder):
    (folder / "foreign").mkdir()
    (folder / "foreign" / "saved_model.pb").touch()
    code, text = evaluate("foreign")
    assert code == 1
    assert "assets.extra/framecast.json: expected the contract of a model exported by Framecast" in text


def test_classifier_has_classification_metrics(framecast, tmp_path):
    make_motion(tmp_path / "clips", clips=14, seed=0, size=32)
    path = tmp_path / "config.yaml"
    path.write_text(
        _CONFIG.split("clip:")[0]
        + "clip: {frames: {min: 8, max: 16}}\ntask: {kind: classify, classes: 2}\nmodel: {preset: cnn-convlstm-small}\n"
        + "train: {steps: 1}\npush: {directory: serving}\n"
    )
    export_untrained(path, tmp_path / "model")
    done = framecast("evaluate", tmp_path / "model", tmp_path / "clips" / "eval", "--json")
    assert done.code == 0, done.text
    figures = json.loads(done.out)["figures"]["model"]
    assert figures["accuracy"] in (0, 0.5, 1)
    assert figures["cross_entropy"] > 0


def test_intervals_cover_figures_and_their_difference(compared):
    found = compared.to_json()
    intervals = found["intervals"]
    assert intervals["recordings"] == found["clips"]  # Each clip of the demo is a recording.
    for who, key in (("model", "figures"), ("against", "serving")):
        low, high = intervals[key]["mse/lead_3"]
        assert low < found["figures"][who]["mse/lead_3"] < high
    low, high = intervals["differences"]["mse"]
    assert low < found["figures"]["model"]["mse"] - found["figures"]["against"]["mse"] < high
    assert {"source: clips", "label: none"} <= set(found["slices"])
