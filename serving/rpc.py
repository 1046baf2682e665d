"""Defines the gRPC methods of TensorFlow Serving, for the client and the embedded server.

    predict = rpc.PREDICT.stub(grpc.insecure_channel(address))
    response = predict(predict_pb2.PredictRequest(...), timeout=5)

Uses only the message modules of `tensorflow-serving-api`, because its service modules (`prediction_service_pb2`,
`model_service_pb2`) fail to import in release 2.19 under protobuf 6.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_management_pb2, predict_pb2

DEFAULT_SIGNATURE = "serving_default"  # Called if a request names no signature.
# gRPC's default limit of 4 MiB is less than a batch of clips.
ANY_SIZE = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


@dataclasses.dataclass(frozen=True)
class Method:
    """A unary gRPC method.

    Args:
        service: Full name of the service.
        name: Name of the method.
        request: Message class of the request.
        response: Message class of the response.
    """

    service: str
    name: str
    request: Any
    response: Any

    def stub(self, channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable:
        """Returns the function that calls this method over `channel`."""
        return channel.unary_unary(
            f"/{self.service}/{self.name}",
            request_serializer=self.request.SerializeToString,
            response_deserializer=self.response.FromString,
        )


_PREDICTION, _MODEL = "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"
PREDICT = Method(_PREDICTION, "Predict", predict_pb2.PredictRequest, predict_pb2.PredictResponse)
METADATA = Method(
    _PREDICTION,
    "GetModelMetadata",
    get_model_metadata_pb2.GetModelMetadataRequest,
    get_model_metadata_pb2.GetModelMetadataResponse,
)
STATUS = Method(
    _MODEL,
    "GetModelStatus",
    get_model_status_pb2.GetModelStatusRequest,
    get_model_status_pb2.GetModelStatusResponse,
)
RELOAD = Method(
    _MODEL,
    "HandleReloadConfigRequest",
    model_management_pb2.ReloadConfigRequest,
    model_management_pb2.ReloadConfigResponse,
)


def handlers(
    calls: Mapping[Method, Callable[[Any, grpc.ServicerContext], Any]],
) -> tuple[grpc.GenericRpcHandler, ...]:
    """Returns the handlers for `grpc.Server.add_generic_rpc_handlers` that answer each method with its function."""
    services: dict[str, dict[str, grpc.RpcMethodHandler]] = {}
    for method, call in calls.items():
        services.setdefault(method.service, {})[method.name] = grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=method.request.FromString,
            response_serializer=method.response.SerializeToString,
        )
    return tuple(grpc.method_handlers_generic_handler(service, methods) for service, methods in services.items())
