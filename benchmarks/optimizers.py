"""Compares optimizers, schedules and averaged weights at equal steps, on moving digits and on an unseen day of radar.

    .venv/bin/python benchmarks/optimizers.py --data digits --steps 300
    .venv/bin/python benchmarks/optimizers.py --data radar --steps 60

Uses the model, peak learning rate and loss of `configs/demo.yaml` or `configs/radar.yaml` and the pipeline's training
loop, in short form: clips of one length, some of the training clips to choose the best weights, the same batches in the
same order for all. Prints the mean MSE of the forecast on the eval clips, and the MSE at each lead time.
"""

import argparse
import dataclasses
import pathlib
import sys
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

from framecast.clips.codec import decode_frames
from framecast.clips.demo.moving_digits import make_demo
from framecast.clips.validation import read_clips
from framecast.models.networks import presets
from framecast.models.spec import ContextSpec, ForecastTask, TrainSpec
from framecast.models.tasks import define_task
from framecast.models.training import loop
from framecast.schemas.clip_spec import ClipSpec

_CONTESTANTS = {
    "adam, cosine": {},
    "adam, cosine, ema .95": {"ema": 0.95},
    "adam, cosine, ema .99": {"ema": 0.99},
    "adamw .01, cosine": {"optimizer": "adamw", "weight_decay": 0.01},
    "adamw .1, cosine": {"optimizer": "adamw", "weight_decay": 0.1},
    "adam, one-cycle": {"schedule": "one-cycle", "warm_up": 0.3},
}
_RADAR = pathlib.Path(__file__).resolve().parent.parent / "examples/radar"


@dataclasses.dataclass(frozen=True)
class _Data:
    """The shipped configuration in short form."""

    preset: str
    rate: float
    frames: int
    shown: int
    crop: int
    batch: int


_DATA = {
    "digits": _Data("convlstm-coarse", 0.008, frames=16, shown=11, crop=64, batch=3),
    "radar": _Data("convlstm-advected", 0.002, frames=10, shown=4, crop=64, batch=8),
}


def main() -> None:
    """Trains all contestants and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=_DATA, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--contestant", action="append", choices=_CONTESTANTS, help="default: all")
    arguments = parser.parse_args()
    data = _DATA[arguments.data]
    train, held_out = _clips(arguments.data, data.frames)
    train = train[np.random.default_rng(arguments.seed).permutation(len(train))]
    print(f"{arguments.data}, {arguments.steps} steps, seed {arguments.seed}: {len(train)} clips", flush=True)
    for name in arguments.contestant or _CONTESTANTS:
        started = time.monotonic()
        model = _fit(train, data, arguments.steps, arguments.seed, _CONTESTANTS[name])
        seconds = time.monotonic() - started
        errors = _errors(model, held_out, data.shown)
        shown = " ".join(f"{error:.5f}" for error in errors)
        print(f"{name:24}{errors.mean():9.5f}  {shown}{seconds:6.0f} s", flush=True)


def _clips(kind: str, frames: int) -> list[np.ndarray]:
    """Returns training and eval clips of `frames` frames, `(clip, time, height, width, 1)` uint8."""
    if kind == "radar":
        return [_read(_RADAR / split, frames) for split in ("train", "eval")]
    with tempfile.TemporaryDirectory() as name:
        make_demo(pathlib.Path(name), clips=560, seed=1, frames=(frames, frames))
        return [_read(pathlib.Path(name) / split, frames) for split in ("train", "eval")]


def _read(folder: pathlib.Path, frames: int) -> np.ndarray:
    spec = ClipSpec(frames={"min": 8, "max": 24})
    examples = [example for path in sorted(folder.iterdir()) for example in read_clips(str(path), spec)]
    clips = [decode_frames(example, spec) for example in examples]
    return np.stack([clip[-frames:] for clip in clips if len(clip) >= frames])


def _fit(clips: np.ndarray, data: _Data, steps: int, seed: int, settings: dict) -> keras.Model:
    keras.utils.set_random_seed(seed)
    model = presets.build(data.preset, channels=1, dtype="mixed_bfloat16")
    train = TrainSpec(steps=steps, learning_rate=data.rate, eval_every=max(1, steps // 4), **settings)
    task = ForecastTask(horizon=data.frames - data.shown, context=ContextSpec(min=3))
    val = max(len(clips) // 8, data.batch)
    with tempfile.TemporaryDirectory() as folder:
        loop.fit(
            model,
            _batches(clips[val:], data).repeat(),
            _batches(clips[:val], data),
            define_task(task).make_objective(train),
            train,
            state_dir=f"{folder}/state",
            log_dir=f"{folder}/logs",
        )
    return model


def _batches(clips: np.ndarray, data: _Data) -> tf.data.Dataset:
    def cropped(number, frames):
        size = (data.frames, data.crop, data.crop, 1)
        frames = tf.image.stateless_random_crop(frames, size, seed=tf.stack([tf.constant(0, tf.int64), number]))
        frames = tf.cast(frames, tf.float32) / 255
        return {"frames": frames, "known": tf.ones_like(frames, tf.bool), "length": tf.constant(data.frames)}

    dataset = tf.data.Dataset.from_tensor_slices(clips).enumerate().map(cropped)
    return dataset.batch(data.batch, drop_remainder=True)


def _errors(model: keras.Model, clips: np.ndarray, shown: int) -> np.ndarray:
    """Returns the MSE at each lead time, of pixels in [0, 1]."""
    horizon = clips.shape[1] - shown
    steps, found = shown + horizon - 1, []
    for start in range(0, len(clips), 8):
        frames = clips[start : start + 8] / np.float32(255)
        forecast = model(frames[:, :shown], np.full(len(frames), shown, "int32"), steps=steps)
        forecast = np.clip(forecast[:, -horizon:], 0, 1)
        found.append(np.square(forecast - frames[:, shown:]).mean((2, 3, 4)))
    return np.concatenate(found).mean(0)


if __name__ == "__main__":
    sys.exit(main())
