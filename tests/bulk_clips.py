"""Makes clips for bulk inference, and an untrained model of each task."""

import numpy as np

from framecast.clips.codec import encode_clip
from framecast.clips.records import write_records
from tests.untrained import export_untrained

START = 1_600_000_000_000_000  # Timestamp of the first frame of each clip, microseconds.
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
    """Makes a clip whose length and size depend on `number`; one pixel is always missing."""
    height, width = _SIZES[number % 2]
    pixels = np.random.default_rng(number).integers(0, 255, (frames or 3 + number % 7, height, width, 1), np.uint8)
    pixels[:, 1, 2] = 255
    times = [START + 300_000_000 * place for place in range(len(pixels))]
    if broken:
        times[1] += 100_000_000
    return encode_clip(pixels, example_id=name or f"clip-{number}", media_id="m", frame_rate=1 / 300, timestamps=times)


def write(path, clips):
    """Writes clips to a TFRecord; returns its path."""
    path.parent.mkdir(exist_ok=True)
    write_records(path, [clip.SerializeToString() for clip in clips])
    return path


def write_two_files(folder):
    """Writes `clip-0` to `clip-11` as `clips/a.tfrecord.gz` and `clips/b.tfrecord`."""
    write(folder / "clips" / "a.tfrecord.gz", map(clip, range(7)))
    write(folder / "clips" / "b.tfrecord", map(clip, range(7, 12)))


def model(folder, task):
    """Exports an untrained model as version 3, once per folder and task; returns the folder of versions."""
    base = folder / task
    if not base.exists():
        config = folder / f"{task}.yaml"
        config.write_text(_CONFIG.format(task=_TASKS[task][0], preset=_TASKS[task][1]))
        export_untrained(config, base / "3", frame_rate=1 / 300)
    return base
