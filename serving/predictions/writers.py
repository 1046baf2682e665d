"""Answers written to a file, whose kind its ending tells.

write_predictions("forecast.nc", answers, model="radar")
"""

import contextlib
import os
import pathlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from framecast.clips.records import write_records
from framecast.serving.predictions.animation import AnimationRow, write_gif
from framecast.serving.predictions.netcdf import alike, check_installed, write_netcdf
from framecast.serving.predictions.parquet import write_parquet
from framecast.serving.predictions.prediction import FORECAST, Prediction
from framecast.serving.predictions.tfrecord import prediction_clip

_DRAWN = 3  # Clips of an animation.
_MINUTE = 60_000_000  # Microseconds: lead times of what moves faster are told by frames.


def check_path(path: str | os.PathLike[str]) -> None:
    """Checks before anything is asked that answers can be written to `path`.

    Raises:
        ValueError: When its ending tells no kind, or a package that the kind needs is not installed.
        FileNotFoundError: When its folder does not exist.
    """
    if _writer(path) is _write_netcdf:
        check_installed()
    folder = pathlib.Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{path}: expected an existing folder, received {folder}")


def needs_forecasts(path: str | os.PathLike[str]) -> bool:
    """Returns whether the kind of file that `path` names holds forecasts only."""
    return _writer(path) in (_write_gif, _write_netcdf)


def takes_forecasts(path: str | os.PathLike[str]) -> bool:
    """Returns whether the kind of file that `path` names holds forecasts at all."""
    return _writer(path) is not _write_parquet


def in_files(path: str | os.PathLike[str], answers: Sequence[Prediction]) -> list[list[Prediction]]:
    """Returns the answers in groups of which each fits into one file of the kind that `path` names."""
    return alike(answers) if _writer(path) is _write_netcdf else [list(answers)]


def write_predictions(path: str | os.PathLike[str], answers: Sequence[Prediction], *, model: str) -> None:
    """Writes answers: whole, in place of a file that is there, or not at all.

    `.gif`: an animation of the first forecasts. `.npz`: see `_write_npz`. `.tfrecord` and `.tfrecord.gz`: see
    `framecast.serving.predictions.tfrecord`. `.nc`: see `framecast.serving.predictions.netcdf`. `.parquet`: see
    `framecast.serving.predictions.parquet`.

    Args:
        path: File to write.
        answers: At least one.
        model: Name of the model that answered.

    Raises:
        ValueError: When the ending tells no kind, or the answers do not fit it.
    """
    write = _writer(path)
    with _replaced(pathlib.Path(path)) as part:
        write(part, answers, model)


def _write_gif(path: pathlib.Path, answers: Sequence[Prediction], _: str) -> None:
    first = answers[0]
    rows = [
        AnimationRow(answer.context, answer.outputs[FORECAST], answer.truth, answer.name) for answer in answers[:_DRAWN]
    ]
    minutes = first.interval / _MINUTE
    write_gif(path, rows, value=first.value, missing=first.missing, interval=minutes if minutes >= 1 else None)


def _write_npz(path: pathlib.Path, answers: Sequence[Prediction], model: str) -> None:
    """Writes an array an output and clip, since clips differ in size and length.

    `NAME/0`, `NAME/1`, ...: each output as the model gave it; `time/0`, ...: microseconds of the frames that were
    forecast, or else of those that were sent. `example_id`, `media_id` and `version` have an entry a clip; `model` is
    the model's name.
    """
    arrays: dict[str, Any] = {
        "model": np.array(model),
        "example_id": np.array([answer.name for answer in answers]),
        "media_id": np.array([answer.media_id for answer in answers]),
        "version": np.array([answer.version for answer in answers]),
    }
    for number, answer in enumerate(answers):
        arrays[f"time/{number}"] = np.array(answer.forecast_times if answer.is_forecast else answer.times)
        arrays |= {f"{name}/{number}": values for name, values in answer.outputs.items()}
    np.savez_compressed(path, **arrays)


def _write_clips(path: pathlib.Path, answers: Sequence[Prediction], _: str) -> None:
    write_records(path, (prediction_clip(answer).SerializeToString(deterministic=True) for answer in answers))


def _write_netcdf(path: pathlib.Path, answers: Sequence[Prediction], model: str) -> None:
    write_netcdf(path, answers, model=model)


def _write_parquet(path: pathlib.Path, answers: Sequence[Prediction], model: str) -> None:
    write_parquet(path, answers, model=model)


_WRITERS: dict[str, Callable[[pathlib.Path, Sequence[Prediction], str], None]] = {
    ".gif": _write_gif,
    ".npz": _write_npz,
    ".tfrecord": _write_clips,
    ".tfrecord.gz": _write_clips,
    ".nc": _write_netcdf,
    ".parquet": _write_parquet,
}


def _writer(path: str | os.PathLike[str]) -> Callable[[pathlib.Path, Sequence[Prediction], str], None]:
    name = os.path.basename(path)
    for suffix, write in _WRITERS.items():
        if name.endswith(suffix):
            return write
    raise ValueError(f"{os.fspath(path)}: expected a name that ends in {', '.join(_WRITERS)}")


@contextlib.contextmanager
def _replaced(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a hidden file beside `path`, of the same ending, that takes its place when the block ends well."""
    part = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
