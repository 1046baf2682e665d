"""Compares the pipeline's model with reference forecasts on a day of radar that training never saw.

    .venv/bin/python benchmarks/radar.py --clips radar/clips  # also needs .venv-peers: make peers

Runs the pipeline of `configs/radar.yaml` up to its Trainer on all recordings except those of the held-out day, once per
loss, and forecasts the last 6 frames of every held-out clip of at least 10 frames from the 4 frames before them.
References: persistence, pySTEPS' extrapolation (dense Lucas-Kanade on the 4 frames, semi-Lagrangian, inflow filled with
the last frame), and both blurred by the sigma that is best at each lead time on the training days.

MSE is per pixel in [0, 1]; CSI and BIAS (frequency bias) come from counts summed over all clips.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

_SHOWN, _FORECAST = 4, 6
_THRESHOLDS = (2, 5)  # mm/h
_SIGMAS = (0.5, 1, 1.5, 2, 3, 4, 6)  # Pixels.
_ROOT = pathlib.Path(__file__).resolve().parent.parent


def main() -> None:
    """Trains the models, forecasts and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", help="folder of clip TFRecords named RECORDING-*")
    parser.add_argument("--held-out", default="fmi-20170509", help="recording to evaluate on (default: %(default)s)")
    parser.add_argument("--loss", action="append", help="default: mse and weighted")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="see framecast run")
    parser.add_argument("--references", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.references:
        _write_references(*arguments.references)
        return
    if not arguments.clips:
        parser.error("expected --clips FOLDER")
    with tempfile.TemporaryDirectory() as folder:
        _compare(arguments, pathlib.Path(folder))


def _compare(arguments: argparse.Namespace, folder: pathlib.Path) -> None:
    files = sorted(pathlib.Path(arguments.clips).resolve().iterdir())
    splits = {"train": [], "eval": []}
    for path in files:
        splits["eval" if path.name.startswith(arguments.held_out) else "train"].append(path)
    if not all(splits.values()):
        sys.exit(
            f"{arguments.clips}: expected files of {arguments.held_out} and of others, received {len(files)} files"
        )
    for split, paths in splits.items():
        (folder / split).mkdir()
        for path in paths:
            (folder / split / path.name).symlink_to(path)
    clips = {split: _read(paths) for split, paths in splits.items()}
    np.savez(folder / "clips.npz", **clips)
    peers = str(_ROOT / ".venv-peers/bin/python")
    subprocess.run(
        [peers, "-W", "ignore", __file__, "--references", str(folder / "clips.npz"), str(folder / "references.npz")],
        check=True,
        stdout=subprocess.DEVNULL,  # pySTEPS prints a greeting.
    )
    forecasts = dict(np.load(folder / "references.npz"))
    for loss in arguments.loss or ("mse", "weighted"):
        overrides = [*(f"data.{split}={folder / split}/*" for split in splits), f"train.loss={loss}", *arguments.set]
        forecasts[f"ours, {loss}"] = _trained_forecast(overrides, folder / loss, clips["eval"][:, :_SHOWN])
    truth = clips["eval"][:, _SHOWN:] / np.float32(255)
    print(f"{len(clips['train'])} training clips of at least 10 frames, {len(truth)} held-out clips")
    _print_table("MSE", 4, {name: np.square(forecast - truth).mean((0, 2, 3)) for name, forecast in forecasts.items()})
    for rate in _THRESHOLDS:
        scores = {name: _scores(forecast, truth, rate) for name, forecast in forecasts.items()}
        _print_table(f"CSI at {rate} mm/h", 3, {name: csi for name, (csi, _) in scores.items()})
        _print_table(f"BIAS at {rate} mm/h", 2, {name: bias for name, (_, bias) in scores.items()})


def _read(files: list[pathlib.Path]) -> np.ndarray:
    """Returns the last 10 frames of each clip that has them, `(clip, 10, height, width)` uint8."""
    from framecast.clips.codec import decode_frames
    from framecast.clips.validation import read_clips
    from framecast.schemas.clip_spec import ClipSpec

    spec = ClipSpec(frames={"min": 1, "max": 1000})
    clips = [decode_frames(example, spec)[..., 0] for path in files for example in read_clips(str(path), spec)]
    length = _SHOWN + _FORECAST
    return np.stack([clip[-length:] for clip in clips if len(clip) >= length])


def _trained_forecast(overrides: list[str], workdir: pathlib.Path, shown: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    from framecast.pipeline.config import config
    from framecast.pipeline.runs import run

    result = run.run(config.load(str(_ROOT / "configs/radar.yaml"), overrides), str(workdir), to_node="Trainer")
    if result.exit_code:
        sys.exit(f"the run {result.verdict}: {result.why}")
    (model,) = (workdir / "artifacts/Trainer/model").glob("*/Format-Serving")
    serve = tf.saved_model.load(str(model)).signatures["serving_default"]
    answers = [
        serve(frames=tf.constant(part[..., None]), length=tf.fill([len(part)], _SHOWN))["forecast"].numpy()
        for part in np.array_split(shown, max(1, len(shown) // 8))
    ]
    return np.concatenate(answers)[..., 0]


def _write_references(clips: str, path: str) -> None:
    """Writes each reference's forecasts of the held-out clips; runs in the peers' environment."""
    from pysteps.extrapolation.semilagrangian import extrapolate
    from pysteps.motion.lucaskanade import dense_lucaskanade
    from scipy.ndimage import gaussian_filter

    def extrapolated(clip):
        forecast = extrapolate(clip[_SHOWN - 1], dense_lucaskanade(clip[:_SHOWN]), _FORECAST)
        return np.where(np.isnan(forecast), clip[_SHOWN - 1], forecast)

    def persistent(clip):
        return np.repeat(clip[_SHOWN - 1 : _SHOWN], _FORECAST, axis=0)

    def blurred(forecast, sigma):
        return gaussian_filter(forecast, [0] * (forecast.ndim - 2) + [sigma] * 2, mode="nearest")

    clips = {split: values.astype(float) / 255 for split, values in np.load(clips).items()}
    forecasts = {}
    for name, method in {"persistence": persistent, "extrapolation": extrapolated}.items():
        train, held_out = (np.stack(list(map(method, clips[split]))) for split in ("train", "eval"))
        forecasts[name] = held_out
        errors = [np.square(blurred(train, sigma) - clips["train"][:, _SHOWN:]).mean((0, 2, 3)) for sigma in _SIGMAS]
        best = np.take(_SIGMAS, np.argmin(errors, axis=0))
        steps = [blurred(held_out[:, step], sigma) for step, sigma in enumerate(best)]
        forecasts[f"{name}, blurred"] = np.stack(steps, axis=1)
    np.savez(path, **{name: forecast.astype("float32") for name, forecast in forecasts.items()})


def _scores(forecast: np.ndarray, truth: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns CSI and frequency bias per lead time; pixels are 255 * (dBZ + 10) / 70."""
    from framecast.schemas.units import rain_to_dbz

    threshold = (rain_to_dbz(rate) + 10) / 70
    predicted, observed = forecast >= threshold, truth >= threshold
    axes = (0, 2, 3)
    csi = (predicted & observed).sum(axes) / (predicted | observed).sum(axes)
    return csi, predicted.sum(axes) / observed.sum(axes)


def _print_table(title: str, digits: int, rows: dict[str, np.ndarray]) -> None:
    print(f"\n{title:28}" + "".join(f"{5 * (step + 1):4} min" for step in range(_FORECAST)))
    for name, values in rows.items():
        print(f"{name:28}" + "".join(f"{value:8.{digits}f}" for value in values), flush=True)


if __name__ == "__main__":
    main()
