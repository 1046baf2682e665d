"""The embedded server against the documented behaviour of TensorFlow Serving."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from framecast.models import warmup
from framecast.serving import protos
from framecast.serving.served_models import LoadError, one_model
from framecast.serving.server import Server, serve_forever

AVAILABLE, END = 30, 50
HORIZON = 2  # Of the toy model.


@pytest.fixture(scope="module")
def served(exported, tmp_path_factory):
    """A server of model `toy`, version 7, and its folder."""
    base_path = tmp_path_factory.mktemp("toy")
    os.symlink(exported(7.0), base_path / "7")
    with Server(one_model("toy", str(base_path))) as server:
        yield server, exported(7.0)


@pytest.fixture(scope="module")
def channel(served):
    with grpc.insecure_channel(f"127.0.0.1:{served[0].port}", options=protos.ANY_SIZE) as channel:
        yield channel


@pytest.fixture
def request_(served, random_clip):
    """A legal Predict request."""
    frames = random_clip(0)[None]
    return warmup.predict_request({"frames": frames, "length": np.array([3], np.int32)}, model="toy")


def refusal(method: protos.Method, channel, request) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        method.stub(channel)(request, timeout=30)
    return caught.value.code(), caught.value.details()


def status_of(channel, **spec):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = spec.get("name", "toy")
    if "version" in spec:
        request.model_spec.version.value = spec["version"]
    response = protos.STATUS.stub(channel)(request, timeout=30)
    return [(each.version, each.state, each.status.error_code) for each in response.model_version_status]


def test_published_client_pattern_gets_the_answer_of_the_in_process_signature(served, channel, random_clip):
    frames = np.stack([random_clip(1), random_clip(2)])
    length = np.array([3, 2], np.int32)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.model_spec.signature_name = "serving_default"
    request.inputs["frames"].CopyFrom(tf.make_tensor_proto(frames))
    request.inputs["length"].CopyFrom(tf.make_tensor_proto(length))
    response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, 30.0)

    in_process = tf.saved_model.load(str(served[1])).signatures["serving_default"]
    expected = in_process(frames=tf.constant(frames), length=tf.constant(length))["forecast"].numpy()
    answer = response.outputs["forecast"]
    assert expected.shape == (2, HORIZON, 8, 6, 1)
    np.testing.assert_array_equal(tf.make_ndarray(answer), expected)
    assert answer.tensor_content
    assert not answer.float_val
    assert response.model_spec.name == "toy"
    assert response.model_spec.signature_name == "serving_default"
    assert response.model_spec.version.value == 7


def test_unset_signature_name_means_serving_default_and_an_output_filter_limits_the_answer(channel, request_):
    request_.model_spec.ClearField("signature_name")
    request_.output_filter.append("last")
    response = protos.PREDICT.stub(channel)(request_, timeout=30)
    assert response.model_spec.signature_name == "serving_default"
    assert list(response.outputs) == ["last"]


def test_version_asked_for_by_its_number_answers(channel, request_):
    request_.model_spec.version.value = 7
    assert protos.PREDICT.stub(channel)(request_, timeout=30).model_spec.version.value == 7


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
        (
            set_input("frames", np.zeros((1, 3, 8, 6, 2), np.uint8)),
            INVALID,
            "input frames: expected shape (None, None, None, None, 1), received (1, 3, 8, 6, 2)",
        ),
        (
            set_input("frames", np.zeros((3, 8, 6, 1), np.uint8)),
            INVALID,
            "input frames: expected shape (None, None, None, None, 1), received (3, 8, 6, 1)",
        ),
        (cut_content, INVALID, "tensor parsing error: frames"),
    ],
)
def test_predict_refuses_with_the_code_and_message_of_tensorflow_serving(channel, request_, change, code, message):
    change(request_)
    assert refusal(protos.PREDICT, channel, request_) == (code, message)


def test_length_that_the_graph_refuses_is_an_invalid_argument_with_the_graphs_message(channel, request_):
    set_input("length", np.array([4], np.int32))(request_)
    code, message = refusal(protos.PREDICT, channel, request_)
    assert code is INVALID
    assert message.startswith("assertion failed: [length: expected at most the frames given]")
    assert "[4]" in message
    assert "[3]" in message


def test_corrupt_image_bytes_are_an_invalid_argument(channel):
    example = tf.train.SequenceExample()
    example.feature_lists.feature_list["image/encoded"].feature.add().bytes_list.value.append(b"\x89PNG broken")
    request = warmup.predict_request(
        {"examples": [example.SerializeToString()]}, model="toy", signature_name="serve_examples"
    )
    code, message = refusal(protos.PREDICT, channel, request)
    assert code is INVALID
    assert "image" in message.lower()
    assert "Graph execution error" not in message


@pytest.mark.parametrize(("change", "code", "message"), SERVABLE_ROWS)
def test_metadata_refuses_with_the_code_and_message_of_tensorflow_serving(channel, change, code, message):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "toy"
    change(request)
    assert refusal(protos.METADATA, channel, request) == (code, message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["signature_def", "weights"], "Metadata field weights is not supported"),
    ],
)
def test_metadata_answers_only_for_signature_def(channel, fields, message):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "toy"
    assert refusal(protos.METADATA, channel, request) == (INVALID, message)


def test_metadata_is_the_signature_map_of_the_saved_model(served, channel):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "toy"
    response = protos.METADATA.stub(channel)(request, timeout=30)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        expected = tf.compat.v1.saved_model.load(session, ["serve"], str(served[1])).signature_def
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
def test_status_refuses_with_the_code_and_message_of_tensorflow_serving(channel, change, code, message):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "toy"
    change(request)
    assert refusal(protos.STATUS, channel, request) == (code, message)


def test_messages_above_grpcs_default_of_4_mib_go_both_ways(channel):
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, 2048, 2048, 1), np.uint8)
    request = warmup.predict_request({"frames": frames, "length": np.array([2], np.int32)}, model="toy")
    response = protos.PREDICT.stub(channel)(request, timeout=60)
    assert request.ByteSize() > 2 * 2**22
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["last"]), frames[:, 1] / 255, atol=1e-6)


def test_newer_version_takes_over_without_a_failing_request(base_path, publish, channel_to, random_clip, wait_until):
    seen, failures, stop = [], [], threading.Event()
    with Server(one_model("toy", base_path)) as server:
        predict = protos.PREDICT.stub(channel_to(server))
        request = warmup.predict_request({"frames": random_clip(0)[None], "length": np.int32([3])}, model="toy")

        def ask():
            while not stop.is_set():
                try:
                    seen.append(predict(request, timeout=30).model_spec.version.value)
                except grpc.RpcError as error:
                    failures.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            wait_until(lambda: 1 in seen, what="version 1 answers")
            publish(2)
            wait_until(lambda: 2 in seen, what="version 2 answers")
        finally:
            stop.set()
            thread.join()
        wait_until(lambda: server.versions == (2,), what="version 1 is dropped")
        assert status_of(channel_to(server)) == [(2, AVAILABLE, 0), (1, END, 0)]
    assert not failures
    assert seen == sorted(seen)


def test_corrupt_newer_version_keeps_the_old_one_and_is_tried_again_when_its_files_change(
    base_path, publish, channel_to, random_clip, wait_until
):
    with Server(one_model("toy", base_path)) as server:
        channel = channel_to(server)
        broken = pathlib.Path(base_path) / "2"
        broken.mkdir()
        (broken / "saved_model.pb").write_bytes(b"not a model")
        unknown = grpc.StatusCode.UNKNOWN.value[0]
        wait_until(lambda: server.versions == (1,) and len(status_of(channel)) == 2, what="version 2 is tried")
        wait_until(lambda: status_of(channel)[0][1] == END, what="version 2 fails")
        assert status_of(channel) == [(2, END, unknown), (1, AVAILABLE, 0)]
        request = warmup.predict_request({"frames": random_clip(0)[None], "length": np.int32([3])}, model="toy")
        assert protos.PREDICT.stub(channel)(request, timeout=30).model_spec.version.value == 1

        broken.rename(pathlib.Path(base_path) / "broken")
        publish(2)
        wait_until(lambda: server.versions == (2,), what="the mended version 2 serves")


def test_version_whose_warm_up_fails_does_not_serve(base_path, publish, channel_to, tmp_path, random_clip, wait_until):
    with Server(one_model("toy", base_path)) as server:
        channel = channel_to(server)
        staged = publish(2).rename(tmp_path / "staged")
        frames = random_clip(0)[None]
        warmup.write_warmup(str(staged), [{"inputs": {"frames": frames, "length": np.int32([9])}}])
        staged.rename(pathlib.Path(base_path) / "3")
        wait_until(lambda: (3, END, INVALID.value[0]) in status_of(channel), what="version 3 fails")
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "toy"
        request.model_spec.version.value = 3
        status = protos.STATUS.stub(channel)(request, timeout=30).model_version_status[0].status
        assert status.error_message.startswith("warm-up request 0: assertion failed: [length:")


def test_version_that_is_taken_away_gives_way_to_the_newest_left(base_path, publish, tmp_path, wait_until):
    newest = publish(2)
    with Server(one_model("toy", base_path)) as server:
        assert server.versions == (2,)
        newest.rename(tmp_path / "withdrawn")
        wait_until(lambda: server.versions == (1,), what="version 1 is back")


def test_newest_is_by_number_and_folders_with_other_names_are_ignored(publish, tmp_path):
    publish(9)
    publish(10)
    (tmp_path / "toy" / ".11.tmp").mkdir()
    with Server(one_model("toy", str(tmp_path / "toy"))) as server:
        assert server.versions == (10,)


def test_starting_without_a_version_names_folder_and_model(tmp_path):
    with pytest.raises(LoadError, match=r"radar: .*toy: expected a version that loads, received no folder named by"):
        Server(one_model("radar", str(tmp_path / "toy"))).__enter__()


def test_starting_with_a_corrupt_version_names_it(tmp_path):
    (tmp_path / "4").mkdir()
    with pytest.raises(LoadError, match=r"version 4: .*saved_model\.pb"):
        Server(one_model("radar", str(tmp_path))).__enter__()


def test_taken_port_is_refused(base_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}: expected a free port"):
            Server(one_model("toy", base_path), port=port).__enter__()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_serving_forever_and_gets_its_old_handler_back(number, base_path):
    before = signal.getsignal(number)
    announced = []

    def ready(server: Server) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            announced.append((server.versions, status_of(channel)))
        os.kill(os.getpid(), number)

    serve_forever(one_model("toy", base_path), port=0, ready=ready)
    assert announced == [((1,), [(1, AVAILABLE, 0)])]
    assert signal.getsignal(number) is before


def test_command_announces_its_port_and_stops_cleanly(base_path, tmp_path, wait_until):
    port_file = tmp_path / "port"
    command = [sys.executable, "-m", "framecast.serving.server", base_path, "--model_name=toy", "--port=0"]
    with subprocess.Popen([*command, f"--port_file={port_file}"], stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: port_file.exists() or process.poll() is not None, what="the server is up", seconds=120)
            port = int(port_file.read_text())
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                assert status_of(channel) == [(1, AVAILABLE, 0)]
            process.terminate()
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert output == f"toy version 1 at 127.0.0.1:{port}\n"
    assert process.returncode == 0


@pytest.fixture
def channel_to():
    """Returns an open channel to a server; closed after the test."""
    channels = []

    def connect(server: Server) -> grpc.Channel:
        channels.append(grpc.insecure_channel(f"127.0.0.1:{server.port}", options=protos.ANY_SIZE))
        return channels[-1]

    yield connect
    for channel in channels:
        channel.close()
