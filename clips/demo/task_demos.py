"""Generates labelled demo data: motions to classify, and moving digits with anomalies.

    python -m framecast.clips.demo.task_demos motion demo/motion --clips 500 --seed 1
    python -m framecast.clips.demo.task_demos anomaly demo/anomaly --clips 400 --seed 1

`motion`: one digit moves on a random circle; the label is the sense of rotation, which no single frame shows.
`anomaly`: moving digits as in `moving_digits`; in half of the eval clips one digit jumps, flickers or changes into
another digit, and the affected frames are labelled 1.
"""

import argparse
import os

import numpy as np

from framecast.clips.codec import encode_clip
from framecast.clips.demo.moving_digits import FRAME_RATE, digit_paths, draw_digits, write_demo

CLOCKWISE, COUNTERCLOCKWISE = 0, 1
FAULTS = ("jump", "flicker", "change")
_FAULTY_SHARE = 0.5  # Share of the eval clips.
_SETTLED = 4  # Normal frames at the start of a clip.
_TURN = (0.25, 0.5)  # Radians per frame.


def make_motion(directory: str | os.PathLike[str], *, clips: int, seed: int, size: int = 64) -> dict[str, int]:
    """Writes clips of an orbiting digit, labelled with its sense of rotation; arguments as for `make_demo`."""

    def clip(name: str, rng: np.random.Generator, digits: np.ndarray, length: int) -> bytes:
        sense = int(rng.integers(2))
        radius = rng.uniform(0.2, 0.5)
        centre = rng.uniform(radius, 1 - radius, 2)
        angles = rng.uniform(0, 2 * np.pi) + rng.uniform(*_TURN) * np.arange(length) * (1 if sense == CLOCKWISE else -1)
        path = centre + radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)
        frames = draw_digits([(digits[rng.integers(len(digits))], path)], length, size)
        example = encode_clip(frames, example_id=name, media_id=name, frame_rate=FRAME_RATE, label_index=[sense])
        return example.SerializeToString(deterministic=True)

    return write_demo(directory, clip, clips=clips, seed=seed, size=size, frames=(8, 16))


def make_anomaly(directory: str | os.PathLike[str], *, clips: int, seed: int, size: int = 64) -> dict[str, int]:
    """Writes clips of moving digits, with faults in half of the eval clips; arguments as for `make_demo`."""

    def clip(name: str, rng: np.random.Generator, digits: np.ndarray, length: int) -> bytes:
        moving = [(digits[rng.integers(len(digits))], path) for path in digit_paths(rng, length)]
        faulty = "eval" in name and rng.random() < _FAULTY_SHARE
        labels = [0] * length
        if not faulty:
            frames = draw_digits(moving, length, size)
        else:
            kind = FAULTS[rng.integers(len(FAULTS))]
            start = int(rng.integers(_SETTLED, length - 1))
            frames = _with_fault(kind, rng, digits, moving, start, length, size)
            # A flicker changes two frames: the digit disappears, then reappears.
            for frame in range(start, start + (2 if kind == "flicker" else 1)):
                labels[frame] = 1
        example = encode_clip(frames, example_id=name, media_id=name, frame_rate=FRAME_RATE, frame_label_index=labels)
        return example.SerializeToString(deterministic=True)

    return write_demo(directory, clip, clips=clips, seed=seed, size=size, frames=(10, 20))


def _with_fault(kind, rng, digits, moving, start, length, size) -> np.ndarray:
    frames = draw_digits(moving, length, size)
    digit, path = moving[0]
    if kind == "flicker":
        frames[start] = draw_digits(moving[1:], length, size)[start]
        return frames
    if kind == "jump":
        # Half the range away, so that every jump is long.
        after = [(digit, (path + 0.5) % 1.0), *moving[1:]]
    else:
        other = digits[rng.integers(len(digits))]
        while np.mean((other.astype(float) - digit) ** 2) < np.mean(digit.astype(float) ** 2) / 2:
            other = digits[rng.integers(len(digits))]  # A similar digit would not be a visible change.
        after = [(other, path), *moving[1:]]
    frames[start:] = draw_digits(after, length, size)[start:]
    return frames


def main() -> None:
    """Entry point of `python -m framecast.clips.demo.task_demos`."""
    parser = argparse.ArgumentParser(prog="framecast.clips.demo.task_demos", description=__doc__.splitlines()[0])
    makers = {"motion": make_motion, "anomaly": make_anomaly}
    parser.add_argument("kind", choices=makers)
    parser.add_argument("directory", help="a new or empty folder")
    parser.add_argument(
        "--clips", type=int, default=500, help="number of clips; one in seven is for eval (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="random seed; equal seeds give equal bytes (default: %(default)s)"
    )
    arguments = parser.parse_args()
    try:
        counts = makers[arguments.kind](arguments.directory, clips=arguments.clips, seed=arguments.seed)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(f"{arguments.directory}: {counts['train']} train and {counts['eval']} eval clips")


if __name__ == "__main__":
    main()
