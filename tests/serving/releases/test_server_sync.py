"""Releases under load: servers that follow TensorFlow Serving's rules never answer `stable` with an error.

The fake server follows `core/availability_preserving_policy.cc`,
`sources/storage_path/file_system_storage_path_source.cc` and `ServerCore::UpdateModelVersionLabelMap`, and polls every
few milliseconds.
"""

import pathlib
import threading
import time
from concurrent import futures

import grpc
import pytest
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from framecast.serving import rpc
from framecast.serving.client.client import Client
from framecast.serving.releases import releases, server_sync, tf_serving_config, version_folder
from framecast.serving.releases.server_sync import ModelServers
from framecast.serving.releases.version_folder import ReleaseError
from framecast.serving.server.model_config import one_model
from framecast.serving.server.server import Server
from tests.serving.releases.fakes import push_version

_STATES = get_model_status_pb2.ModelVersionStatus
_TICK = 0.01
_LOADING_TICKS = 5
_LABEL_TICKS = 20  # Ticks between two polls of the labels.


class TensorFlowServing:
    """Fakes a model server by TensorFlow Serving's rules; a version answers with its number.

    Args:
        base: Folder of the versions.
        labels: Whether the server reads `models.config`; otherwise it loads the newest version, without labels.
        broken: Versions that fail to load.
    """

    def __init__(self, base: pathlib.Path, labels: bool = True, broken: tuple[int, ...] = ()):
        self._base, self._reads_labels, self._broken = base, labels, broken
        self.labels: dict[str, int] = {}
        self.states: dict[int, int] = {}
        self._errors: dict[int, str] = {}
        self._loading: dict[int, int] = {}
        self._stopping = threading.Event()
        self._changing = threading.Lock()  # A request resolves a label and uses the version atomically.
        self._thread = threading.Thread(target=self._run)
        self._grpc = grpc.server(futures.ThreadPoolExecutor(4))
        self._grpc.add_generic_rpc_handlers(rpc.handlers({rpc.METADATA: self._metadata, rpc.STATUS: self._status}))
        self.address = f"127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self):
        self._read_labels(first=True)
        while self.labels.get("stable") not in [*self._available(), None] or not self._available():
            self._tick()
        self._grpc.start()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join()
        self._grpc.stop(None).wait()

    def _run(self):
        ticks = 0
        while not self._stopping.wait(_TICK):
            ticks += 1
            with self._changing:
                self._tick()
                if ticks % _LABEL_TICKS == 0:
                    self._read_labels()

    def _available(self):
        return [version for version, state in self.states.items() if state == _STATES.AVAILABLE]

    def _tick(self):
        """Takes one action of the policy, as the manager does at each wake-up."""
        newest = sorted(int(path.name) for path in self._base.iterdir() if path.name.isdigit())
        aspired = newest[-(tf_serving_config.LOADED_VERSIONS if self._reads_labels else 1) :]
        for version in list(self._loading):
            self._loading[version] -= 1
            if not self._loading[version]:
                del self._loading[version]
                failed = version in self._broken
                self.states[version] = _STATES.END if failed else _STATES.AVAILABLE
                self._errors[version] = "no memory" if failed else ""
        for version in [*self._errors]:
            if version not in newest and self.states[version] == _STATES.END:  # Dropped if not aspired.
                del self._errors[version]
        unaspired = [version for version in self._available() if version not in aspired]
        if unaspired and (len(unaspired) > 1 or set(aspired) & set(self._available())):
            self.states[min(unaspired)] = _STATES.END
            return
        new = [v for v in aspired if v not in self._available() and v not in self._loading and not self._errors.get(v)]
        if new:
            self.states[max(new)] = _STATES.LOADING
            self._loading[max(new)] = _LOADING_TICKS

    def _read_labels(self, first=False):
        if not self._reads_labels:
            return
        config = tf_serving_config.parse_models_config(
            (self._base / "tensorflow_serving" / "models.config").read_text()
        )
        wanted = dict(config.model_config_list.config[0].version_labels)
        for label, version in wanted.items():
            unused = self.labels.get(label, version) == version  # With allow_version_labels_for_unavailable_models.
            if not unused and version not in self._available():
                return
        self.labels = wanted

    def _metadata(self, request, context):
        label = request.model_spec.version_label
        if label not in self.labels:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
        with self._changing:
            version = self.labels[label]
            available = version in self._available()
        if not available:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Specific(framecast, {version})")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.version.value = version
        return response

    def _status(self, request, context):
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, state in dict(self.states).items():
            status = response.model_version_status.add(version=version, state=state)
            status.status.error_message = self._errors.get(version, "")
        return response


class StableRequests:
    """Requests `stable` from a server continuously, and records the answers."""

    def __init__(self, server: TensorFlowServing):
        self.answers: list[int] = []
        self._server = server
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join()

    def _ask(self):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name, request.model_spec.version_label = "framecast", "stable"
        with grpc.insecure_channel(self._server.address) as channel:
            while not self._stopping.is_set():
                try:
                    self.answers.append(rpc.METADATA.stub(channel)(request, timeout=10).model_spec.version.value)
                except grpc.RpcError as error:
                    self.answers.append(error.details())

    @property
    def errors(self):
        return [answer for answer in self.answers if isinstance(answer, str)]


def _until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(_TICK)


@pytest.fixture
def base(tmp_path):
    for number in (1, 2, 3):
        push_version(tmp_path / "serving", number)
    return tmp_path / "serving"


@pytest.mark.parametrize("label", ["stable", "canary"])
def test_no_request_fails_during_pushes(base, label):
    with TensorFlowServing(base) as server, StableRequests(server) as requests:
        for number in (4, 5, 6):
            push_version(base, number, label)
            _until(lambda number=number: server.labels.get(label) == number)
    assert requests.errors == []
    assert set(requests.answers) == ({3, 4, 5, 6} if label == "stable" else {3})


@pytest.mark.parametrize("canary", [False, True])
def test_no_request_fails_during_rollback_and_promote(base, canary):
    if canary:
        push_version(base, 4, "canary")
    with (
        TensorFlowServing(base) as server,
        StableRequests(server) as requests,
        ModelServers([server.address]) as servers,
    ):
        for release, stable in (
            (lambda: releases.rollback(str(base), servers), 2),
            (lambda: releases.promote(str(base), 3, servers), 3),
            (lambda: releases.promote(str(base), 1, servers), 1),
            (lambda: releases.promote(str(base), 3, servers), 3),
        ):
            withdrawn = release()["withdrawn"]
            # A version that is restored next must not be about to unload.
            assert {server.states[version] for version in withdrawn} <= {_STATES.END}
            assert server.labels["stable"] == stable
            assert server.states[stable] == _STATES.AVAILABLE
    assert requests.errors == []
    assert [a for a, b in zip(requests.answers, [0, *requests.answers]) if a != b] == [3, 2, 3, 1, 3]


def test_release_waits_for_every_server(base):
    with TensorFlowServing(base) as one, TensorFlowServing(base) as other:
        with ModelServers([one.address, other.address]) as servers:
            releases.rollback(str(base), servers)
        assert (one.labels["stable"], other.labels["stable"]) == (2, 2)


def test_failed_load_names_the_error_and_changes_nothing(base, monkeypatch):
    monkeypatch.setattr(server_sync, "_ERROR_SECONDS", 0.5)
    push_version(base, 4, "canary")
    with TensorFlowServing(base, broken=(4,)) as server, StableRequests(server) as requests:
        with ModelServers([server.address]) as servers:
            with pytest.raises(ReleaseError, match=rf"{server.address}: version 4 failed to load: no memory"):
                releases.promote(str(base), None, servers)
            assert servers.states()[server.address][4] == ("END", "no memory")
        assert server.labels["stable"] == 3
    assert requests.errors == []
    assert [version.labels for version in version_folder.read_versions(str(base))][:2] == [("canary",), ("stable",)]


def test_release_waits_until_withdrawn_version_is_unloaded(base, monkeypatch):
    with TensorFlowServing(base) as server, ModelServers([server.address]) as servers:
        kept = {2: ("AVAILABLE", "")}
        reports = [kept, *({**kept, 3: (state, "")} for state in ("AVAILABLE", "UNLOADING", "END"))]
        monkeypatch.setattr(servers, "_states", lambda address: reports.pop(0))
        servers.wait_unloaded(2, [3])
    assert reports == []


def test_server_without_labels_follows_the_folder(base):
    with TensorFlowServing(base, labels=False) as server, ModelServers([server.address]) as servers:
        releases.rollback(str(base), servers)
        assert server.states[2] == _STATES.AVAILABLE


def test_server_that_never_polls_labels_is_named(base, monkeypatch):
    monkeypatch.setattr(server_sync, "_LABEL_SECONDS", 0.5)
    with TensorFlowServing(base) as server, ModelServers([server.address]) as servers:
        monkeypatch.setattr(server, "_read_labels", lambda: None)
        with pytest.raises(ReleaseError, match=f"{server.address}: expected stable to be version 2; start"):
            releases.rollback(str(base), servers)
    assert [version.state for version in version_folder.read_versions(str(base))] == ["served", "served", "kept"]


def test_unreachable_server_is_named_before_any_change(base):
    with pytest.raises(ReleaseError, match=r"127.0.0.1:1: UNAVAILABLE"), ModelServers(["127.0.0.1:1"]):
        pass


@pytest.mark.parametrize("asked", [True, False])
def test_no_request_fails_during_rollback_of_embedded_server(
    publish, base_path, random_clip, wait_until, monkeypatch, asked
):
    monkeypatch.setattr(tf_serving_config, "LABELS_POLL_SECONDS", 0)
    publish(2)
    with (
        Server(one_model("framecast", base_path)) as server,
        Client(f"127.0.0.1:{server.port}", model="framecast") as forecaster,
    ):
        answers, stopping = [], threading.Event()

        def ask():
            while not stopping.is_set():
                answers.append(float(forecaster.forecast([random_clip(0)])[0].mean()))

        asking = threading.Thread(target=ask)
        asking.start()
        wait_until(lambda: answers, what="a first answer")
        try:
            if asked:
                with ModelServers([f"127.0.0.1:{server.port}"]) as servers:
                    releases.rollback(base_path, servers)
                    (states,) = servers.states().values()
                assert (states[1][0], states[2][0]) == ("AVAILABLE", "END")
            else:
                releases.rollback(base_path, releases.FixedWait(lambda _: None))
            wait_until(lambda: answers[-1] == pytest.approx(answers[0] / 2), what="answers of version 1")
        finally:
            stopping.set()
            asking.join()
        assert {round(answer / answers[0], 3) for answer in answers} == {1.0, 0.5}
