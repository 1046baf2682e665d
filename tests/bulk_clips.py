"""Clips to answer about in bulk, and a model of each task to answer."""

import keras
import numpy as np

from framecast.clips.codec import encode_clip
from framecast.clips.records import write_records
from framecast.models.export import module as export
from framecast.models.networks import builders
from framecast.pipeline.commands import check
from framecast.pipeline.config import config as configuration
from framecast.pipeline.dag.contract import contract

START = 1_600_000_000_000_000  # Of every clip; microseconds.
_CONFIG = """
data: {{train: "clips/*"}}
clip: {{frames: {{min: 4, max: 12}}, missing: 255, value: {{unit: dBZ, scale: 0.25, offset: -10}}}}
task: {task}
model: {{preset: {preset}}}
train: {{steps: 1}}
push: {{directory: serving}}
"""
_TASKS = {
    "forecast": ("{horizon: 2, context: {min: 3}}", "convlstm-tiny"),
    "anomaly": ("{kind: anomaly, context: {min: 2}}", "convlstm-tiny"),
    "classify": ("{kind: classify, classes: 3}", "cnn-convlstm-small"),
    "frames": ("{kind: regress, per: frame}", "cnn-convlstm-small"),
}
_SIZES = ((16, 16), (12, 20))


def clip(number, name=None, frames=None, broken=False):
    """A clip of its own length and one of two sizes; a pixel of it is always missing."""
    height, width = _SIZES[number % 2]
    pixels = np.random.default_rng(number).integers(0, 255, (frames or 3 + number % 7, height, width, 1), np.uint8)
    pixels[:, 1, 2] = 255
    times = [START + 300_000_000 * place for place in range(len(pixels))]
    if broken:
        times[1] += 100_000_000
    return encode_clip(pixels, example_id=name or f"clip-{number}", media_id="m", frame_rate=1 / 300, timestamps=times)


def write(path, clips):
    path.parent.mkdir(exist_ok=True)
    write_records(path, [clip.SerializeToString() for clip in clips])
    return path


def write_two_files(folder):
    """Writes `clip-0` to `clip-11` as `clips/a.tfrecord.gz` and `clips/b.tfrecord`."""
    write(folder / "clips" / "a.tfrecord.gz", map(clip, range(7)))
    write(folder / "clips" / "b.tfrecord", map(clip, range(7, 12)))


def model(folder, task):
    """Exports an untrained model of a task as version 3, unless it is there; returns the folder of its versions."""
    base = folder / task
    if not base.exists():
        (folder / f"{task}.yaml").write_text(_CONFIG.format(task=_TASKS[task][0], preset=_TASKS[task][1]))
        config = configuration.load(str(folder / f"{task}.yaml"))
        keras.utils.set_random_seed(0)
        built = builders.build(config.model, config.task, config.clip, keras.DTypePolicy("float32"))
        card = {"contract": contract(config), "frame_rate": 1 / 300}
        export.save(check.untrained_module(built, config), str(base / "3"), card)
    return base
