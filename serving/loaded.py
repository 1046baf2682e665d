"""One loaded version of a model, answering Predict with the checks and messages of TensorFlow Serving."""

import os
import re

import grpc
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import predict_pb2

from framecast.models import warmup

DEFAULT_SIGNATURE = "serving_default"
_METHODS = tuple(f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress"))


class ServingError(Exception):
    """What a call ends with: a gRPC code and a message."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code


class LoadedVersion:
    """A version of a model in memory; its warm-up requests have been replayed.

    Args:
        version: Number of the version.
        directory: Folder of the SavedModel.

    Raises:
        Exception: Whatever loading or a warm-up request fails with.
    """

    def __init__(self, version: int, directory: str):
        self.version = version
        self.signature_defs = _read_signature_defs(directory)
        # Signatures hold variables weakly: the root has to live as long as they do.
        self._model = tf.saved_model.load(directory, tags=["serve"])
        for number, request in enumerate(warmup.read_warmup(directory)):
            try:
                self.predict(request)
            except ServingError as error:
                raise ServingError(error.code, f"warm-up request {number}: {error}") from error

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Runs the signature that `request` names.

        Raises:
            ServingError: When the request does not fit the signature, or the graph refuses it.
        """
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if name not in self.signature_defs:
            raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        signature = self.signature_defs[name]
        if signature.method_name not in _METHODS:
            raise ServingError(
                grpc.StatusCode.INTERNAL,
                f"Expected prediction signature method_name to be one of {{{', '.join(_METHODS)}}}. "
                f"Was: {signature.method_name}",
            )
        inputs = _inputs(signature, request)
        wanted = _wanted_outputs(signature, request)
        _check_types(signature, inputs)
        try:
            results = self._model.signatures[name](**inputs)
        except tf.errors.OpError as error:
            raise ServingError(code_of(error), _graph_message(error)) from error
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.signature_name = name
        response.model_spec.version.value = self.version
        for alias in wanted:
            response.outputs[alias].CopyFrom(tf.make_tensor_proto(results[alias].numpy()))
        return response


def code_of(error: Exception) -> grpc.StatusCode:
    """Returns the gRPC code of an error; TensorFlow numbers its own as gRPC does."""
    if isinstance(error, ServingError):
        return error.code
    number = error.error_code if isinstance(error, tf.errors.OpError) else grpc.StatusCode.UNKNOWN.value[0]
    return next(code for code in grpc.StatusCode if code.value[0] == number)


def _read_signature_defs(directory: str) -> dict[str, meta_graph_pb2.SignatureDef]:
    # tf.saved_model.load drops the signature definitions, which the metadata call answers with.
    with tf.io.gfile.GFile(os.path.join(directory, "saved_model.pb"), "rb") as file:
        model = saved_model_pb2.SavedModel.FromString(file.read())
    for graph in model.meta_graphs:
        if "serve" in graph.meta_info_def.tags:
            return dict(graph.signature_def)
    raise ValueError(f"{directory}: expected a graph tagged serve, found none")


def _inputs(signature: meta_graph_pb2.SignatureDef, request: predict_pb2.PredictRequest) -> dict[str, tf.Tensor]:
    """Returns the input tensors by alias, in alphabetical order, which is the graph's own."""
    sent, expected = set(request.inputs), set(signature.inputs)
    if len(sent) > len(expected) or (len(sent) < len(expected) and not signature.defaults):
        raise _invalid(
            f"input size does not match signature: {len(sent)}!={len(expected)} len({_names(sent)}) != "
            f"len({_names(expected)}). Sent extra: {_names(sent - expected)}. "
            f"Missing but required: {_names(expected - sent)}."
        )
    tensors = {}
    for alias in sorted(expected):
        if alias in request.inputs:
            tensors[alias] = _tensor(alias, request.inputs[alias])
        elif alias in signature.defaults:
            tensors[alias] = _tensor(alias, signature.defaults[alias])
        else:
            raise _invalid(
                f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in request and "
                f"no default value provided. Inputs expected to be in the request {_names(sent)}, or default input "
                f"alias set: {','.join(sorted(signature.defaults))}"
            )
    if not sent <= expected:
        raise _invalid(
            f"Inputs contains invalid name. Used request inputs: {','.join(sorted(sent & expected))}, "
            f"request input: {','.join(sorted(sent))}"
        )
    return tensors


def _tensor(alias: str, proto: tensor_pb2.TensorProto) -> tf.Tensor:
    try:
        return tf.constant(tf.make_ndarray(proto), tf.dtypes.as_dtype(proto.dtype))
    except (TypeError, ValueError, MemoryError) as error:
        raise _invalid(f"tensor parsing error: {alias}") from error


def _wanted_outputs(signature: meta_graph_pb2.SignatureDef, request: predict_pb2.PredictRequest) -> list[str]:
    wanted: list[str] = []
    for alias in request.output_filter:
        if alias not in signature.outputs:
            raise _invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{_names(set(signature.outputs))}."
            )
        if alias in wanted:
            raise _invalid(f"duplicate output tensor alias: {alias}")
        wanted.append(alias)
    return wanted or sorted(signature.outputs)


def _check_types(signature: meta_graph_pb2.SignatureDef, inputs: dict[str, tf.Tensor]) -> None:
    """Refuses dtypes and shapes that the signature does not declare; the graph itself would not always notice."""
    for number, (alias, tensor) in enumerate(inputs.items()):
        declared = signature.inputs[alias]
        if tensor.dtype.as_datatype_enum != declared.dtype:
            raise _invalid(
                f"Expects arg[{number}] to be {_type_name(declared.dtype)} but "
                f"{_type_name(tensor.dtype.as_datatype_enum)} is provided"
            )
        shape = tf.TensorShape(declared.tensor_shape)
        if not shape.is_compatible_with(tensor.shape):
            raise _invalid(f"input {alias}: expected shape {shape}, received {tensor.shape}")


def _type_name(number: int) -> str:
    """Returns TensorFlow's C++ name of a dtype: `float`, not `float32`."""
    return types_pb2.DataType.Name(number).removeprefix("DT_").lower()


def _names(names: set[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _graph_message(error: tf.errors.OpError) -> str:
    """Returns the kernel's message without what eager execution in Python wraps around it."""
    message = re.sub(r"\AGraph execution error:.*?<stack traces unavailable>\n", "", error.message, flags=re.DOTALL)
    return re.sub(r" \[Op:\w+\]\s*\Z", "", message)
