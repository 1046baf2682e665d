"""Loads one version of a model, and answers Predict requests with TensorFlow Serving's checks and messages.

servable = Servable(7, "/models/radar/7")
response = servable.predict(request, seconds=60)
"""

import math
import os
import weakref

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import predict_pb2

from framecast.models.export import warmup
from framecast.serving import rpc
from framecast.serving.server import errors
from framecast.serving.server.batching import BatchingParameters
from framecast.serving.server.signature_runner import SignatureRunner

_METHODS = tuple(f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress"))
_LARGEST_TENSOR = 2**31  # Bytes. A small request can declare a tensor of any size.


class Servable:
    """A loaded version of a model whose warm-up requests have been replayed.

    Without batching, only the smallest warm-up request of each signature is replayed, because there are no batch sizes
    to prepare for. As in TensorFlow Serving, each version has its own session, so that its variables and batching
    threads end with the last reference to it.

    Args:
        version: Number of the version.
        directory: Folder of the SavedModel.
        batching: How requests are batched; None for no batching.

    Attributes:
        signature_defs: The saved signatures, keyed by their names.

    Raises:
        Exception: If the version does not load.
        ServingError: If a warm-up request fails.
    """

    def __init__(self, version: int, directory: str, batching: BatchingParameters | None = None):
        self.version = version
        self.signature_defs = _read_signature_defs(directory)
        with tf.Graph().as_default() as graph:
            # Signatures hold variables weakly, so the root object must live as long.
            self._model = tf.saved_model.load(directory, tags=["serve"])
            session = tf.compat.v1.Session(graph=graph)
            weakref.finalize(self, session.close)
            session.run([tf.compat.v1.global_variables_initializer(), tf.compat.v1.tables_initializer()])
            self._runners = {
                name: SignatureRunner(session, self._model.signatures[name], sorted(signature.inputs), batching)
                for name, signature in self.signature_defs.items()
                if signature.method_name in _METHODS
            }
        for number, request in _warm_up(directory, all_requests=batching is not None):
            try:
                self.predict(request)
            except errors.ServingError as error:
                raise errors.warm_up_failed(number, error) from error

    def predict(self, request: predict_pb2.PredictRequest, seconds: float | None = None) -> predict_pb2.PredictResponse:
        """Runs the signature that `request` names.

        Args:
            request: The request.
            seconds: Time limit of the run; None for no limit.

        Raises:
            ServingError: If the request does not match the signature, the graph fails, or time or memory runs out.
        """
        name = request.model_spec.signature_name or rpc.DEFAULT_SIGNATURE
        if name not in self.signature_defs:
            raise errors.signature_not_found(name)
        signature = self.signature_defs[name]
        if signature.method_name not in _METHODS:
            raise errors.signature_not_callable(signature.method_name, _METHODS)
        protos = _inputs(signature, request)
        aliases = _filtered_outputs(signature, request)
        inputs = _arrays(signature, protos)
        try:
            results = self._runners[name](inputs, seconds)
        except tf.errors.OpError as error:
            raise errors.graph_failed(error) from error
        except MemoryError as error:
            raise errors.out_of_memory() from error
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.signature_name = name
        response.model_spec.version.value = self.version
        for alias in aliases:
            _write(response.outputs[alias], results[alias])
        return response


def _read_signature_defs(directory: str) -> dict[str, meta_graph_pb2.SignatureDef]:
    # Read from the file, because tf.saved_model.load drops the signature definitions that GetModelMetadata returns.
    with tf.io.gfile.GFile(os.path.join(directory, "saved_model.pb"), "rb") as file:
        model = saved_model_pb2.SavedModel.FromString(file.read())
    for graph in model.meta_graphs:
        if "serve" in graph.meta_info_def.tags:
            return dict(graph.signature_def)
    raise ValueError(f"{directory}: expected a graph tagged serve, received none")


def _warm_up(directory: str, all_requests: bool) -> list[tuple[int, predict_pb2.PredictRequest]]:
    """Returns the warm-up requests to replay, each with its number in the file."""
    numbered = list(enumerate(warmup.read_warmup(directory)))
    if all_requests:
        return numbered
    smallest: dict[str, tuple[int, predict_pb2.PredictRequest]] = {}
    for number, request in sorted(numbered, key=lambda item: item[1].ByteSize()):
        smallest.setdefault(request.model_spec.signature_name, (number, request))
    return sorted(smallest.values(), key=lambda item: item[0])


def _inputs(
    signature: meta_graph_pb2.SignatureDef, request: predict_pb2.PredictRequest
) -> dict[str, tensor_pb2.TensorProto]:
    """Returns the inputs by alias, in alphabetical order, which is the graph's order."""
    sent, expected = set(request.inputs), set(signature.inputs)
    if len(sent) > len(expected) or (len(sent) < len(expected) and not signature.defaults):
        raise errors.input_count(sent, expected)
    protos = {}
    for alias in sorted(expected):
        if alias in request.inputs:
            protos[alias] = request.inputs[alias]
        elif alias in signature.defaults:
            protos[alias] = signature.defaults[alias]
        else:
            raise errors.input_missing(alias, signature.inputs[alias].name, sent, signature.defaults)
    if not sent <= expected:
        raise errors.input_unknown(sent, expected)
    return protos


def _filtered_outputs(signature: meta_graph_pb2.SignatureDef, request: predict_pb2.PredictRequest) -> list[str]:
    """Returns the aliases of the outputs to send: those of the output filter, or all."""
    aliases: list[str] = []
    for alias in request.output_filter:
        if alias not in signature.outputs:
            raise errors.output_unknown(alias, signature.outputs)
        if alias in aliases:
            raise errors.output_repeated(alias)
        aliases.append(alias)
    return aliases or sorted(signature.outputs)


def _arrays(signature: meta_graph_pb2.SignatureDef, protos: dict[str, tensor_pb2.TensorProto]) -> dict[str, np.ndarray]:
    """Returns the inputs as arrays; checks dtypes and shapes, because the graph does not check all of them."""
    arrays = {alias: _read(alias, proto) for alias, proto in protos.items()}
    for number, (alias, proto) in enumerate(protos.items()):
        declared = signature.inputs[alias]
        if proto.dtype != declared.dtype:
            raise errors.input_dtype(number, _type_name(declared.dtype), _type_name(proto.dtype))
        shape = tf.TensorShape(declared.tensor_shape)
        if not shape.is_compatible_with(arrays[alias].shape):
            raise errors.input_shape(alias, shape, tf.TensorShape(arrays[alias].shape))
    return arrays


def _read(alias: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    try:
        shape = [dim.size for dim in proto.tensor_shape.dim]
        if math.prod(shape) * tf.dtypes.as_dtype(proto.dtype).size > _LARGEST_TENSOR:
            raise errors.input_too_large(alias, _LARGEST_TENSOR, shape)
        return tf.make_ndarray(proto)
    except (TypeError, ValueError, MemoryError) as error:
        raise errors.input_unreadable(alias) from error


def _write(proto: tensor_pb2.TensorProto, array: np.ndarray) -> None:
    dtype = tf.dtypes.as_dtype(array.dtype)
    if dtype == tf.string:
        proto.CopyFrom(tf.make_tensor_proto(array))
        return
    # As make_tensor_proto does for numbers, but without a second copy.
    proto.dtype = dtype.as_datatype_enum
    proto.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    proto.tensor_content = array.tobytes()


def _type_name(number: int) -> str:
    """Returns TensorFlow's C++ name of a dtype, such as `float` for float32."""
    return types_pb2.DataType.Name(number).removeprefix("DT_").lower()
