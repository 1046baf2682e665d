"""A plain Keras U-Net with a terrain channel through the whole pipeline to a served answer."""

import json
import pathlib

import numpy as np
import pytest

from framecast.clips.codec import encode_clip
from framecast.clips.records import write_records
from framecast.pipeline.commands.query import query
from framecast.pipeline.config import config as configuration
from framecast.pipeline.runs import run as runs
from framecast.serving.client.client import Client
from framecast.serving.server.model_config import one_model
from framecast.serving.server.server import Server

_TEMPLATE = pathlib.Path(__file__).parents[2] / "examples" / "forecaster_template.py"
_CONFIG = f"""
data: {{train: train.gz, eval: eval.gz}}
clip: {{channels: 2, frames: {{min: 4, max: 12}}}}
task: {{horizon: 3, context: {{min: 4}}, channels: [0]}}
model: {{builder: "{_TEMPLATE}:unet", arguments: {{horizon: 3}}}}
train: {{steps: 150, batch_frames: 96, learning_rate: 0.01, eval_every: 50, augment: [subclip]}}
evaluate: {{thresholds: {{skill_persistence: {{min: 0.0}}}}}}
push: {{directory: serving}}
"""


def _clips(seed, count):
    """A bright square that moves one pixel per frame; beside it terrain, which never changes."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        length = 5 if number == 0 else 12  # The first is too short for the task.
        frames = np.zeros((length, 32, 32, 2), np.uint8)
        frames[..., 1] = rng.integers(0, 256, (32, 32))
        row, column = rng.integers(0, 16, 2)
        for time in range(length):
            frames[time, row : row + 6, column + time : column + time + 6, 0] = 255
        name = f"{seed}-{number}"
        yield encode_clip(frames, example_id=name, media_id=name, frame_rate=1.0).SerializeToString()


@pytest.mark.slow
def test_unet_with_terrain_is_served(tmp_path):
    for seed, (name, count) in enumerate({"train": 40, "eval": 9}.items()):
        write_records(tmp_path / f"{name}.gz", _clips(seed, count))
    (tmp_path / "config.yaml").write_text(_CONFIG)
    result = runs.run(configuration.load(str(tmp_path / "config.yaml")), str(tmp_path / "work"), quiet=True)
    assert result.verdict == "pushed", result.why
    card = json.loads(next((tmp_path / "serving").glob("*/assets.extra/framecast.json")).read_text())
    assert (card["channels"], card["forecast_channels"]) == (2, [0])
    frames = np.zeros((9, 32, 32, 2), np.uint8)
    frames[:, 4:10, 4:10, 0] = 255
    with Server(one_model("task", str(tmp_path / "serving"))) as server:
        address = f"127.0.0.1:{server.port}"
        with Client(address, model="task") as client:
            (forecast,) = client.forecast([frames])
        assert forecast.shape == (3, 32, 32, 1)
        source, card = str(tmp_path / "eval.gz"), str(tmp_path / "serving")
        found = query([source], address=address, model="task", holdout=True, limit=3, card=card)
        assert min(found["skill_persistence"]) > 0
        with pytest.raises(ValueError, match="--card: expected the card of model task, because it forecasts some"):
            query([source], address=address, model="task")
