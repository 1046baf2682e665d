"""Compares the forecaster with OpenSTL's ConvLSTM in PyTorch on Moving MNIST, 10 frames in and 10 out.

    .venv/bin/python benchmarks/moving_mnist.py --mnist t10k-images-idx3-ubyte  # also needs .venv-peers: make peers

Both train on the same batches in the same order, with the same cells (number, filters, kernel, patch) and the same
number of optimizer steps, with Adam and the same learning rates. Both forecast the same held-out sequences of
other digits. `ours` trains as the pipeline does with `train.sampling: scheduled`, which shows the truth with a
probability of 1 - (fraction of the steps)**2. `openstl` is OpenSTL's model and training as its paper and documentation
describe them: per cell one convolution of the input and one of the state, loss over all next frames, scheduled sampling
linearly from 1 to 0. Its sampling reaches 0 within the budget, because OpenSTL's 50,000 steps would show the truth
nearly all the time here.

MSE and MAE are sums over a frame's pixels before clipping; SSIM and PSNR are of clipped frames; see
`evaluation.metrics.registry`. `ssim` has a data range of 1, `ssim_openstl` a data range of 2, as OpenSTL prints it.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

_SIZE, _SHOWN, _FORECAST = 64, 10, 10
_BATCH = 8
_VALIDATION = 200  # Sequences.
_ROOT = pathlib.Path(__file__).resolve().parent.parent
_TRAIN = pathlib.Path(__file__).with_name("moving_mnist_train.py")


def main() -> None:
    """Trains both, one after the other, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", help="MNIST idx file of images (default: scikit-learn's digits)")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        _write_data(folder, arguments.mnist, arguments.steps, arguments.seed)
        truth = np.load(folder / "validation.npy")[:, _SHOWN:] / np.float32(255)
        print(f"{arguments.steps} steps of {_BATCH} sequences")
        print(f"{'':10}{'mse':>9}{'mae':>9}{'ssim':>8}{'ssim_openstl':>14}{'psnr':>8}{'seconds':>9}")
        for contestant, environment in (("ours", ".venv"), ("openstl", ".venv-peers")):
            started = time.monotonic()
            command = [str(_ROOT / environment / "bin" / "python"), "-W", "ignore", str(_TRAIN)]
            subprocess.run([*command, contestant, str(folder), str(arguments.steps)], check=True)
            seconds = time.monotonic() - started
            _print_scores(contestant, np.load(folder / f"{contestant}.npy"), truth, seconds)
        last = np.load(folder / "validation.npy")[:, _SHOWN - 1 : _SHOWN] / np.float32(255)
        _print_scores("last frame", np.repeat(last, _FORECAST, axis=1), truth, 0)


def _write_data(folder: pathlib.Path, mnist: str | None, steps: int, seed: int) -> None:
    """Writes all training batches, and validation sequences of other digits and another seed."""
    from framecast.clips.demo import moving_digits

    digits = moving_digits.source_digits(mnist)
    held_out = len(digits) // 7

    def sequences(count, digits, number):
        rng = np.random.default_rng((seed, number))
        length = _SHOWN + _FORECAST
        for _ in range(count):
            moving = [(digits[rng.integers(len(digits))], path) for path in moving_digits.digit_paths(rng, length)]
            yield moving_digits.draw_digits(moving, length, _SIZE)

    train = np.lib.format.open_memmap(
        folder / "train.npy", "w+", np.uint8, (steps, _BATCH, _SHOWN + _FORECAST, _SIZE, _SIZE, 1)
    )
    stream = sequences(steps * _BATCH, digits[:-held_out], 0)
    for step in range(steps):
        train[step] = np.stack([next(stream) for _ in range(_BATCH)])
    np.save(folder / "validation.npy", np.stack(list(sequences(_VALIDATION, digits[-held_out:], 1))))


def _print_scores(name: str, forecast: np.ndarray, truth: np.ndarray, seconds: float) -> None:
    from skimage.metrics import structural_similarity

    error = forecast - truth
    clipped = np.clip(forecast, 0, 1)
    pairs = list(zip(clipped.reshape(-1, _SIZE, _SIZE), truth.reshape(-1, _SIZE, _SIZE), strict=True))
    ssim, of_two = (
        np.mean([structural_similarity(one, other, data_range=span) for one, other in pairs]) for span in (1, 2)
    )
    psnr = np.mean(-10 * np.log10(np.maximum(np.square(clipped - truth).mean((2, 3, 4)), 1e-10)))
    mse, mae = np.square(error).sum((2, 3, 4)).mean(), np.abs(error).sum((2, 3, 4)).mean()
    print(f"{name:10}{mse:9.2f}{mae:9.2f}{ssim:8.4f}{of_two:14.4f}{psnr:8.2f}{seconds:9.0f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
