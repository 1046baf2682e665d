"""The configuration: errors that name key, expected and received; path resolution; the shipped files."""

import json
import pathlib

import pytest

from framecast.pipeline.config.config import ConfigError, json_schema, load, to_yaml
from framecast.pipeline.config.inputs import find_inputs
from tests.pipeline.config_file import write_config

_ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path):
    return write_config(tmp_path, "radar.yaml")


def test_overrides_replace_single_keys(path):
    config = load(path, ["train.steps=500", "clip.frames.max=30", "train.augment=[flip]"])
    assert config.train.steps == 500
    assert (config.clip.frames.min, config.clip.frames.max) == (8, 30)
    assert config.train.augment == ("flip",)


def test_paths_resolve_from_the_file_or_current_folder(path, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    assert load(path).data.train == str(tmp_path / "clips/*.gz")
    assert load(path, ["data.train=other/*.gz"]).data.train == "/other/*.gz"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.stesp=5"], r"--set train.stesp=5: train.stesp: unknown key \(received 5\)"),
        (["train.steps=0"], r"train.steps: .*greater than or equal to 1, received 0"),
        (["train.steps=many"], r"train.steps: .*integer.*received 'many'"),
        (["clip.frames.min=30"], r"clip.frames: expected max >= min, received min 30 and max 24"),
        (
            ["task.horizon=23"],
            r"expected clips of at most 24 frames \(clip.frames.max\), received a task that needs 25",
        ),
        (["model.builder=a:b"], r"model: expected exactly one of preset and builder"),
        (["data.shares={train: 8, val: 1}"], r"shares.eval: expected 0 when data.eval is given"),
        (["train.augment=[rotate90]"], r"rotate90 needs square frames"),
        (["evaluate.thresholds={skil: {min: 0}}"], r"skil\b.*skill"),
        (["evaluate.events={thresholds: [2], units: mm/h}"], r"evaluate.events.units: unknown key \(received 'mm/h'\)"),
        (
            ["evaluate.events={thresholds: [2]}"],
            r"evaluate.events: thresholds: expected values above 0, up to 1.*received 2",
        ),
        (["evaluate.events={thresholds: [0.5], unit: K}"], r"evaluate.events: unit: expected none.*received K"),
        (
            ["evaluate.thresholds={csi_2: {min: 0}}"],
            r"evaluate.thresholds: csi_2: expected evaluate.events.*received none",
        ),
        (
            ["evaluate={events: {thresholds: [0.5]}, thresholds: {csi_0.6: {min: 0}}}"],
            r"evaluate.thresholds: .*received csi_0.6; the closest is csi_0.5",
        ),
        (
            ["evaluate={events: {thresholds: [0.5]}, thresholds: {csi_0.5: {max_increase_vs_serving: 0}}}"],
            r"csi_0.5: max_increase_vs_serving: expected a metric where lower is better",
        ),
        (
            ["evaluate.thresholds={mse: {slices: {contents: {dense: {max: 1}}}}}"],
            r"evaluate.thresholds.mse.slices.*content.*received 'contents'",
        ),
        (
            ["evaluate.thresholds={mse: {slices: {content: {dens: {max: 1}}}}}"],
            r"evaluate.thresholds.mse.slices: content: expected empty, sparse, dense or each, received dens",
        ),
        (
            ["evaluate.thresholds={mse: {slices: {length: {8: {}}}}}"],
            r"evaluate.thresholds.mse.slices.length.8: expected at least one of min, max and max_increase_vs_serving",
        ),
        (["evaluate.thresholds={mse: {}}"], r"expected at least one of min, max and max_increase_vs_serving"),
        (["train.steps"], r"--set train.steps: expected KEY=VALUE"),
        # A search with invalid trials, or with trials whose val losses do not compare.
        (
            ["tune={space: {train: {crop: {min: 4, max: 32}}}, trials: 3}"],
            r"tune.space: train.crop: 4: .*greater than or equal to 8, received 4",
        ),
        (
            ["tune={space: {train: {crop: {values: [null, 8]}, augment: {values: [[], [rotate90]]}}}, trials: 3}"],
            r"tune.space: train.crop: None, train.augment: \['rotate90'\]: augment: rotate90 needs square frames",
        ),
        (
            ["tune={space: {train: {precision: {values: [float32, float8]}}}, trials: 3}"],
            r"tune.space: train.precision: float8: .*mixed_bfloat16.*received 'float8'",
        ),
        (
            ["tune={space: {train: {learning_rate: {min: 0.1, max: 1}}}, trials: 3}", "train.warm_start=true"],
            r"tune: expected train.warm_start: false, received true",
        ),
        (
            ["train.warm_start=true", "train.init_from=/models/7"],
            r"train: init_from: expected none with warm_start: true, received /models/7",
        ),
        (
            ["train.loss=focal"],
            r"train.loss: expected mse, mae, weighted, ssim or file.py:function for forecast",
        ),
        (["train.loss={mse: 1, mae: 0}"], r"train.loss: mae: expected a weight above 0, received 0.0"),
        (["train.best_by=csi_2"], r"train.best_by: csi_2: expected evaluate.events, which defines an event"),
        (["train.best_by=f1"], r"train.best_by: expected one of mse, .*, skill, .*received f1; .*; or val_loss"),
        (["train.best_by=mse_persistence"], r"train.best_by: expected a metric of the model, received mse_persistence"),
        (["train.class_weights=[1, 2]"], r"train.class_weights: expected none for forecast, received 2"),
        (
            ["train.class_weights=[0, 1]"],
            r"train.class_weights: expected balanced, or a number above 0 for each class, received \[0, 1\]$",
        ),
        (["train.class_weights=balanced"], r"train.class_weights: expected none for forecast, received balanced"),
        (["tune={space: {train: {loss: {values: [mse, mae]}}}, trials: 3}"], r"tune.space.train.loss: unknown key"),
        (
            ["tune={space: {train: {learning_rate: {min: 0, max: 1, sampling: log}}}, trials: 3}"],
            r"tune.space.train.learning_rate: min: expected a number above 0 where sampling is log, received 0",
        ),
        (
            ["tune={space: {train: {learning_rate: {min: 1}}}, trials: 3}"],
            r"tune.space.train.learning_rate: expected either values, or min and max",
        ),
        (
            ["tune={space: {train: {batch_frames: {values: [3, 3]}}}, trials: 3}"],
            r"values: expected at least 2, all different, received \[3, 3\]",
        ),
        (["tune={space: {}, trials: 3}"], r"tune.space: expected settings of train or model, received none"),
        (
            ["tune={space: {train: {batch_frames: {values: [3, 4]}}}}"],
            r"tune: expected trials, minutes or both, received none",
        ),
    ],
)
def test_invalid_value_names_key_expected_and_received(path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        load(path, overrides)


def test_missing_section_is_named(tmp_path):
    path = write_config(tmp_path, "short.yaml", train=None)
    with pytest.raises(ConfigError, match=r"short.yaml: train: expected a value, received none"):
        load(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere.yaml: expected a readable YAML file"):
        load(str(tmp_path / "nowhere.yaml"))


def test_pattern_without_files_is_named(path):
    with pytest.raises(ConfigError, match=r"data.train: expected files, received none that match .*clips/\*.gz"):
        find_inputs(load(path))


def test_metrics_of_events_carry_bounds(path):
    bounds = "{csi_0.5: {min: 0.3, per_lead_time: true}, far_0.5: {max: 0.5, max_increase_vs_serving: 0}}"
    evaluate = load(path, [f"evaluate={{events: {{thresholds: [0.5]}}, thresholds: {bounds}}}"]).evaluate
    assert set(evaluate.thresholds) == {"csi_0.5", "far_0.5"}
    assert evaluate.events.scales == (1, 5, 17)


def test_slice_bounds_accept_numeric_values(path):
    bounds = "{skill: {min: 0, slices: {length: {24: {min: 0.1}}, source: {each: {min: -1, per_lead_time: true}}}}}"
    evaluate = load(path, [f"evaluate.thresholds={bounds}"]).evaluate
    found = [(own.slice, own.value, own.bounds.min) for own in evaluate.bounded()]
    assert found == [(None, "each", 0), ("length", "24", 0.1), ("source", "each", -1)]


def test_events_need_a_forecast_task(tmp_path):
    path = write_config(tmp_path, task="{kind: anomaly, context: {min: 2}}", evaluate="{events: {thresholds: [0.5]}}")
    with pytest.raises(ConfigError, match=r"evaluate.events: expected a forecast, received anomaly"):
        load(path)


@pytest.mark.parametrize(
    "overrides", [[], ["tune={space: {train: {crop: {values: [null, 8]}, batch_frames: {min: 8, max: 9}}}, trials: 3}"]]
)
def test_resolved_configuration_reads_back_unchanged(path, tmp_path, overrides):
    config = load(path, overrides)
    copy = tmp_path / "copy.yaml"
    copy.write_text(to_yaml(config))
    assert load(str(copy)) == config


@pytest.mark.parametrize("name", ["demo", "radar"])
def test_shipped_configurations_are_valid(name):
    load(str(_ROOT / "configs" / f"{name}.yaml"))


def test_shipped_json_schema_is_current():
    assert (_ROOT / "configs" / "schema.json").read_text() == json_schema()
    assert json.loads(json_schema())["additionalProperties"] is False
