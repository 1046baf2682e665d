"""`framecast check` on the shipped radar clips: findings of each step, and named errors."""

import pathlib
import re

import numpy as np
import pytest

from framecast.clips.codec import encode_clip
from framecast.clips.records import write_records
from framecast.pipeline.commands.check import check
from framecast.pipeline.config.config import ConfigError, load
from framecast.pipeline.config.inputs import find_inputs
from framecast.schemas.clip_spec import PixelValue
from tests.pipeline.config_file import write_config

_CONFIG = str(pathlib.Path(__file__).parents[3] / "configs" / "radar.yaml")


def _check(*overrides):
    config = load(_CONFIG, overrides)
    return check(config, find_inputs(config))


def test_every_signature_is_called():
    findings = _check("model.preset=convlstm-tiny", "train.precision=mixed_bfloat16")
    assert findings["files"] == {"train": 4, "eval": 2}
    assert findings["clips read"].endswith("of 128x128x1")
    assert re.fullmatch(r"loss 0\.\d+, mixed_bfloat16", findings["training step"])
    assert {"serving_default", "serve_examples", "transform_features", "evaluate", "step"} <= set(findings)
    assert findings["evaluate"]["hits"] == findings["evaluate"]["hits_persistence"] == "float32 (4, 6, 5)"
    assert findings["evaluate"]["fss_error"] == "float32 (4, 6, 5, 3)"
    assert findings["serving_default"] == {"forecast": "float32 (4, 6, 128, 128, 1)"}


def test_only_short_clips_are_an_error():
    with pytest.raises(ConfigError, match=r"expected a clip of at least 24 frames .* received lengths \["):
        _check("task.horizon=20", "model.preset=convlstm-tiny")


def test_clip_outside_the_contract_is_named():
    with pytest.raises(ValueError, match=r"tfrecord.gz, record 0: clip .*: expected 8 to 9 frames, received \d+"):
        _check("clip.frames.max=9", "task.horizon=2")


def test_quarantine_skips_and_names_bad_clips():
    overrides = ["data.on_bad_clip=quarantine", "clip.frames.max=16", "model.preset=convlstm-tiny", "task.horizon=1"]
    findings = _check(*overrides)
    assert findings["clips read"].startswith("4, ")
    assert all("expected 8 to 16 frames, received" in message for message in findings["bad clips before them"])


def _two_files(folder, clip, rates=(10.0, 10.0), **given):
    """Returns a configuration with one clip of each frame rate: the first for training, the second for evaluation."""
    for name, rate in zip(("train", "eval"), rates):
        frames = np.zeros((10, 16, 16, 1), np.uint8)
        example = encode_clip(frames, example_id=name, media_id=name, frame_rate=rate, **given.get(name, {}))
        write_records(folder / f"{name}.tfrecord", [example.SerializeToString()])
    return load(write_config(folder, data="{train: train.tfrecord, eval: eval.tfrecord}", clip=clip))


@pytest.mark.parametrize(
    ("clip", "rates", "error", "message"),
    [
        (
            "{frames: {min: 8, max: 24}}",
            (10, 5),
            ConfigError,
            r"received 0.1 s \(.*clip train\); 0.2 s \(.*clip eval\)",
        ),
        (
            "{frames: {min: 8, max: 24}, intervals: [0.1]}",
            (10, 5),
            ValueError,
            "eval.tfrecord, record 0: clip eval: .*expected 0.1 s between frames, received 0.2 s",
        ),
        ("{frames: {min: 8, max: 24}, intervals: [0.2]}", (10, 10), ValueError, "clip train: .*received 0.1 s"),
    ],
)
def test_clips_of_another_interval_are_named(tmp_path, clip, rates, error, message):
    config = _two_files(tmp_path, clip, rates)
    with pytest.raises(error, match=message):
        check(config, find_inputs(config))


def test_clips_of_another_unit_are_named(tmp_path):
    units = {name: {"value": PixelValue(unit=unit)} for name, unit in (("train", "dBZ"), ("eval", "mm/h"))}
    config = _two_files(tmp_path, "{frames: {min: 8, max: 24}}", **units)
    with pytest.raises(ConfigError, match=r"clip.value: expected one .* dBZ \(.*train.*; .* mm/h \(.*clip eval"):
        check(config, find_inputs(config))


_BROUGHT = """
data: {train: "clips.gz"}
clip: {frames: {min: 4, max: 12}, height: 16, width: 16}
task: {horizon: 3, context: {min: 4}}
model: {builder: "tests.models.networks.brought_models:NAME"}
train: {steps: 100, batch_frames: 24}
push: {directory: serving}
"""


@pytest.fixture
def check_brought(tmp_path):
    """A function that checks a user's model, by its builder."""
    rng = np.random.default_rng(0)

    def run(name, *overrides, channels=1):
        clips = []
        for clip, length in zip("abcdef", (12, 8, 7, 10, 7, 7), strict=True):
            frames = rng.integers(0, 256, (length, 16, 16, channels), np.uint8)
            clips.append(encode_clip(frames, example_id=clip, media_id=clip, frame_rate=1))
        write_records(str(tmp_path / "clips.gz"), (clip.SerializeToString() for clip in clips))
        path = tmp_path / "config.yaml"
        path.write_text(_BROUGHT.replace("NAME", name))
        config = load(str(path), overrides)
        return check(config, find_inputs(config))

    return run


@pytest.mark.parametrize(("name", "precision"), [("horizon", "mixed_bfloat16"), ("next_frame", "mixed_float16")])
def test_plain_keras_model_passes(check_brought, name, precision):
    findings = check_brought(name, f"train.precision={precision}")
    assert re.fullmatch(rf"loss \d\.\d+, {precision}( with a scaled loss)?", findings["training step"])
    assert findings["serving_default"] == {"forecast": "float32 (4, 3, 16, 16, 1)"}
    assert ("step" in findings) == (name == "horizon")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("leaky", "the model sees frames that it is to forecast"),
        ("loops_over_steps", "A Python loop needs a fixed number"),
        ("nothing", "expected a keras.Model, received NoneType"),
        ("by_padding", "expected the same forecast of a clip alone and in a batch of longer clips"),
    ],
)
def test_wrong_model_is_refused(check_brought, name, message):
    with pytest.raises(ConfigError, match=message):
        check_brought(name)


def test_sampling_needs_a_model_with_observed(check_brought):
    with pytest.raises(ConfigError, match=r"train.sampling: expected none, because the call of HorizonForecaster"):
        check_brought("horizon", "train.sampling=scheduled")


def test_channels_that_are_not_forecast_are_input(check_brought):
    preset = ["model.builder=null", "model.preset=convlstm-tiny", "clip.channels=2", "task.channels=[1]"]
    findings = check_brought("", *preset, channels=2)
    for name in ("serving_default", "step"):
        assert findings[name]["forecast"] == "float32 (4, 3, 16, 16, 1)"
    with pytest.raises(ConfigError, match=r"task.channels: expected channels below 2, received 2"):
        check_brought("", *preset, "task.channels=[0, 2]", channels=2)
