"""Logs the progress of a training, to the logger `framecast.train` and as TensorBoard summaries, and reads them.

About once a second, and at every evaluation, the logger gets a record that carries a dictionary `progress`: `step`,
`steps`, `loss` (over all errors since the last record), `added_loss` (mean over the steps since; None if the model adds
none), `gradient_norm` (likewise; None if no step had a finite one), `val_loss` (the last, None before the first),
`learning_rate`, and from the first evaluation on the metric of `train.best_by`, if any, such as `val_csi_2` (None where
it is undefined).
"""

import contextlib
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.util import event_pb2

from framecast.models.training.objectives import Objective
from framecast.models.training.optimization.steps import StepSums

_LOG = logging.getLogger("framecast.train")
_REPORT_SECONDS = 1.0


class TrainLog:
    """Collects losses and writes records; call it while `writing` is active.

    Args:
        steps: Total optimizer steps.
        objective: Combines the sums of steps.
    """

    def __init__(self, steps: int, objective: Objective):
        self._steps = steps
        self._objective = objective
        self._val: dict[str, float | None] = {"val_loss": None}
        self._sums: list[StepSums] = []
        self._reported = time.monotonic()

    @contextlib.contextmanager
    def writing(self, folder: str | os.PathLike | None) -> Iterator[None]:
        """Writes TensorBoard summaries to `folder`, or nowhere if None."""
        writer = tf.summary.create_noop_writer() if folder is None else tf.summary.create_file_writer(os.fspath(folder))
        with writer.as_default():
            yield
        writer.close()

    def add_step(self, sums: StepSums) -> None:
        """Adds the sums of a step."""
        self._sums.append(sums)

    def add_evaluation(self, step: int, figures: Mapping[str, float], images: Mapping[str, np.ndarray]) -> None:
        """Writes the figures, `val_loss` among them, and the images of an evaluation, by tag."""
        self._val = {tag: None if math.isnan(value) else value for tag, value in figures.items()}
        for tag, value in self._val.items():
            if value is not None:
                tf.summary.scalar(tag, value, step)
        for tag, image in images.items():
            tf.summary.image(tag, image[None], step)

    def report(self, step: int, learning_rate: float, force: bool) -> None:
        """Writes a record if the last is a second old, or `force`."""
        if not force and time.monotonic() - self._reported < _REPORT_SECONDS:
            return
        totals, counts = (np.sum([getattr(one, name) for one in self._sums], axis=0) for name in ("totals", "counts"))
        added = [one.added for one in self._sums]
        # If float16 overflows, the norm is infinite, and the optimizer skips the step.
        norms = [one.norm for one in self._sums if math.isfinite(one.norm)]
        progress = {
            "step": step,
            "steps": self._steps,
            "loss": float(self._objective.combine(totals, counts)),
            "added_loss": sum(added) / len(added) if any(added) else None,
            "gradient_norm": sum(norms) / len(norms) if norms else None,
            **self._val,
            "learning_rate": learning_rate,
        }
        _LOG.info(" ".join(f"{name} {value}" for name, value in progress.items()), extra={"progress": progress})
        for name in ("loss", "added_loss", "gradient_norm", "learning_rate"):
            if progress[name] is not None:
                tf.summary.scalar(name, progress[name], step)
        self._sums.clear()
        self._reported = time.monotonic()


def read_curves(log_dir: str | os.PathLike[str]) -> dict[str, list[list[float]]]:
    """Reads every scalar in a folder of TensorBoard summaries.

    Returns:
        By tag, pairs of step and value in the order of steps. The log of a resumed training starts at the checkpoint.
    """
    curves: dict[str, dict[int, float]] = {}
    for path in sorted(tf.io.gfile.glob(os.path.join(os.fspath(log_dir), "events.out.tfevents.*"))):
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            event = event_pb2.Event.FromString(record)
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name != "scalars":
                    continue
                curves.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    return {tag: [[step, points[step]] for step in sorted(points)] for tag, points in curves.items()}
