"""Names and checks the parameters of a compiled pipeline: at submission, and again where the run starts.

check({"train_data": "/mnt/clips/*", "train_steps": 500, "push_directory": "/mnt/serving"}, volumes=["/mnt"])
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from framecast.clips import filesystem, spans

TRAIN_DATA, EVAL_DATA, SPAN = "train_data", "eval_data", "span"
TRAIN_STEPS, PUSH_DIRECTORY = "train_steps", "push_directory"
NEWEST = -1  # Instead of a span's number: the newest complete span.


def check(values: Mapping[str, Any], volumes: Sequence[str]) -> None:
    """Checks the values of a run's parameters.

    Args:
        values: Value of each parameter of the pipeline.
        volumes: Where ServingModel, Pusher and BulkInference mount volumes.

    Raises:
        ValueError: If a value cannot work; the message names the parameter.
    """
    compiled_with_spans = SPAN in values
    for name in (TRAIN_DATA, EVAL_DATA):
        if name in values:
            _check_data(name, values[name], compiled_with_spans)
    if compiled_with_spans:
        if spans.SPAN not in values[TRAIN_DATA]:
            raise ValueError(
                f"{TRAIN_DATA}: expected {spans.SPAN}, because the pipeline was compiled with spans; "
                f"received {values[TRAIN_DATA]}; compile it again for data without spans"
            )
        if values[SPAN] < NEWEST:
            raise ValueError(f"{SPAN}: expected the number of a span, or -1 for the newest, received {values[SPAN]}")
    if TRAIN_STEPS in values and values[TRAIN_STEPS] < 1:
        raise ValueError(f"{TRAIN_STEPS}: expected at least 1, received {values[TRAIN_STEPS]}")
    if PUSH_DIRECTORY in values:
        _check_directory(values[PUSH_DIRECTORY], volumes)


def _check_data(name: str, pattern: str, compiled_with_spans: bool) -> None:
    if not pattern.strip():
        raise ValueError(f"{name}: expected a pattern of files, received an empty text")
    filesystem.check_scheme(pattern)
    if spans.SPAN in pattern and not compiled_with_spans:
        raise ValueError(
            f"{name}: expected a pattern without {spans.SPAN}, because the pipeline was compiled without spans and "
            f"would not compare them; received {pattern}; compile it again with {spans.SPAN} in data.train"
        )


def _check_directory(directory: str, volumes: Sequence[str]) -> None:
    if filesystem.is_remote(directory):
        filesystem.check_scheme(directory)
        return
    path = pathlib.PurePosixPath(directory)
    if ".." in path.parts or not any(path.is_relative_to(volume) for volume in volumes):
        mounted = ", ".join(volumes) or "none"
        raise ValueError(
            f"{PUSH_DIRECTORY}: expected a folder on a volume ({mounted}) or in an object store, because the model "
            f"would be deleted with its pod; received {directory}"
        )
