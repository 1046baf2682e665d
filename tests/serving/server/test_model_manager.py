"""Which versions are served: new, corrupt, removed and half-copied versions, policies, labels and reloads."""

import os
import pathlib
import shutil
import threading

import grpc
import numpy as np
import psutil
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2

from framecast.models.export import warmup
from framecast.serving import rpc
from framecast.serving.server.batching import BatchingParameters
from framecast.serving.server.model_config import one_model, read_model_config
from framecast.serving.server.model_manager import ModelManager
from framecast.serving.server.options import ServerOptions
from framecast.serving.server.server import Server
from tests.serving.server.calls import AVAILABLE, END, refusal, status_of, version_of

INVALID = grpc.StatusCode.INVALID_ARGUMENT
FAST_POLLS = ServerOptions(file_system_poll_wait_seconds=0.05)


def test_new_version_takes_over_without_failed_requests(base_path, publish, channel_to, random_clip, wait_until):
    seen, failures, stop = [], [], threading.Event()
    with Server(one_model("toy", base_path), options=FAST_POLLS) as server:
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


def test_corrupt_version_is_retried_after_its_files_change(base_path, publish, channel_to, random_clip, wait_until):
    with Server(one_model("toy", base_path), options=FAST_POLLS) as server:
        channel = channel_to(server)
        broken = pathlib.Path(base_path) / "2"
        broken.mkdir()
        (broken / "saved_model.pb").write_bytes(b"not a model")
        unknown = grpc.StatusCode.UNKNOWN.value[0]
        wait_until(lambda: server.versions == (1,) and len(status_of(channel)) == 2, what="version 2 is tried")
        wait_until(lambda: status_of(channel)[0][1] == END, what="version 2 fails")
        assert status_of(channel) == [(2, END, unknown), (1, AVAILABLE, 0)]
        request = warmup.predict_request({"frames": random_clip(0)[None], "length": np.int32([3])}, model="toy")
        assert version_of(channel, request) == 1

        broken.rename(pathlib.Path(base_path) / "broken")
        publish(2)
        wait_until(lambda: server.versions == (2,), what="the repaired version 2 serves")


def test_version_with_failing_warm_up_is_not_served(base_path, publish, channel_to, tmp_path, random_clip, wait_until):
    with Server(one_model("toy", base_path), options=FAST_POLLS) as server:
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


def test_removed_version_is_replaced_by_the_newest_left(base_path, publish, tmp_path, wait_until):
    newest = publish(2)
    with Server(one_model("toy", base_path), options=FAST_POLLS) as server:
        assert server.versions == (2,)
        newest.rename(tmp_path / "withdrawn")
        wait_until(lambda: server.versions == (1,), what="version 1 is back")


def test_newest_version_is_the_highest_number(publish, tmp_path):
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
def test_policy_selects_the_served_versions(publish, channel_to, request_, policy, expected):
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


def test_reload_adds_and_removes_models(base_path, publish, channel_to, request_, wait_until):
    with Server(one_model("toy", base_path), options=FAST_POLLS) as server:
        channel = channel_to(server)
        server.models.reload(one_model("other", base_path))
        missing = (grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(toy)")
        assert refusal(channel, request_) == missing
        request_.model_spec.name = "other"
        assert version_of(channel, request_) == 1
        assert status_of(channel, "other") == [(1, AVAILABLE, 0)]


def test_polled_label_moves_once_its_version_is_loaded(base_path, publish, tmp_path, channel_to, request_, wait_until):
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


def test_slowly_copied_version_is_loaded_when_complete(base_path, exported, tmp_path):
    """Files are copied in pieces, with a poll before each piece."""
    manager = ModelManager()
    manager.reload(one_model("toy", base_path))
    source, target = tmp_path / "2", pathlib.Path(base_path) / "2"
    shutil.copytree(exported(2.0), source)
    # Copied last, and not needed for loading, so only the unchanged files show that the copy is complete.
    (source / "zz.txt").write_text("not read by TensorFlow")
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    assert pathlib.Path("variables/variables.index") in files
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        content = (source / name).read_bytes()
        with (target / name).open("wb") as file:
            for start in range(0, len(content), len(content) // 2 + 1):
                manager.poll()
                assert manager.versions("toy") == (1,)
                file.write(content[start : start + len(content) // 2 + 1])
                file.flush()
    manager.poll()
    manager.poll()
    assert manager.versions("toy") == (2,)
    manager.close()


def test_paused_copy_fails_and_is_loaded_later(base_path, exported):
    manager = ModelManager()
    manager.reload(one_model("toy", base_path))
    target = pathlib.Path(base_path) / "2"
    shutil.copytree(exported(2.0), target)
    data = target / "variables" / "variables.data-00000-of-00001"
    content = data.read_bytes()
    data.write_bytes(content[:-4])
    for _ in range(3):
        manager.poll()
    assert manager.versions("toy") == (1,)
    assert manager.states("toy")[2].state == END
    data.write_bytes(content)
    for _ in range(2):
        manager.poll()
    assert manager.versions("toy") == (2,)
    manager.close()


def test_missing_folder_drops_no_version(base_path, tmp_path):
    manager = ModelManager()
    manager.reload(one_model("toy", base_path))
    os.rename(base_path, tmp_path / "away")
    manager.poll()
    assert manager.versions("toy") == (1,)
    manager.close()


def test_dropped_version_ends_its_threads(base_path, publish, request_, channel_to, wait_until):
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
        wait_until(lambda: psutil.Process().num_threads() <= threads + 8, what="the threads have ended")
