"""Reading TensorBoard summaries."""

import numpy as np
import pytest
import tensorflow as tf

from framecast.models.training.training_log import read_curves


def test_scalars_are_read_by_tag_and_step(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path))
    with writer.as_default():
        for step in (10, 2, 30):
            tf.summary.scalar("loss", 1.0 / step, step)
        tf.summary.scalar("learning_rate", 0.5, 10)
        tf.summary.image("forecast/0", np.zeros((1, 2, 2, 3), np.uint8), 10)  # Not a scalar.
    writer.close()
    curves = read_curves(tmp_path)
    assert set(curves) == {"loss", "learning_rate"}
    assert curves["loss"] == [[2, 0.5], [10, pytest.approx(0.1)], [30, pytest.approx(1 / 30)]]
    assert curves["learning_rate"] == [[10, 0.5]]


def test_folder_without_logs_has_no_curves(tmp_path):
    assert read_curves(tmp_path) == {}
