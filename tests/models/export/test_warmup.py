"""The warm-up file, compared with what TensorFlow Serving documents."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from framecast.models.export import warmup


def test_written_requests_are_read_back(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 6, 1), np.uint8)
    length = np.array([3], np.int32)
    warmup.write_warmup(
        str(tmp_path),
        [
            {"inputs": {"frames": frames, "length": length}},
            {"inputs": {"examples": [b"one", b"two"]}, "signature_name": "serve_examples"},
        ],
    )
    dense, examples = warmup.read_warmup(str(tmp_path))
    assert dense.model_spec.signature_name == "serving_default"
    assert dense.inputs["frames"].tensor_content == frames.tobytes()
    np.testing.assert_array_equal(tf.make_ndarray(dense.inputs["frames"]), frames)
    assert examples.model_spec.signature_name == "serve_examples"
    assert list(tf.make_ndarray(examples.inputs["examples"])) == [b"one", b"two"]


def test_file_is_where_tensorflow_serving_reads_it(tmp_path):
    warmup.write_warmup(str(tmp_path), [{"inputs": {"length": np.array([3, 4], np.int32)}}])
    path = tmp_path / "assets.extra" / "tf_serving_warmup_requests"
    (record,) = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    log = prediction_log_pb2.PredictionLog.FromString(record)
    assert list(tf.make_ndarray(log.predict_log.request.inputs["length"])) == [3, 4]


def test_model_without_warmup_file_has_no_requests(tmp_path):
    assert warmup.read_warmup(str(tmp_path)) == []


def test_more_than_1000_requests_are_rejected(tmp_path):
    with pytest.raises(ValueError, match="expected at most 1000 requests, received 1001"):
        warmup.write_warmup(str(tmp_path), [{"inputs": {}}] * 1001)
    assert not (tmp_path / "assets.extra").exists()


def test_damaged_file_error_names_file_and_record(tmp_path):
    warmup.write_warmup(str(tmp_path), [{"inputs": {"length": np.arange(3)}}] * 2)
    path = tmp_path / warmup.FILE
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="tf_serving_warmup_requests, record 1: expected a PredictionLog"):
        warmup.read_warmup(str(tmp_path))


def test_record_of_another_call_is_rejected(tmp_path):
    path = tmp_path / warmup.FILE
    path.parent.mkdir()
    log = prediction_log_pb2.PredictionLog()
    log.classify_log.request.model_spec.name = "toy"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())
    with pytest.raises(ValueError, match="record 0: expected a predict_log"):
        warmup.read_warmup(str(tmp_path))
