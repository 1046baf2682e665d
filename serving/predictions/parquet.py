"""Writes scores, probabilities and values as a Parquet table with one row per clip."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from framecast.serving.predictions.prediction import Prediction


def write_parquet(path: str | os.PathLike[str], predictions: Sequence[Prediction], *, model: str) -> None:
    """Writes predictions of scores or labels.

    Columns: `example_id`, `media_id` (text), `model_version` (int64), `time` (list of int64, microseconds of each
    frame), and one column per output: float32 for one value per clip, otherwise a (nested) list of float32. The file's
    metadata has the name of the model as `model`.

    Args:
        path: File to write.
        predictions: At least one prediction.
        model: Name of the model.

    Raises:
        ValueError: If a prediction is a forecast, or its outputs differ from those of the first.
    """
    import pyarrow as pa
    from pyarrow import parquet

    names = sorted(predictions[0].outputs)
    for prediction in predictions:
        if prediction.is_forecast or sorted(prediction.outputs) != names:
            received = ", ".join(prediction.outputs)
            expected = "scores, probabilities or values" if prediction.is_forecast else ", ".join(names)
            raise ValueError(f"Parquet: clip {prediction.name}: expected {expected}, received {received}")
    columns: dict[str, Any] = {
        "example_id": pa.array([prediction.name for prediction in predictions], pa.string()),
        "media_id": pa.array([prediction.media_id for prediction in predictions], pa.string()),
        "model_version": pa.array([prediction.version for prediction in predictions], pa.int64()),
        "time": pa.array([prediction.times for prediction in predictions], pa.list_(pa.int64())),
    }
    for name in names:
        values = [prediction.outputs[name] for prediction in predictions]
        kind = pa.float32()
        for _ in range(np.ndim(values[0])):
            kind = pa.list_(kind)
        columns[name] = pa.array([value.tolist() for value in values], kind)
    parquet.write_table(pa.table(columns).replace_schema_metadata({"model": model}), path)
