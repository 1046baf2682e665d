"""A stand-in for TensorFlow Serving on a machine without it: laptops, tests, infra validation.

    with Server("radar", "serving/radar") as server:
        forecaster = Forecaster(f"127.0.0.1:{server.port}", model="radar")

Answers Predict, GetModelMetadata and GetModelStatus so that a client cannot tell the two apart: the same directory
layout, the same errors, the same policy of versions (poll each second, load the newest, then drop the old). Production
serves with TensorFlow Serving itself. Only loopback can reach the server unless `host` says otherwise: it has neither
encryption nor authentication.
"""

import argparse
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from framecast.serving import protos
from framecast.serving.loaded import LoadedVersion, ServingError, code_of

_POLL_SECONDS = 1.0
_GRACE_SECONDS = 5.0  # What calls in flight get when the server stops.
_MAX_MESSAGE = 2000  # The message of an error travels in a header; gRPC drops headers above 8 KiB.
_SIGNATURE_DEF = "signature_def"
_State = get_model_status_pb2.ModelVersionStatus

_log = logging.getLogger(__name__)


class LoadError(RuntimeError):
    """There is no version to start with, or it does not load."""


class Server:
    """Serves the newest version under a folder, as a context manager.

    Args:
        model_name: Name that requests ask for.
        base_path: Folder with one folder a version, named by its number.
        host: Address to listen on.
        port: Port to listen on, a free one when 0.

    Raises:
        LoadError: On entering, when the folder has no version or the newest does not load.
        OSError: On entering, when the port is taken.
    """

    def __init__(self, model_name: str, base_path: str, host: str = "127.0.0.1", port: int = 0):
        self.port = port
        self._name = model_name
        self._base_path = base_path
        self._host = host
        self._loaded: LoadedVersion | None = None
        self._failed: tuple[Any, ...] | None = None
        self._states: dict[int, Any] = {}
        self._states_lock = threading.Lock()
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="version-poller")
        self._grpc = grpc.server(
            futures.ThreadPoolExecutor(os.cpu_count()),
            # Without it a second server on the same port would silently share the calls.
            options=(*protos.ANY_SIZE, ("grpc.so_reuseport", 0)),
        )
        behaviours = {protos.PREDICT: self._predict, protos.METADATA: self._metadata, protos.STATUS: self._status}
        self._grpc.add_generic_rpc_handlers(
            protos.handlers({method: _answering(behaviour) for method, behaviour in behaviours.items()})
        )

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions that answer, newest first."""
        with self._states_lock:
            available = [number for number, status in self._states.items() if status.state == _State.AVAILABLE]
        return tuple(sorted(available, reverse=True))

    def __enter__(self) -> "Server":
        self._update()
        if self._loaded is None:
            reasons = [f"version {number}: {status.status.error_message}" for number, status in self._states.items()]
            reason = "; ".join(reasons) or "found no folder named by a version number"
            raise LoadError(f"{self._base_path}: expected a version of {self._name} that loads, received {reason}")
        address = f"{self._host}:{self.port}"
        try:
            self.port = self._grpc.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"{address}: expected a free port, received: {error}") from error
        self._grpc.start()
        self._poller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._grpc.stop(_GRACE_SECONDS).wait()
        self._poller.join()
        self._loaded = None

    # Versions.

    def _poll(self) -> None:
        while not self._stopping.wait(_POLL_SECONDS):
            try:
                self._update()
            except Exception:  # A failed look at the folder must not end the polling.
                _log.exception("%s: could not be polled", self._base_path)

    def _update(self) -> None:
        """Loads the newest version on disk unless it is loaded, or failed and did not change since."""
        found = _versions_on_disk(self._base_path)
        if not found:
            return
        version = max(found)
        if self._loaded is not None and version == self._loaded.version:
            return
        fingerprint = (version, *_files(found[version]))
        if fingerprint == self._failed:
            return
        self._set_state(version, _State.LOADING)
        try:
            loaded = LoadedVersion(version, found[version])
        except Exception as error:  # Whatever is wrong with a version, the old one goes on serving.
            _log.exception("%s: version %d failed to load", self._name, version)
            self._failed = fingerprint
            self._set_state(version, _State.END, error)
            return
        old, self._loaded, self._failed = self._loaded, loaded, None
        self._set_state(version, _State.AVAILABLE)
        _log.info("%s: version %d is serving", self._name, version)
        if old is not None:
            self._set_state(old.version, _State.END)
            # Loaded models hold themselves in reference cycles; without this both would stay in memory.
            del old
            gc.collect()

    def _set_state(self, version: int, state: int, error: Exception | None = None) -> None:
        status = _State(version=version, state=state)
        if error is not None:
            status.status.error_code = code_of(error).value[0]
            status.status.error_message = str(error)
        else:
            status.status.error_code = 0
        with self._states_lock:
            self._states[version] = status

    def _servable(self, spec: model_pb2.ModelSpec) -> LoadedVersion:
        """Returns the version that a request asks for, which stays alive while the caller holds it."""
        if not spec.name:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}"
            )
        loaded = self._loaded
        if loaded is None or spec.name != self._name or (choice == "version" and spec.version.value != loaded.version):
            wanted = f"Specific({spec.name}, {spec.version.value})" if choice == "version" else f"Latest({spec.name})"
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}")
        return loaded

    # Calls.

    def _predict(self, request):
        return self._servable(_spec(request)).predict(request)

    def _metadata(self, request):
        spec = _spec(request)
        if not request.metadata_field:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"Metadata field {field} is not supported")
        loaded = self._servable(spec)
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=loaded.signature_defs)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = self._name
        response.model_spec.version.value = loaded.version
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response

    def _status(self, request):
        spec = _spec(request)
        with self._states_lock:
            states = dict(self._states) if spec.name == self._name else {}
        if spec.WhichOneof("version_choice") == "version":
            version = spec.version.value
            if version not in states:
                raise ServingError(grpc.StatusCode.NOT_FOUND, f"Could not find version {version} of model {spec.name}")
            states = {version: states[version]}
        elif not states:
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        newest_first = [states[version] for version in sorted(states, reverse=True)]
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=newest_first)


def serve_forever(
    model_name: str,
    base_path: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8500,
    ready: Callable[[int, int], None],
) -> None:
    """Serves until SIGINT or SIGTERM, and lets calls in flight finish; call it from the main thread.

    Args:
        model_name: See `Server`.
        base_path: See `Server`.
        host: See `Server`.
        port: See `Server`; TensorFlow Serving's own unless given.
        ready: Called once with the port and the version, when requests can come.
    """
    watched = (signal.SIGINT, signal.SIGTERM)
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        # The C handler writes the signal's number at once, in whatever thread it runs. Python's own handlers run in the
        # main thread only, between two instructions: one that is due as that thread falls asleep would never run.
        wakeup = signal.set_wakeup_fd(writer.fileno())
        before = {number: signal.signal(number, lambda *_: None) for number in watched}
        try:
            with Server(model_name, base_path, host, port) as server:
                ready(server.port, server.versions[0])
                while reader.recv(1)[0] not in watched:
                    pass
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)


def _spec(request: Any) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
    return request.model_spec


def _answering(behaviour: Callable[[Any], Any]) -> Callable[[Any, grpc.ServicerContext], Any]:
    """Returns the gRPC form of `behaviour`, whose errors become a code and a message."""

    def answer(request, context):
        try:
            return behaviour(request)
        except ServingError as error:
            code, message = error.code, str(error)
        except Exception as error:
            _log.exception("a call failed")
            code, message = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
        context.abort(code, message[:_MAX_MESSAGE])

    return answer


def _versions_on_disk(base_path: str) -> dict[int, str]:
    """Returns the folders named by a number, by that number."""
    if not tf.io.gfile.isdir(base_path):
        return {}
    names = [name.rstrip("/") for name in tf.io.gfile.listdir(base_path)]
    return {int(name): os.path.join(base_path, name) for name in names if name.isascii() and name.isdigit()}


def _files(directory: str) -> list[tuple[str, int, int]]:
    """Returns path, size and time of every file, by which a version that was still being copied is tried again."""
    files = []
    for folder, _, names in tf.io.gfile.walk(directory):
        for path in (os.path.join(folder, name) for name in names):
            stat = tf.io.gfile.stat(path)
            files.append((path, stat.length, stat.mtime_nsec))
    return sorted(files)


def main(argv: list[str] | None = None) -> None:
    """Serves a folder of versions; the port is written to `--port_file` once requests can come."""
    parser = argparse.ArgumentParser(prog="framecast.serving.server", description=main.__doc__)
    parser.add_argument("base_path")
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8500)
    parser.add_argument("--port_file")
    arguments = parser.parse_args(argv)

    def ready(port: int, version: int) -> None:
        print(f"{arguments.model_name} version {version} at {arguments.host}:{port}", flush=True)
        if arguments.port_file:
            # Renamed into place: whoever waits for the file never reads half of it.
            with open(f"{arguments.port_file}.part", "w") as file:
                file.write(str(port))
            os.replace(f"{arguments.port_file}.part", arguments.port_file)

    serve_forever(arguments.model_name, arguments.base_path, host=arguments.host, port=arguments.port, ready=ready)


if __name__ == "__main__":
    main()
