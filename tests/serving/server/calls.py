"""Calls to a server, for the tests of the server."""

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2

from framecast.serving import rpc

AVAILABLE, END = 30, 50  # States of a version in GetModelStatus.


def status_of(channel, name="toy"):
    """Returns version, state and error code of each version of a model."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    response = rpc.STATUS.stub(channel)(request, timeout=30)
    return [(each.version, each.state, each.status.error_code) for each in response.model_version_status]


def refusal(channel, request) -> tuple[grpc.StatusCode, str]:
    """Returns the status code and message with which the server refuses a Predict request."""
    with pytest.raises(grpc.RpcError) as caught:
        rpc.PREDICT.stub(channel)(request, timeout=60)
    return caught.value.code(), caught.value.details()


def version_of(channel, request) -> int:
    """Returns the version that answers a Predict request."""
    return rpc.PREDICT.stub(channel)(request, timeout=30).model_spec.version.value
