"""Scores, probabilities and values as a Parquet table, a row a clip."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from framecast.serving.predictions.prediction import Prediction


def write_parquet(path: str | os.PathLike[str], answers: Sequence[Prediction], *, model: str) -> None:
    """Writes answers that are no forecasts.

    Columns: `example_id`, `media_id` (text), `model_version` (int64), `time` (list of int64, microseconds of each
    frame), and each output by its name: float32 where a clip has one value, else a list of them, or of lists. The
    model's name stands in the file's metadata as `model`.

    Args:
        path: File to write.
        answers: At least one.
        model: Name of the model.

    Raises:
        ValueError: When an answer is a forecast, or has other outputs than the first; it is named.
    """
    import pyarrow as pa
    from pyarrow import parquet

    names = sorted(answers[0].outputs)
    for answer in answers:
        if answer.is_forecast or sorted(answer.outputs) != names:
            expected = "scores, probabilities or values" if answer.is_forecast else ", ".join(names)
            raise ValueError(f"Parquet: clip {answer.name}: expected {expected}, received {', '.join(answer.outputs)}")
    columns: dict[str, Any] = {
        "example_id": pa.array([answer.name for answer in answers], pa.string()),
        "media_id": pa.array([answer.media_id for answer in answers], pa.string()),
        "model_version": pa.array([answer.version for answer in answers], pa.int64()),
        "time": pa.array([answer.times for answer in answers], pa.list_(pa.int64())),
    }
    for name in names:
        values = [answer.outputs[name] for answer in answers]
        kind = pa.float32()
        for _ in range(np.ndim(values[0])):
            kind = pa.list_(kind)
        columns[name] = pa.array([value.tolist() for value in values], kind)
    parquet.write_table(pa.table(columns).replace_schema_metadata({"model": model}), path)
