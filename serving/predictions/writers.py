"""Writes predictions to a file, in the format of its extension.

write_predictions("forecast.nc", predictions, model="radar")
"""

import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from framecast.clips.files import replacing
from framecast.clips.records import write_records
from framecast.serving.predictions.animation import AnimationRow, write_gif
from framecast.serving.predictions.netcdf import check_installed, group_by_shape, write_netcdf
from framecast.serving.predictions.parquet import write_parquet
from framecast.serving.predictions.prediction import FORECAST, Prediction
from framecast.serving.predictions.tfrecord import prediction_clip

_GIF_CLIPS = 3
_MINUTE = 60_000_000  # Microseconds. Below one minute per frame, lead times are labelled in frames.


def check_path(path: str | os.PathLike[str]) -> None:
    """Checks that predictions can be written to `path`, before the model runs.

    Raises:
        ValueError: If the extension is unknown, or a package that the format needs is not installed.
        FileNotFoundError: If the folder does not exist.
    """
    if _writer(path) is _write_netcdf:
        check_installed()
    folder = pathlib.Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{path}: expected an existing folder, received {folder}")


def needs_forecasts(path: str | os.PathLike[str]) -> bool:
    """Returns whether the format of `path` is for forecasts only."""
    return _writer(path) in (_write_gif, _write_netcdf)


def takes_forecasts(path: str | os.PathLike[str]) -> bool:
    """Returns whether the format of `path` can hold forecasts."""
    return _writer(path) is not _write_parquet


def group_by_file(path: str | os.PathLike[str], predictions: Sequence[Prediction]) -> list[list[Prediction]]:
    """Groups predictions so that each group fits in one file of the format of `path`."""
    return group_by_shape(predictions) if _writer(path) is _write_netcdf else [list(predictions)]


def write_predictions(path: str | os.PathLike[str], predictions: Sequence[Prediction], *, model: str) -> None:
    """Writes predictions to a new file or replaces the file; an error leaves the old file.

    `.gif`: an animation of the first forecasts. `.npz`: see `_write_npz`. `.tfrecord` and `.tfrecord.gz`: see
    `framecast.serving.predictions.tfrecord`. `.nc`: see `framecast.serving.predictions.netcdf`. `.parquet`: see
    `framecast.serving.predictions.parquet`.

    Args:
        path: File to write.
        predictions: At least one prediction.
        model: Name of the model.

    Raises:
        ValueError: If the extension is unknown, or the format does not hold these predictions.
    """
    write = _writer(path)
    # Writers choose format and compression by the extension, so the temporary file keeps the name.
    with replacing(path) as part, tempfile.TemporaryDirectory(dir=part.parent, prefix=".") as folder:
        file = pathlib.Path(folder) / os.path.basename(path)
        write(file, predictions, model)
        file.rename(part)


def _write_gif(path: pathlib.Path, predictions: Sequence[Prediction], _: str) -> None:
    first = predictions[0]
    rows = [
        AnimationRow(prediction.context, prediction.outputs[FORECAST], prediction.truth, prediction.name)
        for prediction in predictions[:_GIF_CLIPS]
    ]
    minutes = first.interval / _MINUTE
    write_gif(path, rows, value=first.value, missing=first.missing, interval=minutes if minutes >= 1 else None)


def _write_npz(path: pathlib.Path, predictions: Sequence[Prediction], model: str) -> None:
    """Writes one array per output and clip, because clips differ in size and length.

    `NAME/0`, `NAME/1`, ...: the model's outputs. `time/0`, ...: microseconds of the forecast frames, or of the input
    frames for other tasks. `example_id`, `media_id` and `version`: one entry per clip. `model`: name of the model.
    """
    arrays: dict[str, Any] = {
        "model": np.array(model),
        "example_id": np.array([prediction.name for prediction in predictions]),
        "media_id": np.array([prediction.media_id for prediction in predictions]),
        "version": np.array([prediction.version for prediction in predictions]),
    }
    for number, prediction in enumerate(predictions):
        arrays[f"time/{number}"] = np.array(prediction.forecast_times if prediction.is_forecast else prediction.times)
        arrays |= {f"{name}/{number}": values for name, values in prediction.outputs.items()}
    np.savez_compressed(path, **arrays)


def _write_clips(path: pathlib.Path, predictions: Sequence[Prediction], _: str) -> None:
    write_records(
        path, (prediction_clip(prediction).SerializeToString(deterministic=True) for prediction in predictions)
    )


def _write_netcdf(path: pathlib.Path, predictions: Sequence[Prediction], model: str) -> None:
    write_netcdf(path, predictions, model=model)


def _write_parquet(path: pathlib.Path, predictions: Sequence[Prediction], model: str) -> None:
    write_parquet(path, predictions, model=model)


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
    raise ValueError(f"{os.fspath(path)}: expected a file name with extension {', '.join(_WRITERS)}")
