"""Checks that single frames of the motion demo do not give away the label.

    .venv/bin/python benchmarks/single_frame.py

Trains the network of `configs/motion.yaml` twice with the same clips, steps and seed: on whole clips, and on one random
frame of each. Prints the accuracy on the eval clips. Chance is 0.5, which single frames should not exceed.
"""

import argparse
import pathlib
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

from framecast.clips.codec import context_value, decode_frames
from framecast.clips.demo.task_demos import make_motion
from framecast.clips.validation import read_clips
from framecast.models.networks import presets
from framecast.models.training.losses import class_total
from framecast.schemas.clip_spec import ClipSpec

_BATCH = 16
_RATE = 0.003
_CLIP = ClipSpec(frames={"min": 8, "max": 16})


def main() -> None:
    """Trains both models and prints their accuracy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--steps", type=int, default=600)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_motion(folder, clips=arguments.clips, seed=1)
        train, held_out = (_read(pathlib.Path(folder) / split) for split in ("train", "eval"))
    for inputs in ("clips", "one frame"):
        one_frame = inputs == "one frame"
        model = _train(train, one_frame, arguments.steps)
        evaluated = [(frame[None], label) for clip, label in held_out for frame in clip] if one_frame else held_out
        accuracy = np.mean([_predict(model, clip) == label for clip, label in evaluated])
        print(f"{inputs:10} accuracy {accuracy:.3f} of {len(evaluated)}", flush=True)


def _read(folder: pathlib.Path) -> list[tuple[np.ndarray, int]]:
    """Returns each clip's frames, `(time, height, width, channel)` float32 in [0, 1], and label."""
    examples = [example for path in sorted(folder.iterdir()) for example in read_clips(str(path), _CLIP)]
    return [
        (decode_frames(example, _CLIP) / np.float32(255), context_value(example, "clip/label/index", "int64_list"))
        for example in examples
    ]


def _train(clips: list[tuple[np.ndarray, int]], one_frame: bool, steps: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model = presets.build("cnn-convlstm-small", 1, "mixed_bfloat16", outputs=2, per="clip")
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(_RATE, steps))
    optimizer.build(model.trainable_variables)

    @tf.function(reduce_retracing=True)
    def step(frames, length, labels):
        with tf.GradientTape() as tape:
            logits = model(frames, length, training=True)
            loss = class_total(labels, logits, tf.ones_like(length, tf.bool)) / _BATCH
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))

    for _ in range(steps):
        chosen = [clips[index] for index in rng.integers(len(clips), size=_BATCH)]
        labels = np.array([label for _, label in chosen])
        frames = [clip for clip, _ in chosen]
        if one_frame:
            frames = [clip[rng.integers(len(clip))][None] for clip in frames]
        length = np.array([len(clip) for clip in frames], "int32")
        padded = np.zeros((_BATCH, length.max(), *frames[0].shape[1:]), "float32")
        for index, clip in enumerate(frames):
            padded[index, : len(clip)] = clip
        step(tf.constant(padded), tf.constant(length), tf.constant(labels))
    return model


def _predict(model: keras.Model, clip: np.ndarray) -> int:
    return int(np.argmax(model(clip[None], np.array([len(clip)], "int32"))[0]))


if __name__ == "__main__":
    sys.exit(main())
