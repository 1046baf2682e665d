"""One loaded version of a model, answering Predict with the checks and messages of TensorFlow Serving."""

import math
import os
import re
import weakref
from collections.abc import Sequence

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import predict_pb2

from framecast.models.export import warmup
from framecast.serving.server.batching import BatchingParameters
from framecast.serving.server.signature_runner import SignatureRun

DEFAULT_SIGNATURE = "serving_default"
_METHODS = tuple(f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress"))
_LARGEST_TENSOR = 2**31  # Bytes: a request of few bytes can declare a tensor of any size.


class ServingError(Exception):
    """What a call ends with: a gRPC code and a message."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code


class LoadedVersion:
    """A version of a model in memory; its warm-up requests have been replayed: all of them where requests are batched.

    Where they are not, there are no batch sizes to prepare for, and the smallest request of each signature is enough.

    The graph lives in a session of its own, as in TensorFlow Serving: all that the version holds, variables and the
    threads of its batches, goes with it when the last reference does.

    Args:
        version: Number of the version.
        directory: Folder of the SavedModel.
        batching: How requests share runs of the model; each runs alone unless given.

    Raises:
        Exception: Whatever loading or a warm-up request fails with.
    """

    def __init__(self, version: int, directory: str, batching: BatchingParameters | None = None):
        self.version = version
        self.signature_defs = _read_signature_defs(directory)
        with tf.Graph().as_default() as graph:
            # Signatures hold variables weakly: the root has to live as long as they do.
            self._model = tf.saved_model.load(directory, tags=["serve"])
            session = tf.compat.v1.Session(graph=graph)
            weakref.finalize(self, session.close)
            session.run([tf.compat.v1.global_variables_initializer(), tf.compat.v1.tables_initializer()])
            self._runs = {
                name: SignatureRun(session, self._model.signatures[name], sorted(signature.inputs), batching)
                for name, signature in self.signature_defs.items()
                if signature.method_name in _METHODS
            }
        for number, request in _warm_up(directory, everything=batching is not None):
            try:
                self.predict(request)
            except ServingError as error:
                raise ServingError(error.code, f"warm-up request {number}: {error}") from error

    def predict(self, request: predict_pb2.PredictRequest, seconds: float | None = None) -> predict_pb2.PredictResponse:
        """Runs the signature that `request` names.

        Args:
            request: What is asked.
            seconds: After so long the run is stopped; never unless given.

        Raises:
            ServingError: When the request does not fit the signature, the graph refuses it, or time or memory is short.
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
        protos = _inputs(signature, request)
        wanted = _wanted_outputs(signature, request)
        inputs = _arrays(signature, protos)
        try:
            results = self._runs[name](inputs, seconds)
        except tf.errors.OpError as error:
            raise ServingError(code_of(error), _graph_message(error)) from error
        except MemoryError as error:
            raise ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, "the request does not fit into memory") from error
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.signature_name = name
        response.model_spec.version.value = self.version
        for alias in wanted:
            _write(response.outputs[alias], results[alias])
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


def _warm_up(directory: str, everything: bool) -> list[tuple[int, predict_pb2.PredictRequest]]:
    """Returns the warm-up requests to replay, with their numbers in the file."""
    numbered = list(enumerate(warmup.read_warmup(directory)))
    if everything:
        return numbered
    smallest: dict[str, tuple[int, predict_pb2.PredictRequest]] = {}
    for number, request in sorted(numbered, key=lambda own: own[1].ByteSize()):
        smallest.setdefault(request.model_spec.signature_name, (number, request))
    return sorted(smallest.values(), key=lambda own: own[0])


def _inputs(
    signature: meta_graph_pb2.SignatureDef, request: predict_pb2.PredictRequest
) -> dict[str, tensor_pb2.TensorProto]:
    """Returns the inputs by alias, in alphabetical order, which is the graph's own."""
    sent, expected = set(request.inputs), set(signature.inputs)
    if len(sent) > len(expected) or (len(sent) < len(expected) and not signature.defaults):
        raise _invalid(
            f"input size does not match signature: {len(sent)}!={len(expected)} len({_names(sent)}) != "
            f"len({_names(expected)}). Sent extra: {_names(sent - expected)}. "
            f"Missing but required: {_names(expected - sent)}."
        )
    protos = {}
    for alias in sorted(expected):
        if alias in request.inputs:
            protos[alias] = request.inputs[alias]
        elif alias in signature.defaults:
            protos[alias] = signature.defaults[alias]
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
    return protos


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


def _arrays(signature: meta_graph_pb2.SignatureDef, protos: dict[str, tensor_pb2.TensorProto]) -> dict[str, np.ndarray]:
    """Refuses dtypes and shapes that the signature does not declare; the graph itself would not always notice."""
    arrays = {alias: _read(alias, proto) for alias, proto in protos.items()}
    for number, (alias, proto) in enumerate(protos.items()):
        declared = signature.inputs[alias]
        if proto.dtype != declared.dtype:
            raise _invalid(
                f"Expects arg[{number}] to be {_type_name(declared.dtype)} but {_type_name(proto.dtype)} is provided"
            )
        shape = tf.TensorShape(declared.tensor_shape)
        if not shape.is_compatible_with(arrays[alias].shape):
            received = tf.TensorShape(arrays[alias].shape)
            raise _invalid(f"input {alias}: expected shape {shape}, received {received}")
    return arrays


def _read(alias: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    try:
        itemsize = tf.dtypes.as_dtype(proto.dtype).size
        if math.prod(dim.size for dim in proto.tensor_shape.dim) * itemsize > _LARGEST_TENSOR:
            raise ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"input {alias}: expected at most {_LARGEST_TENSOR} bytes, received a tensor of shape "
                f"{[dim.size for dim in proto.tensor_shape.dim]}",
            )
        return tf.make_ndarray(proto)
    except (TypeError, ValueError, MemoryError) as error:
        raise _invalid(f"tensor parsing error: {alias}") from error


def _write(proto: tensor_pb2.TensorProto, array: np.ndarray) -> None:
    dtype = tf.dtypes.as_dtype(array.dtype)
    if dtype == tf.string:
        proto.CopyFrom(tf.make_tensor_proto(array))
        return
    # What make_tensor_proto does of numbers, without a second copy.
    proto.dtype = dtype.as_datatype_enum
    proto.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    proto.tensor_content = array.tobytes()


def _type_name(number: int) -> str:
    """Returns TensorFlow's C++ name of a dtype: `float`, not `float32`."""
    return types_pb2.DataType.Name(number).removeprefix("DT_").lower()


def _names(names: set[str] | Sequence[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _graph_message(error: tf.errors.OpError) -> str:
    """Returns the kernel's message without what Python wraps around it: where each operation was made."""
    wrapped = r"\AGraph execution error:\s+(Detected at .*?\nNode: '[^']*'\n)?"
    message = re.sub(wrapped, "", error.message, flags=re.DOTALL)
    return message.partition("\n\nOriginal stack trace for")[0]
