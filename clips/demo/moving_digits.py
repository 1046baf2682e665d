"""Generates moving digits, a reproducible demo data set.

    python -m framecast.clips.demo.moving_digits demo/clips --clips 700 --seed 1

Follows Moving MNIST (Srivastava et al. 2015, arXiv:1502.04681): two handwritten digits move in random directions on a
dark canvas, by a tenth of the free range per frame, bounce off the walls, and are blended by maximum. The digits come
from scikit-learn's `load_digits` or from an MNIST file; train and eval use different digits.
"""

import argparse
import functools
import gzip
import math
import os
import pathlib
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from framecast.clips import records
from framecast.clips.codec import encode_clip

_EVAL_SHARE = 1 / 7  # Share of the clips, and of the digits.
_SHARD = 150  # Most clips per file.
_DIGIT = 28  # Side of a digit in pixels, including its margin.
_STEP = 0.1  # Share of the free range per frame.
_DIGITS_A_CLIP = 2
FRAME_RATE = 10.0
_IDX_IMAGES = 0x00000803  # Magic number of an idx file of unsigned bytes in three dimensions.


def make_demo(
    directory: str | os.PathLike[str],
    *,
    clips: int,
    seed: int,
    size: int = 64,
    frames: tuple[int, int] = (8, 24),
    mnist: str | os.PathLike[str] | None = None,
) -> dict[str, int]:
    """Writes `directory/train/clips-*.tfrecord.gz` and `directory/eval/clips-*.tfrecord.gz`.

    Args:
        directory: A new or empty folder; created atomically.
        clips: Number of clips; one in seven is for eval.
        seed: Random seed; equal arguments give equal bytes.
        size: Side of the canvas in pixels.
        frames: Fewest and most frames per clip; lengths are uniformly distributed.
        mnist: An MNIST idx file of images, plain or gzip; by default scikit-learn's digits are used.

    Returns:
        The number of clips per split.

    Raises:
        ValueError: If an argument is out of range, or `mnist` is not an idx file of images.
        FileExistsError: If `directory` is not empty.
    """

    def clip(name: str, rng: np.random.Generator, digits: np.ndarray, length: int) -> bytes:
        moving = [(digits[number], _path(rng, length)) for number in rng.integers(len(digits), size=_DIGITS_A_CLIP)]
        canvas = draw_digits(moving, length, size)
        example = encode_clip(canvas, example_id=name, media_id=name, frame_rate=FRAME_RATE)
        return example.SerializeToString(deterministic=True)

    return write_demo(directory, clip, clips=clips, seed=seed, size=size, frames=frames, mnist=mnist)


def write_demo(
    directory: str | os.PathLike[str],
    clip: Callable[[str, np.random.Generator, np.ndarray, int], bytes],
    *,
    clips: int,
    seed: int,
    size: int,
    frames: tuple[int, int],
    mnist: str | os.PathLike[str] | None = None,
) -> dict[str, int]:
    """Writes the clips that `clip(name, rng, digits, length)` returns; other arguments as for `make_demo`.

    `digits` is `(digit, height, width)` uint8. `clip` must return equal bytes for equal arguments.
    """
    directory = pathlib.Path(directory)
    digits = source_digits(mnist)
    if clips < 2:
        raise ValueError(f"clips: expected at least 2, one per split, received {clips}")
    if size <= max(digits.shape[1:]):
        raise ValueError(f"size: expected more than the digits' {max(digits.shape[1:])} pixels, received {size}")
    if not 1 <= frames[0] <= frames[1]:
        raise ValueError(f"frames: expected 1 <= fewest <= most, received {frames}")
    if directory.exists() and any(directory.iterdir()):
        raise FileExistsError(f"{directory}: expected a new or empty folder, but it has files")
    counts = {"eval": max(1, round(clips * _EVAL_SHARE))}
    counts = {"train": clips - counts["eval"], **counts}
    held_out = round(len(digits) * _EVAL_SHARE)
    sources = {"train": digits[:-held_out], "eval": digits[-held_out:]}

    def serialized(split: str, number: int, indices: range) -> Iterator[bytes]:
        for index in indices:
            # One generator per clip, so that a clip does not depend on the number of clips.
            rng = np.random.default_rng((seed, number, index))
            length = int(rng.integers(frames[0], frames[1] + 1))
            yield clip(f"digits-{split}-{index:05d}", rng, sources[split], length)

    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as parent:
        built = pathlib.Path(parent) / "demo"
        for number, (split, count) in enumerate(counts.items()):
            (built / split).mkdir(parents=True)
            shards = math.ceil(count / _SHARD)
            for shard in range(shards):
                path = built / split / f"clips-{shard:05d}-of-{shards:05d}.tfrecord.gz"
                records.write_records(path, serialized(split, number, range(shard, count, shards)))
        os.replace(built, directory)
    return counts


def source_digits(mnist: str | os.PathLike[str] | None) -> np.ndarray:
    """Returns digits `(digit, height, width)` uint8 from an MNIST idx file, or scikit-learn's."""
    return _sklearn_digits() if mnist is None else _idx_images(pathlib.Path(mnist))


def digit_paths(rng: np.random.Generator, length: int) -> list[np.ndarray]:
    """Returns a random path `(time, 2)` per digit of a clip, in units of the free range."""
    return [_path(rng, length) for _ in range(_DIGITS_A_CLIP)]


def draw_digits(moving: Sequence[tuple[np.ndarray, np.ndarray]], length: int, size: int) -> np.ndarray:
    """Draws digits along their paths, blended by maximum.

    Args:
        moving: Digits `(height, width)` uint8 and paths `(time, 2)`, in units of the free range.
        length: Number of frames.
        size: Side of the canvas in pixels.

    Returns:
        `(time, height, width, 1)` uint8.
    """
    canvas = np.zeros((length, size, size), np.uint8)
    for digit, path in moving:
        height, width = digit.shape
        places = (path * (size - height, size - width)).astype(int)
        for frame, (top, left) in zip(canvas, places, strict=True):
            window = frame[top : top + height, left : left + width]
            np.maximum(window, digit, out=window)
    return canvas[..., None]


def _path(rng: np.random.Generator, length: int) -> np.ndarray:
    """Returns a digit's position `(time, 2)` in units of the free range; it stops at a wall and turns."""
    position = rng.random(2)
    angle = rng.uniform(0, 2 * np.pi)
    step = _STEP * np.array([np.sin(angle), np.cos(angle)])
    path = np.empty((length, 2))
    for place in path:
        position = position + step
        step = np.where((position < 0) | (position > 1), -step, step)
        position = np.clip(position, 0, 1)
        place[:] = position
    return path


@functools.cache
def _sklearn_digits() -> np.ndarray:
    """Returns scikit-learn's 8x8 digits as `(digit, 28, 28)` uint8, enlarged and sharpened to resemble MNIST."""
    from PIL import Image
    from sklearn.datasets import load_digits

    enlarged = []
    for image in load_digits().images:
        margin = np.pad(image / 16, 1).astype(np.float32)
        large = np.asarray(Image.fromarray(margin).resize((_DIGIT, _DIGIT), Image.Resampling.BICUBIC))
        enlarged.append(np.clip(2 * large - 0.5, 0, 1))
    digits = np.rint(255 * np.stack(enlarged)).astype(np.uint8)
    digits.setflags(write=False)  # Cached, so callers must not change it.
    return digits


def _idx_images(path: pathlib.Path) -> np.ndarray:
    """Reads `(image, height, width)` uint8 from an idx file, the format of MNIST, plain or gzip."""
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    magic, count, height, width = struct.unpack_from(">4I", data) if len(data) >= 16 else (0, 0, 0, 0)
    if magic != _IDX_IMAGES or not count or len(data) != 16 + count * height * width:
        raise ValueError(
            f"{path}: expected an idx file of images (magic number {_IDX_IMAGES:#010x}, then {count}x{height}x{width} "
            f"bytes), received magic number {magic:#010x} and {max(0, len(data) - 16)} bytes"
        )
    return np.frombuffer(data, np.uint8, offset=16).reshape(count, height, width)


def main() -> None:
    """Entry point of `python -m framecast.clips.demo.moving_digits`."""
    parser = argparse.ArgumentParser(prog="framecast.clips.demo.moving_digits", description=__doc__.splitlines()[0])
    parser.add_argument("directory", help="a new or empty folder")
    parser.add_argument(
        "--clips", type=int, default=700, help="number of clips; one in seven is for eval (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="random seed; equal seeds give equal bytes (default: %(default)s)"
    )
    parser.add_argument("--size", type=int, default=64, help="frame side in pixels (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        counts = make_demo(**vars(arguments))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f"{arguments.directory}: {counts['train']} train and {counts['eval']} eval clips")


if __name__ == "__main__":
    main()
