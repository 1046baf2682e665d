"""Waits for running servers during a release, by asking them over gRPC.

    with ModelServers(["10.0.0.1:8500", "10.0.0.2:8500"]) as servers:
        releases.rollback("serving/radar", servers)

Servers are only asked. A HandleReloadConfigRequest would be faster than their own poll of the labels, but it replaces
the whole configuration of a server: other models, and the model's path on its disk.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from framecast.serving import rpc
from framecast.serving.releases import tf_serving_config
from framecast.serving.releases.version_folder import STABLE, ReleaseError

_State = get_model_status_pb2.ModelVersionStatus
_CALL_SECONDS = 10.0
_POLL_SECONDS = 0.2
# TensorFlow Serving tries to load a version six times, one minute apart, before it reports a failure.
_LOAD_SECONDS = 900.0
_LABEL_SECONDS = 6.0 * tf_serving_config.LABELS_POLL_SECONDS
# A restored version keeps the error of its earlier load until the server polls the folder.
_ERROR_SECONDS = 5.0
_NO_LABEL = "Unrecognized servable version label"


class ModelServers:
    """Servers of one folder of versions.

    A server that was started without labels loads the newest version only, so the release does not wait for it before
    the label moves.

    Args:
        addresses: gRPC addresses, `host:port`.
        model: Name of the model.

    Raises:
        ReleaseError: On entering, if a server does not answer for the model.
    """

    def __init__(self, addresses: Sequence[str], model: str = tf_serving_config.MODEL):
        self._model = model
        self._channels = {address: grpc.insecure_channel(address, options=rpc.ANY_SIZE) for address in addresses}
        self._labelled: list[str] = []

    def __enter__(self) -> "ModelServers":
        self.states()
        self._labelled = [address for address in self._channels if self._stable(address) is not None]
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self._channels.values():
            channel.close()

    def states(self) -> dict[str, dict[int, tuple[str, str]]]:
        """Returns state (such as `AVAILABLE`) and error of each version, by address."""
        return {address: self._states(address) for address in self._channels}

    def wait_loaded(self, version: int) -> None:
        """See `releases.ServerSync`."""
        for address in self._labelled:
            self._wait_available(address, version)

    def wait_relabelled(self, version: int, leaving: bool) -> None:  # noqa: ARG002 - the protocol's argument
        """See `releases.ServerSync`."""
        for address in self._labelled:
            _wait(
                functools.partial(self._is_stable, address, version),
                _LABEL_SECONDS,
                f"{address}: expected {STABLE} to be version {version}; start the server with "
                f"--model_config_file_poll_wait_seconds, so that it polls "
                f"{tf_serving_config.FOLDER}/{tf_serving_config.MODELS}",
            )

    def wait_unloaded(self, version: int, withdrawn: Sequence[int]) -> None:
        """See `releases.ServerSync`."""
        for address in self._channels:
            self._wait_available(address, version)
            _wait(
                functools.partial(self._unloaded, address, withdrawn),
                _LOAD_SECONDS,
                f"{address}: expected versions {withdrawn} to be unloaded",
            )

    def _wait_available(self, address: str, version: int) -> None:
        failing: list[float] = []  # Times at which the server reported a failure, since the last report without one.

        def available() -> bool:
            state, error = self._states(address).get(version, ("", ""))
            if not error:
                failing.clear()
                return state == "AVAILABLE"
            failing.append(time.monotonic())
            if failing[-1] - failing[0] > _ERROR_SECONDS:
                raise ReleaseError(f"{address}: version {version} failed to load: {error}")
            return False

        _wait(available, _LOAD_SECONDS, f"{address}: expected version {version} to be loaded")

    def _unloaded(self, address: str, versions: Sequence[int]) -> bool:
        states = self._states(address)
        return all(states[version][0] == "END" for version in versions if version in states)

    def _is_stable(self, address: str, version: int) -> bool:
        return self._stable(address) == version

    def _states(self, address: str) -> dict[int, tuple[str, str]]:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self._model
        with _naming(address):
            response = rpc.STATUS.stub(self._channels[address])(request, timeout=_CALL_SECONDS)
        return {
            status.version: (_State.State.Name(status.state), status.status.error_message)
            for status in response.model_version_status
        }

    def _stable(self, address: str) -> int | None:
        """Returns the version that a server answers `stable` with; 0 if it is not loaded, None without labels.

        Asks for metadata, because GetModelStatus ignores labels.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self._model
        request.model_spec.version_label = STABLE
        try:
            with _naming(address):
                response = rpc.METADATA.stub(self._channels[address])(request, timeout=_CALL_SECONDS)
        except ReleaseError as error:
            cause = error.__cause__
            assert isinstance(cause, grpc.RpcError)
            if cause.code() == grpc.StatusCode.NOT_FOUND:
                return 0
            if _NO_LABEL in cause.details():
                return None
            raise
        return response.model_spec.version.value


@contextlib.contextmanager
def _naming(address: str) -> Iterator[None]:
    """Names the server in an error."""
    try:
        yield
    except grpc.RpcError as error:
        raise ReleaseError(f"{address}: {error.code().name}: {error.details()}") from error


def _wait(condition: Callable[[], bool], seconds: float, problem: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ReleaseError(f"{problem} (waited {seconds:.0f} s)")
        time.sleep(_POLL_SECONDS)
