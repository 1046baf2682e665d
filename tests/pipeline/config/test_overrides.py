"""`--set KEY=VALUE`: order, mappings, null, keys with dots or numbers, and errors that name the option as typed."""

import pytest

from framecast.pipeline.config.config import ConfigError, load
from tests.pipeline.config_file import write_config


@pytest.fixture
def path(tmp_path):
    return write_config(
        tmp_path,
        train="{steps: 10, crop: 16, augment: [flip]}",
        evaluate="{events: {thresholds: [0.5]}, thresholds: "
        "{mse: {max: 1.0, slices: {length: {24: {max: 2.0}}}}, csi_0.5: {min: 0.1}}}",
    )


def _thresholds(path, *overrides):
    return load(path, overrides).evaluate.thresholds


def test_mapping_replaces_the_whole_value(path):
    assert _thresholds(path, "evaluate.thresholds={}") == {}
    assert list(_thresholds(path, "evaluate.thresholds={skill: {min: 0}}")) == ["skill"]
    assert load(path, ["evaluate={}"]).evaluate.events is None
    with pytest.raises(ConfigError, match=r"--set clip.frames=\{max: 30\}: clip.frames.min: expected a value"):
        load(path, ["clip.frames={max: 30}"])


def test_dotted_key_keeps_its_neighbours(path):
    thresholds = _thresholds(path, "evaluate.thresholds.mse.min=0.5")
    assert (thresholds["mse"].min, thresholds["mse"].max, thresholds["csi_0.5"].min) == (0.5, 1.0, 0.1)
    assert load(path, ["tune.trials=3", "tune.space={train: {batch_frames: {values: [3, 4]}}}"]).tune.trials == 3


def test_null_removes_an_entry(path):
    assert list(_thresholds(path, "evaluate.thresholds.mse=null")) == ["csi_0.5"]
    assert list(_thresholds(path, "evaluate.thresholds.csi_0.5=null")) == ["mse"]
    assert _thresholds(path, "evaluate.thresholds=null") == {}


def test_null_is_a_value_or_restores_the_default(path):
    fields = type(load(path).train).model_fields
    config = load(path, ["train.crop=null", "train.augment=null", "tune=null"])
    assert (config.train.crop, config.tune) == (None, None)
    assert config.train.augment == fields["augment"].default
    with pytest.raises(ConfigError, match=r"train.steps: expected a value, received none"):
        load(path, ["train.steps=null"])


def test_keys_with_dots_and_numbers_are_found(path):
    thresholds = _thresholds(
        path, "evaluate.thresholds.csi_0.5.min=0.3", "evaluate.thresholds.mse.slices.length.24.max=4"
    )
    assert thresholds["csi_0.5"].min == 0.3
    assert thresholds["mse"].slices["length"]["24"].max == 4


def test_overrides_apply_in_order(path):
    cleared = _thresholds(path, "evaluate.thresholds.mse.max=3", "evaluate.thresholds={}")
    assert cleared == {}
    refilled = _thresholds(path, "evaluate.thresholds={}", "evaluate.thresholds.mse.max=3")
    assert {name: bounds.max for name, bounds in refilled.items()} == {"mse": 3}
    assert refilled["mse"].slices == {}
    assert load(path, ["train.steps=3", "train.steps=4"]).train.steps == 4


def test_mapping_resolves_its_paths_from_the_current_folder(path, monkeypatch):
    monkeypatch.chdir("/")
    assert load(path, ["data={train: other/*.gz}"]).data.train == "/other/*.gz"
    assert load(path, ["train.init_from=models/7"]).train.init_from == "/models/7"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.steps"], "--set train.steps: expected KEY=VALUE, such as train.steps=500 or tune=null"),
        (["=5"], "--set =5: expected KEY=VALUE"),
        (["train.steps="], "--set train.steps=: expected KEY=VALUE"),
        (["train..steps=5"], "--set train..steps=5: expected KEY=VALUE"),
        (["train.=5"], "--set train.=5: expected KEY=VALUE"),
        (["train.augment=[flip"], "--set train.augment=[flip: expected a YAML value, received [flip"),
        (["train.steps.many=5"], "--set train.steps.many=5: expected a section at train.steps, received 10"),
        (
            ["train.augment.0=flip"],
            "--set train.augment.0=flip: expected a section at train.augment, received ['flip']",
        ),
        (["train=5", "train.steps=5"], "--set train.steps=5: expected a section at train, received 5"),
        (["train.stesp=5"], "--set train.stesp=5: train.stesp: unknown key (received 5)"),
        (["trian.steps=5"], "--set trian.steps=5: trian: unknown key (received {'steps': 5})"),
        (["train={steps: 5, stesp: 6}"], "--set train={steps: 5, stesp: 6}: train.stesp: unknown key (received 6)"),
        (["train.stesp=null"], "--set train.stesp=null: train.stesp: unknown key (received None)"),
        (["task.horizn=5"], "--set task.horizn=5: task.horizn: unknown key (received 5)"),
        (
            ["evaluate.thresholds.mae=null"],
            "--set evaluate.thresholds.mae=null: expected a key to remove (mse, csi_0.5), received mae",
        ),
    ],
)
def test_override_that_cannot_apply_is_named(path, overrides, message):
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    assert message in str(caught.value)
