"""Reads and writes the warm-up file of a SavedModel: requests that TensorFlow Serving replays before a version serves.

write_warmup("export", [{"inputs": {"frames": frames, "length": length}}])
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
MAX_REQUESTS = 1000  # TensorFlow Serving rejects a model with more.


def predict_request(
    inputs: Mapping[str, Any], *, model: str = "", signature_name: str = "serving_default"
) -> predict_pb2.PredictRequest:
    """Returns a Predict request.

    Args:
        inputs: Arrays by input name; numeric ones are sent as `tensor_content`.
        model: Name of the model.
        signature_name: The signature to call.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature_name
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def write_warmup(model_dir: str, requests: Sequence[Mapping[str, Any]]) -> None:
    """Writes the warm-up file of the SavedModel in `model_dir`, and replaces an existing one.

    Args:
        model_dir: Folder of the SavedModel.
        requests: Arguments of `predict_request`: `inputs`, and `signature_name` if it is not `serving_default`.

    Raises:
        ValueError: If there are more requests than TensorFlow Serving accepts.
    """
    if len(requests) > MAX_REQUESTS:
        raise ValueError(f"warm-up of {model_dir}: expected at most {MAX_REQUESTS} requests, received {len(requests)}")
    path = os.path.join(model_dir, FILE)
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.TFRecordWriter(path) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(predict_request(**request))
            writer.write(log.SerializeToString())


def read_warmup(model_dir: str) -> list[predict_pb2.PredictRequest]:
    """Returns the warm-up requests of the SavedModel in `model_dir`; empty without a warm-up file.

    Raises:
        ValueError: If the file is damaged, has too many records, or has a record that is not a Predict call.
    """
    path = os.path.join(model_dir, FILE)
    if not tf.io.gfile.exists(path):
        return []
    requests: list[predict_pb2.PredictRequest] = []
    try:
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.WhichOneof("log_type") != "predict_log":
                raise ValueError(f"{path}, record {len(requests)}: expected a predict_log, received {log}")
            requests.append(log.predict_log.request)
    except (tf.errors.DataLossError, DecodeError) as error:
        raise ValueError(f"{path}, record {len(requests)}: expected a PredictionLog, received {error}") from error
    if len(requests) > MAX_REQUESTS:
        raise ValueError(f"{path}: expected at most {MAX_REQUESTS} records, received {len(requests)}")
    return requests
