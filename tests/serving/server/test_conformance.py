"""Compares the embedded server, or a real TensorFlow Serving, with the documented answers of TensorFlow Serving.

    python tests/serving/toy.py /tmp/toy
    tensorflow_model_server --port=8500 --model_name=toy --model_base_path=/tmp/toy --enable_grpc_healthcheck_service
    TF_SERVING_ADDRESS=localhost:8500 TF_SERVING_BASE_PATH=/tmp/toy pytest tests/serving/server/test_conformance.py

`TF_SERVING_BASE_PATH` is the folder of versions as the server sees it, which in a container is the mount.
"""

import os

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import any_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from framecast.models.export import warmup
from framecast.serving import rpc
from framecast.serving.server.model_config import one_model
from framecast.serving.server.server import Server
from tests.serving.toy import HORIZON

AVAILABLE = 30


@pytest.fixture(scope="module")
def served(exported, tmp_path_factory):
    """Address of a server of model `toy`, version 7, and its folder of versions."""
    if "TF_SERVING_ADDRESS" in os.environ:
        yield os.environ["TF_SERVING_ADDRESS"], os.environ["TF_SERVING_BASE_PATH"]
        return
    base_path = tmp_path_factory.mktemp("toy")
    os.symlink(exported(7.0), base_path / "7")
    with Server(one_model("toy", str(base_path))) as server:
        yield f"127.0.0.1:{server.port}", str(base_path)


@pytest.fixture(scope="module")
def channel(served):
    with grpc.insecure_channel(served[0], options=rpc.ANY_SIZE) as channel:
        yield channel


@pytest.fixture
def request_(random_clip):
    """A legal Predict request."""
    frames = random_clip(0)[None]
    return warmup.predict_request({"frames": frames, "length": np.array([3], np.int32)}, model="toy")


def refusal(method: rpc.Method, channel, request) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        method.stub(channel)(request, timeout=30)
    return caught.value.code(), caught.value.details()


def status_of(channel, **spec):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = spec.get("name", "toy")
    if "version" in spec:
        request.model_spec.version.value = spec["version"]
    response = rpc.STATUS.stub(channel)(request, timeout=30)
    return [(each.version, each.state, each.status.error_code) for each in response.model_version_status]


def test_published_client_pattern_equals_the_signature(exported, channel, random_clip):
    frames = np.stack([random_clip(1), random_clip(2)])
    length = np.array([3, 2], np.int32)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.model_spec.signature_name = "serving_default"
    request.inputs["frames"].CopyFrom(tf.make_tensor_proto(frames))
    request.inputs["length"].CopyFrom(tf.make_tensor_proto(length))
    response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, 30.0)

    in_process = tf.saved_model.load(str(exported(7.0))).signatures["serving_default"]
    expected = in_process(frames=tf.constant(frames), length=tf.constant(length))["forecast"].numpy()
    answer = response.outputs["forecast"]
    assert expected.shape == (2, HORIZON, 8, 6, 1)
    np.testing.assert_allclose(tf.make_ndarray(answer), expected, rtol=1e-6)
    assert response.model_spec.name == "toy"
    assert response.model_spec.signature_name == "serving_default"
    assert response.model_spec.version.value == 7


def test_signature_name_defaults_and_output_filter_applies(channel, request_):
    request_.model_spec.ClearField("signature_name")
    request_.output_filter.append("last")
    response = rpc.PREDICT.stub(channel)(request_, timeout=30)
    assert response.model_spec.signature_name == "serving_default"
    assert list(response.outputs) == ["last"]


def test_requested_version_answers(channel, request_):
    request_.model_spec.version.value = 7
    assert rpc.PREDICT.stub(channel)(request_, timeout=30).model_spec.version.value == 7


def without_spec(request):
    request.ClearField("model_spec")


def set_spec(**fields):
    def change(request):
        for name, value in fields.items():
            if name == "version":
                request.model_spec.version.value = value
            else:
                setattr(request.model_spec, name, value)

    return change


def set_input(name, value):
    return lambda request: request.inputs[name].CopyFrom(tf.make_tensor_proto(value))


def renamed_input(request):
    request.inputs["frame"].CopyFrom(request.inputs["frames"])
    del request.inputs["frames"]


def drop_input(request):
    del request.inputs["length"]


def cut_content(request):
    request.inputs["frames"].tensor_content = b"short"


def filter_outputs(*names):
    return lambda request: request.output_filter.extend(names)


INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
SERVABLE_ROWS = [
    (without_spec, INVALID, "Missing ModelSpec"),
    (set_spec(name=""), INVALID, "ModelSpec has no name specified."),
    (set_spec(name="other"), NOT_FOUND, "Servable not found for request: Latest(other)"),
    (set_spec(name="other", version=7), NOT_FOUND, "Servable not found for request: Specific(other, 7)"),
    (set_spec(version=8), NOT_FOUND, "Servable not found for request: Specific(toy, 8)"),
    (set_spec(version_label="canary"), INVALID, "Unrecognized servable version label: canary"),
]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        *SERVABLE_ROWS,
        (
            set_spec(signature_name="nope"),
            grpc.StatusCode.FAILED_PRECONDITION,
            'Serving signature key "nope" not found.',
        ),
        (
            drop_input,
            INVALID,
            "input size does not match signature: 1!=2 len({frames}) != len({frames,length}). Sent extra: {}. "
            "Missing but required: {length}.",
        ),
        (
            set_input("mask", np.zeros(2)),
            INVALID,
            "input size does not match signature: 3!=2 len({frames,length,mask}) != len({frames,length}). "
            "Sent extra: {mask}. Missing but required: {}.",
        ),
        (
            renamed_input,
            INVALID,
            "Signature input alias: frames(feed name: serving_default_frames:0) not found in request and no default "
            "value provided. Inputs expected to be in the request {frame,length}, or default input alias set: ",
        ),
        (
            filter_outputs("forecasts"),
            INVALID,
            "output tensor alias not found in signature: forecasts Outputs expected to be in the set {forecast,last}.",
        ),
        (filter_outputs("forecast", "forecast"), INVALID, "duplicate output tensor alias: forecast"),
        (
            set_input("frames", np.zeros((1, 3, 8, 6, 1), np.float32)),
            INVALID,
            "Expects arg[0] to be uint8 but float is provided",
        ),
        (set_input("length", [b"3"]), INVALID, "Expects arg[1] to be int32 but string is provided"),
        (cut_content, INVALID, "tensor parsing error: frames"),
    ],
)
def test_predict_errors_have_the_documented_text(channel, request_, change, code, message):
    change(request_)
    assert refusal(rpc.PREDICT, channel, request_) == (code, message)


@pytest.mark.parametrize("shape", [(1, 3, 8, 6, 2), (3, 8, 6, 1)])
def test_wrong_shape_is_an_invalid_argument(channel, request_, shape):
    set_input("frames", np.zeros(shape, np.uint8))(request_)
    code, message = refusal(rpc.PREDICT, channel, request_)
    assert code is INVALID
    assert "frames" in message or "shape" in message


def test_graph_error_is_an_invalid_argument(channel, request_):
    set_input("length", np.array([4], np.int32))(request_)
    code, message = refusal(rpc.PREDICT, channel, request_)
    assert code is INVALID
    assert message.startswith("assertion failed: [length: expected at most the frames given]")
    assert "[4]" in message
    assert "[3]" in message


def test_corrupt_image_is_an_invalid_argument(channel):
    example = tf.train.SequenceExample()
    example.feature_lists.feature_list["image/encoded"].feature.add().bytes_list.value.append(b"\x89PNG broken")
    request = warmup.predict_request(
        {"examples": [example.SerializeToString()]}, model="toy", signature_name="serve_examples"
    )
    code, message = refusal(rpc.PREDICT, channel, request)
    assert code is INVALID
    assert "image" in message.lower()
    assert "Graph execution error" not in message


@pytest.mark.parametrize(("change", "code", "message"), SERVABLE_ROWS)
def test_metadata_errors_have_the_documented_text(channel, change, code, message):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "toy"
    change(request)
    assert refusal(rpc.METADATA, channel, request) == (code, message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["signature_def", "weights"], "Metadata field weights is not supported"),
    ],
)
def test_metadata_has_only_signature_def(channel, fields, message):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "toy"
    assert refusal(rpc.METADATA, channel, request) == (INVALID, message)


def test_metadata_equals_the_saved_signatures(exported, channel):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "toy"
    response = rpc.METADATA.stub(channel)(request, timeout=30)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        expected = tf.compat.v1.saved_model.load(session, ["serve"], str(exported(7.0))).signature_def
    assert dict(signatures.signature_def) == dict(expected)
    assert response.model_spec.version.value == 7


def test_status_shows_the_available_version(channel):
    assert status_of(channel) == [(7, AVAILABLE, 0)]
    assert status_of(channel, version=7) == [(7, AVAILABLE, 0)]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (without_spec, INVALID, "Missing ModelSpec"),
        (set_spec(name="other"), NOT_FOUND, "Could not find any versions of model other"),
        (set_spec(version=8), NOT_FOUND, "Could not find version 8 of model toy"),
    ],
)
def test_status_errors_have_the_documented_text(channel, change, code, message):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "toy"
    change(request)
    assert refusal(rpc.STATUS, channel, request) == (code, message)


def test_messages_above_4_mib_work_both_ways(channel):
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, 2048, 2048, 1), np.uint8)
    request = warmup.predict_request({"frames": frames, "length": np.array([2], np.int32)}, model="toy")
    response = rpc.PREDICT.stub(channel)(request, timeout=60)
    assert request.ByteSize() > 2 * 2**22
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["last"]), frames[:, 1] / 255, atol=1e-6)


def reload_request(*models):
    request = model_management_pb2.ReloadConfigRequest()
    for name, base_path in models:
        request.config.model_config_list.config.add(name=name, base_path=base_path, model_platform="tensorflow")
    return request


def custom_config():
    request = model_management_pb2.ReloadConfigRequest()
    request.config.custom_model_config.CopyFrom(any_pb2.Any())
    return request


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            custom_config(),
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported",
        ),
        (
            reload_request(("toy", "/models/toy"), ("toy", "/models/toy")),
            "Illegal to list model toy multiple times in config list",
        ),
        (
            reload_request(("toy", "models/toy")),
            "Expected model toy to have an absolute path or URI; got base_path()=models/toy",
        ),
    ],
)
def test_reload_errors_have_the_documented_text(channel, request_, message):
    assert refusal(rpc.RELOAD, channel, request_) == (INVALID, message)
    assert status_of(channel) == [(7, AVAILABLE, 0)]


def test_reload_sets_labels_or_changes_nothing(served, channel, request_):
    relabelled = reload_request(("toy", served[1]))
    labels = relabelled.config.model_config_list.config[0].version_labels
    labels["stable"] = 7
    assert rpc.RELOAD.stub(channel)(relabelled, timeout=60).status.error_code == 0
    request_.model_spec.version_label = "stable"
    assert rpc.PREDICT.stub(channel)(request_, timeout=30).model_spec.version.value == 7

    labels["stable"] = 8
    code, message = refusal(rpc.RELOAD, channel, relabelled)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert message == (
        "Request to assign label to version 8 of model toy, which is not currently available for inference"
    )
    assert rpc.PREDICT.stub(channel)(request_, timeout=30).model_spec.version.value == 7

    rpc.RELOAD.stub(channel)(reload_request(("toy", served[1])), timeout=60)
    unlabelled = (INVALID, "Unrecognized servable version label: stable")
    assert refusal(rpc.PREDICT, channel, request_) == unlabelled


def test_health_check_reports_serving(channel):
    """TensorFlow Serving needs --enable_grpc_healthcheck_service for health checks."""
    for service in ("", "ModelService", "PredictionService"):
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="other"), timeout=30)
    assert caught.value.code() is NOT_FOUND
