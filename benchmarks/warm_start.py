"""Compares a warm start with a cold start at equal steps, on two days of moving digits.

    .venv/bin/python benchmarks/warm_start.py

Uses the model, peak learning rate and loss of `configs/demo.yaml` and the pipeline's training loop. A model is trained
on day 1 and exported. Each contestant then trains on day 2, from random weights or from those of the SavedModel. Prints
the loss on held-out clips of day 2.
"""

import argparse
import pathlib
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

from framecast.clips.codec import decode_frames
from framecast.clips.demo.moving_digits import make_demo
from framecast.clips.validation import read_clips
from framecast.models.export.forecast import ForecastModule, ReferenceConstants
from framecast.models.export.module import save_module
from framecast.models.networks import presets
from framecast.models.preprocessing import preprocess
from framecast.models.spec import ContextSpec, ForecastTask, TrainSpec
from framecast.models.tasks import define_task
from framecast.models.training import loop, warm_start
from framecast.schemas.clip_spec import ClipSpec

_FRAMES = 16
_CLIP = ClipSpec(frames={"min": _FRAMES, "max": _FRAMES}, height=64, width=64)
_TASK = ForecastTask(horizon=5, context=ContextSpec(min=3))
_PRESET, _RATE, _BATCH = "convlstm-coarse", 0.008, 3


def main() -> None:
    """Trains all contestants and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=560, help="clips per day")
    parser.add_argument("--first", type=int, default=400, help="steps on day 1")
    parser.add_argument("--steps", type=int, nargs="+", default=[50, 200], help="steps on day 2")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        days = []
        for day in (1, 2):
            make_demo(folder / f"day{day}", clips=arguments.clips, seed=day, frames=(_FRAMES, _FRAMES))
            days.append([_read(folder / f"day{day}" / split) for split in ("train", "eval")])
        model = _model(0)
        _fit(model, days[0], arguments.first, _RATE, folder / "first")
        _export(model, folder / "exported")
        print(f"without training on day 2: {_loss(model, days[1][1]):.5f}", flush=True)
        print(f"{'steps':>6} {'cold':>9} {'warm':>9} {'warm, a third of the rate':>26}", flush=True)
        for steps in arguments.steps:
            losses = []
            for number, (exported, rate) in enumerate(
                [(None, _RATE), (folder / "exported", _RATE), (folder / "exported", _RATE / 3)]
            ):
                model = _model(1)
                if exported is not None:
                    assert warm_start.begin(model, str(exported)).digest
                losses.append(_fit(model, days[1], steps, rate, folder / f"{steps}-{number}"))
            print(f"{steps:6} {losses[0]:9.5f} {losses[1]:9.5f} {losses[2]:26.5f}", flush=True)


def _read(folder: pathlib.Path) -> np.ndarray:
    """Returns the clips of a split, `(clip, time, height, width, 1)` uint8."""
    examples = [example for path in sorted(folder.iterdir()) for example in read_clips(str(path), _CLIP)]
    return np.stack([decode_frames(example, _CLIP) for example in examples])


def _model(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return presets.build(_PRESET, channels=1, dtype="mixed_bfloat16")


def _batches(clips: np.ndarray) -> tf.data.Dataset:
    def prepare(frames):
        frames = tf.cast(frames, tf.float32) / 255
        length = tf.fill([tf.shape(frames)[0]], _FRAMES)
        return {"frames": frames, "known": tf.ones_like(frames, tf.bool), "length": length}

    return tf.data.Dataset.from_tensor_slices(clips).batch(_BATCH, drop_remainder=True).map(prepare)


def _fit(model: keras.Model, day: list[np.ndarray], steps: int, rate: float, folder: pathlib.Path) -> float:
    """Trains on a day's train clips and returns the loss on its eval clips."""
    order = np.random.default_rng(0).permutation(len(day[0]))
    train = TrainSpec(steps=steps, learning_rate=rate, eval_every=steps)
    loop.fit(
        model,
        _batches(day[0][order]).repeat(),
        _batches(day[1]),
        define_task(_TASK).make_objective(train),
        train,
        state_dir=folder / "state",
        log_dir=folder / "logs",
    )
    return _loss(model, day[1])


def _loss(model: keras.Model, clips: np.ndarray) -> float:
    objective = define_task(_TASK).make_objective(TrainSpec(steps=1))
    return float(np.mean([objective(model, batch, tf.zeros([], tf.int64), False) for batch in _batches(clips)]))


def _export(model: keras.Model, folder: pathlib.Path) -> None:
    constants = ReferenceConstants(np.zeros(1, np.float32), [0.0] * _TASK.horizon)
    boundaries = tf.constant([_FRAMES], tf.int64)
    served = presets.build(_PRESET, channels=1, dtype="float32")
    served.set_weights(model.get_weights())
    module = ForecastModule(served, lambda inputs: preprocess(inputs, _CLIP, boundaries), _CLIP, _TASK, constants)
    save_module(module, str(folder), {})


if __name__ == "__main__":
    sys.exit(main())
