"""Arguments of the gRPC channel."""

import pytest

from framecast.serving.server.options import parse_channel_arguments


def test_channel_argument_without_value_is_refused():
    assert parse_channel_arguments("grpc.a=-1,grpc.b=word") == (("grpc.a", -1), ("grpc.b", "word"))
    with pytest.raises(ValueError, match="grpc_channel_arguments: expected NAME=VALUE, received"):
        parse_channel_arguments("grpc.a")
