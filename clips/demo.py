"""The demo's data: two handwritten digits that move and bounce, in clips of different lengths.

    python -m framecast.clips.demo demo/clips --clips 700 --seed 1

The motion is Moving MNIST's (Srivastava et al. 2015, https://arxiv.org/abs/1502.04681): a step of 0.1 of the free range
a frame, random start and direction, reflection at the walls, digits blended by maximum.
"""

import argparse
import gzip
import os
import pathlib

import numpy as np
from PIL import Image

from framecast.clips.codec import encode_clip
from framecast.clips.records import write_records

_DIGIT = 28  # Side of a digit in pixels, as in MNIST.
_STEP = 0.1  # Of the free range, a frame.
_CLIPS_A_SHARD = 100
_EVAL_SHARE = 0.15


def make_demo(
    directory: str | os.PathLike[str],
    *,
    clips: int,
    seed: int,
    size: int = 64,
    frames: tuple[int, int] = (8, 24),
    mnist: str | None = None,
) -> None:
    """Writes `train` and `eval` folders of TFRecords; equal arguments make equal files.

    The two splits show different digits, from disjoint parts of the source.

    Args:
        directory: Folder to write into.
        clips: Clips in both splits together.
        seed: Seed of digits, lengths and motion.
        size: Side of the frames in pixels.
        frames: Shortest and longest clip, drawn uniformly.
        mnist: Images of an MNIST idx file, plain or gzip; scikit-learn's handwritten digits unless given.
    """
    digits = _read_idx(mnist) if mnist else _sklearn_digits()
    held_out = max(1, int(len(digits) * _EVAL_SHARE))
    counts = {"train": clips - int(clips * _EVAL_SHARE), "eval": int(clips * _EVAL_SHARE)}
    sources = {"train": digits[held_out:], "eval": digits[:held_out]}
    for number, (split, count) in enumerate(counts.items()):
        rng = np.random.default_rng([seed, number])
        folder = pathlib.Path(directory) / split
        folder.mkdir(parents=True, exist_ok=True)
        shards = -(-count // _CLIPS_A_SHARD)
        for shard in range(shards):
            names = range(shard, count, shards)
            records = [_clip(rng, sources[split], f"{split}-{name:06d}", size, frames) for name in names]
            write_records(folder / f"clips-{shard:05d}-of-{shards:05d}.tfrecord.gz", records)


def moving_digits(rng: np.random.Generator, digits: np.ndarray, length: int, size: int) -> np.ndarray:
    """Draws one clip of two digits.

    Args:
        rng: Source of chance.
        digits: `(digit, height, width)` uint8.
        length: Frames.
        size: Side of the frames in pixels.

    Returns:
        `(length, size, size, 1)` uint8.
    """
    frames = np.zeros((length, size, size), np.uint8)
    side = digits.shape[1]
    for digit in digits[rng.integers(len(digits), size=2)]:
        for frame, (row, column) in zip(frames, _path(rng, length) * (size - side)):
            top, left = round(row), round(column)
            window = frame[top : top + side, left : left + side]
            np.maximum(window, digit, out=window)
    return frames[..., None]


def _path(rng: np.random.Generator, length: int) -> np.ndarray:
    """Returns `(length, 2)` positions in [0, 1], reflected at the walls."""
    start = rng.uniform(size=2)
    angle = rng.uniform(0, 2 * np.pi)
    position = start + _STEP * np.arange(length)[:, None] * np.array([np.sin(angle), np.cos(angle)])
    # A triangle wave of period 2 is the reflection, however often it happens.
    return 1 - np.abs(np.mod(position, 2) - 1)


def _clip(
    rng: np.random.Generator, digits: np.ndarray, name: str, size: int, frames: tuple[int, int]
) -> bytes:
    length = int(rng.integers(frames[0], frames[1] + 1))
    clip = moving_digits(rng, digits, length, size)
    example = encode_clip(clip, example_id=name, media_id=name, frame_rate=10.0)
    return example.SerializeToString(deterministic=True)


def _sklearn_digits() -> np.ndarray:
    """Returns scikit-learn's 1,797 digits of 8x8, enlarged, `(digit, 28, 28)` uint8."""
    from sklearn.datasets import load_digits

    small = (load_digits().images / 16 * 255).astype(np.uint8)
    # A margin of one source pixel keeps strokes off the digit's border.
    padded = np.pad(small, [(0, 0), (1, 1), (1, 1)])
    return np.stack([np.asarray(Image.fromarray(d).resize((_DIGIT, _DIGIT), Image.Resampling.BICUBIC)) for d in padded])


def _read_idx(path: str) -> np.ndarray:
    """Reads the images of an idx file: http://yann.lecun.com/exdb/mnist/."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    magic, count, height, width = np.frombuffer(data[:16], ">i4")
    if magic != 2051 or len(data) != 16 + count * height * width:
        raise ValueError(f"{path}: expected an idx file of images (magic 2051), received magic {magic}")
    return np.frombuffer(data[16:], np.uint8).reshape(count, height, width)


def main() -> None:
    """Writes the demo's data from the command line."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("directory")
    parser.add_argument("--clips", type=int, default=700)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mnist", help="images of an MNIST idx file in place of scikit-learn's digits")
    arguments = parser.parse_args()
    make_demo(arguments.directory, clips=arguments.clips, seed=arguments.seed, mnist=arguments.mnist)


if __name__ == "__main__":
    main()
