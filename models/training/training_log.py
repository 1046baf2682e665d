"""Reads back the TensorBoard summaries that `framecast.models.training.loop.fit` wrote."""

import os

import tensorflow as tf
from tensorflow.core.util import event_pb2


def read_curves(log_dir: str | os.PathLike[str]) -> dict[str, list[list[float]]]:
    """Returns every scalar in a folder of TensorBoard logs, by tag: pairs of step and value, by step.

    A training that was resumed has logged the steps since its last checkpoint alone.
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
