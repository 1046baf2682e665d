"""The embedded server where it goes beyond single requests: versions, labels, limits, and how it starts and stops."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading

import grpc
import numpy as np
import psutil
import pytest
import tensorflow as tf
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import get_model_status_pb2

from framecast.models.export import warmup
from framecast.serving import rpc
from framecast.serving.server.batching import BatchingParameters
from framecast.serving.server.model_manager import LoadError, ServedModels, one_model, read_model_config
from framecast.serving.server.servable import ServingError
from framecast.serving.server.server import Load, Server, ServerOptions, parse_channel_arguments, serve_forever

AVAILABLE, END = 30, 50
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def status_of(channel, name="toy"):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    response = rpc.STATUS.stub(channel)(request, timeout=30)
    return [(each.version, each.state, each.status.error_code) for each in response.model_version_status]


@pytest.fixture
def request_(random_clip):
    """A legal Predict request."""
    return warmup.predict_request({"frames": random_clip(0)[None], "length": np.int32([3])}, model="toy")


def refusal(channel, request) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        rpc.PREDICT.stub(channel)(request, timeout=60)
    return caught.value.code(), caught.value.details()


def version_of(channel, request) -> int:
    return rpc.PREDICT.stub(channel)(request, timeout=30).model_spec.version.value


@pytest.mark.parametrize("shape", [(1, 3, 8, 6, 2), (3, 8, 6, 1)])
def test_wrong_shape_is_refused_with_input_expected_and_received(base_path, channel_to, request_, shape):
    request_.inputs["frames"].CopyFrom(tf.make_tensor_proto(np.zeros(shape, np.uint8)))
    with Server(one_model("toy", base_path)) as server:
        expected = (INVALID, f"input frames: expected shape (None, None, None, None, 1), received {shape}")
        assert refusal(channel_to(server), request_) == expected


def test_answers_travel_as_raw_bytes(base_path, channel_to, request_):
    with Server(one_model("toy", base_path)) as server:
        answer = rpc.PREDICT.stub(channel_to(server))(request_, timeout=30).outputs["forecast"]
    assert answer.tensor_content
    assert not answer.float_val


def test_newer_version_takes_over_without_a_failing_request(base_path, publish, channel_to, random_clip, wait_until):
    seen, failures, stop = [], [], threading.Event()
    with Server(one_model("toy", base_path)) as server:
        predict = rpc.PREDICT.stub(channel_to(server))
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
        assert rpc.PREDICT.stub(channel)(request, timeout=30).model_spec.version.value == 1

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
        status = rpc.STATUS.stub(channel)(request, timeout=30).model_version_status[0].status
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


def configured(base_path, text="", name="toy"):
    config = one_model(name, base_path)
    text_format.Merge(text, config.model_config_list.config[0])
    return config


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", (3,)),
        ("latest { num_versions: 2 }", (3, 2)),
        ("all {}", (3, 2, 1)),
        ("specific { versions: 1 versions: 3 }", (3, 1)),
    ],
)
def test_policy_decides_which_versions_answer(publish, channel_to, request_, policy, expected):
    for version in (1, 2, 3):
        base_path = str(publish(version).parent)
    config = configured(base_path, f"model_version_policy {{ {policy} }}" if policy else "")
    with Server(config) as server:
        assert server.versions == expected
        channel = channel_to(server)
        assert version_of(channel, request_) == 3
        for version in (1, 2, 3):
            request_.model_spec.version.value = version
            if version in expected:
                assert version_of(channel, request_) == version
            else:
                missing = f"Servable not found for request: Specific(toy, {version})"
                assert refusal(channel, request_) == (grpc.StatusCode.NOT_FOUND, missing)


def test_reload_adds_a_model_and_takes_one_away(base_path, publish, channel_to, request_, wait_until):
    with Server(one_model("toy", base_path)) as server:
        channel = channel_to(server)
        server.models.reload(one_model("other", base_path))
        missing = (grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(toy)")
        assert refusal(channel, request_) == missing
        request_.model_spec.name = "other"
        assert version_of(channel, request_) == 1
        assert status_of(channel, "other") == [(1, AVAILABLE, 0)]


def test_label_in_the_polled_file_is_taken_over_once_its_version_is_loaded(
    base_path, publish, tmp_path, channel_to, request_, wait_until
):
    file = tmp_path / "models.config"
    labelled = configured(
        base_path, 'model_version_policy { latest { num_versions: 2 } } version_labels { key: "stable" value: 1 }'
    )
    file.write_text(text_format.MessageToString(labelled))
    options = ServerOptions(
        model_config_file=str(file),
        model_config_file_poll_wait_seconds=0.05,
        file_system_poll_wait_seconds=0.05,
        allow_version_labels_for_unavailable_models=True,
    )
    request_.model_spec.version_label = "stable"
    with Server(read_model_config(str(file)), options=options) as server:
        channel = channel_to(server)
        assert version_of(channel, request_) == 1
        labelled.model_config_list.config[0].version_labels["stable"] = 2
        (tmp_path / "new").write_text(text_format.MessageToString(labelled))
        os.replace(tmp_path / "new", file)
        publish(2)
        wait_until(lambda: version_of(channel, request_) == 2, what="the label has moved")
        assert server.versions == (2, 1)


def test_text_that_is_no_model_config_is_named(tmp_path):
    (tmp_path / "models.config").write_text("model_config { }")
    with pytest.raises(ValueError, match=r"models\.config: expected the text of a ModelServerConfig, received 1:"):
        read_model_config(str(tmp_path / "models.config"))


def test_version_that_is_copied_slowly_is_loaded_only_when_it_is_complete(base_path, exported, tmp_path):
    """File by file, the largest in pieces, with a look of the server between any two."""
    models = ServedModels()
    models.reload(one_model("toy", base_path))
    source, target = tmp_path / "2", pathlib.Path(base_path) / "2"
    shutil.copytree(exported(2.0), source)
    # Copied last, and a model loads without it: only the pause after it tells that the copy is complete.
    (source / "zz.txt").write_text("of no use to TensorFlow")
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    assert pathlib.Path("variables/variables.index") in files
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        content = (source / name).read_bytes()
        with (target / name).open("wb") as file:
            for start in range(0, len(content), len(content) // 2 + 1):
                models.poll()
                assert models.versions("toy") == (1,)
                file.write(content[start : start + len(content) // 2 + 1])
                file.flush()
    models.poll()
    models.poll()
    assert models.versions("toy") == (2,)
    models.close()


def test_pause_in_a_copy_is_a_failed_load_that_is_tried_again(base_path, exported):
    models = ServedModels()
    models.reload(one_model("toy", base_path))
    target = pathlib.Path(base_path) / "2"
    shutil.copytree(exported(2.0), target)
    data = target / "variables" / "variables.data-00000-of-00001"
    content = data.read_bytes()
    data.write_bytes(content[:-4])
    for _ in range(3):
        models.poll()
    assert models.versions("toy") == (1,)
    assert models.states("toy")[2].state == END
    data.write_bytes(content)
    for _ in range(2):
        models.poll()
    assert models.versions("toy") == (2,)
    models.close()


def test_folder_that_is_gone_for_a_moment_takes_nothing_from_service(base_path, tmp_path):
    models = ServedModels()
    models.reload(one_model("toy", base_path))
    os.rename(base_path, tmp_path / "away")
    models.poll()
    assert models.versions("toy") == (1,)
    models.close()


def test_message_above_the_limit_is_refused_and_the_next_one_answered(base_path, channel_to, request_):
    options = ServerOptions(grpc_channel_arguments=parse_channel_arguments("grpc.max_receive_message_length=100000"))
    large = warmup.predict_request({"frames": np.zeros((1, 3, 256, 256, 1), np.uint8), "length": [3]}, model="toy")
    with Server(one_model("toy", base_path), options=options) as server:
        channel = channel_to(server)
        code, message = refusal(channel, large)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "100000" in message
        assert version_of(channel, request_) == 1


def test_channel_argument_without_a_value_is_named():
    assert parse_channel_arguments("grpc.a=-1,grpc.b=word") == (("grpc.a", -1), ("grpc.b", "word"))
    with pytest.raises(ValueError, match="grpc_channel_arguments: expected NAME=VALUE, received"):
        parse_channel_arguments("grpc.a")


def test_few_bytes_that_declare_a_vast_tensor_are_refused(base_path, channel_to, request_):
    vast = tf.make_tensor_proto(np.zeros((1, 1, 1, 1, 1), np.uint8))
    vast.tensor_shape.dim[2].size = 2**40
    request_.inputs["frames"].CopyFrom(vast)
    with Server(one_model("toy", base_path)) as server:
        code, message = refusal(channel_to(server), request_)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert message.startswith("input frames: expected at most")


class Slow(tf.Module):
    """Counts to `steps`: as busy, and for as long, as a test wants."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "steps")])
    def serve(self, steps):
        last = tf.reduce_max(steps)
        return {"reached": tf.while_loop(lambda i: i < last, lambda i: i + 1, [0])[0] + 0 * steps}


@pytest.fixture
def slow_server(tmp_path, channel_to):
    """Starts a server of model `slow`; returns it, and a function that asks it to count without waiting for it."""
    module = Slow()
    tf.saved_model.save(module, str(tmp_path / "slow" / "1"), signatures={"serving_default": module.serve})
    config = one_model("slow", str(tmp_path / "slow"))
    with contextlib.ExitStack() as stack:

        def start(**options):
            server = Server(config, options=ServerOptions(**options))
            stack.enter_context(server)
            channel = channel_to(server)

            def count(steps, timeout=120):
                request = warmup.predict_request({"steps": np.int32([steps])}, model="slow")
                return rpc.PREDICT.stub(channel).future(request, timeout=timeout)

            return server, count

        yield start


LONG = 200_000  # Steps; a second or so.


def is_refused(call) -> bool:
    return call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
def accepted(wait_until):
    """Starts a long call and returns it once it is accepted, which is when one beside it is refused."""

    def start(count):
        calls = []

        def refused_beside():
            if not calls or calls[-1].done():  # The short one came first, or came too late.
                calls.append(count(LONG))
            return is_refused(count(1))

        wait_until(refused_beside, what="a call beside a long one is refused")
        return calls[-1]

    return start


def test_calls_beyond_the_queue_are_refused_and_those_in_it_answered(slow_server, accepted, wait_until):
    _, count = slow_server(queue=1)
    call = accepted(count)
    assert tf.make_ndarray(call.result().outputs["reached"]).tolist() == [LONG]
    wait_until(lambda: not is_refused(count(1)), what="there is room again")


def test_bytes_in_flight_are_bounded(slow_server, accepted):
    _, count = slow_server(bytes_in_flight=1)
    call = accepted(count)
    assert count(1).details().startswith("expected at most 1 bytes of requests at a time")
    assert call.result()


def test_requests_that_memory_might_not_bear_together_are_computed_one_after_the_other(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    load = Load(ServerOptions(), largest=100)
    with load.hold(60, seconds=1):
        with load.hold(40, seconds=1):
            pass
        with pytest.raises(ServingError, match="the deadline passed before the request's turn"):
            load.hold(41, seconds=0.01).__enter__()
    with load.hold(41, seconds=1):
        pass


def test_run_stops_when_its_deadline_passes(slow_server, wait_until):
    _, count = slow_server(queue=1)
    call = count(10_000 * LONG, timeout=0.5)
    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: not is_refused(count(1)), what="the run has ended")


def test_health_and_status_answer_while_every_thread_computes(slow_server, channel_to, wait_until):
    server, count = slow_server(grpc_max_threads=2)
    calls = [count(LONG) for _ in range(6)]
    channel = channel_to(server)
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert status_of(channel, "slow") == [(1, AVAILABLE, 0)]
    assert not any(call.done() for call in calls[-2:])
    assert all(call.result() for call in calls)


def test_stopping_finishes_what_was_accepted(slow_server, accepted):
    server, count = slow_server(queue=1)
    call = accepted(count)
    server.__exit__()
    assert tf.make_ndarray(call.result().outputs["reached"]).tolist() == [LONG]


def test_dropped_version_takes_its_threads_with_it(base_path, publish, request_, channel_to, wait_until):
    options = ServerOptions(
        batching=BatchingParameters(max_batch_size=4, num_batch_threads=8), file_system_poll_wait_seconds=0.05
    )
    with Server(one_model("toy", base_path), options=options) as server:
        channel = channel_to(server)
        for version in range(2, 6):
            version_of(channel, request_)
            publish(version)
            wait_until(lambda version=version: server.versions == (version,), what=f"version {version} serves")
            if version == 2:
                version_of(channel, request_)
                threads = psutil.Process().num_threads()
        version_of(channel, request_)
        wait_until(lambda: psutil.Process().num_threads() <= threads + 8, what="the threads are gone")


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
    command = [sys.executable, "-m", "framecast.serving.server.server", base_path, "--model_name=toy", "--port=0"]
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
        channels.append(grpc.insecure_channel(f"127.0.0.1:{server.port}", options=rpc.ANY_SIZE))
        return channels[-1]

    yield connect
    for channel in channels:
        channel.close()
