"""A gRPC server with scripted answers, for the tests of the client."""

from concurrent import futures

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from framecast.serving import rpc


class FakeServing:
    """A server of model `toy` with scripted answers, which records its requests.

    Args:
        codes: Status codes that the first calls of Predict abort with, one a call.

    Attributes:
        version: Version in the responses.
        dtype: Declared dtype of the frames.
        padded_to: Number of frames that clips are padded to, as by `pad_variable_length_inputs`.
        outputs: Names of the outputs in the responses; None for all.
        before_answer: Called in each Predict before it answers.
        predicts: Requests of Predict.
        metadata_requests: Requests of GetModelMetadata.
    """

    def __init__(self, codes):
        self.version = 1
        self.dtype = tf.uint8
        self.padded_to = 0
        self.outputs = None
        self.before_answer = lambda: None
        self.predicts: list[predict_pb2.PredictRequest] = []
        self.metadata_requests = []
        self._codes = list(codes)
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        handlers = {rpc.PREDICT: self._predict, rpc.METADATA: self._metadata}
        self._server.add_generic_rpc_handlers(rpc.handlers(handlers))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self):
        self._server.stop(None)

    def _predict(self, request, context):
        self.predicts.append(request)
        if self._codes:
            context.abort(self._codes.pop(0), "scripted")
        self.before_answer()
        frames = tf.make_ndarray(request.inputs["frames"])
        if frames.dtype != self.dtype.as_numpy_dtype:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Expects arg[0] to be another dtype")
        missing = max(self.padded_to - frames.shape[1], 0)
        # TensorFlow Serving pads with the first element of the tensor.
        padded = np.pad(frames, [(0, 0), (0, missing), (0, 0), (0, 0), (0, 0)], constant_values=frames.flat[0])
        means = np.float32(padded.mean((2, 3, 4)))
        response = predict_pb2.PredictResponse()
        response.model_spec.version.value = self.version
        for name, value in {
            "forecast": np.float32(frames[:, -1:]),
            "anomaly_score": means,
            "clip_anomaly_score": means.max(1),
            "probabilities": np.stack([means, -means], -1),
            "classes": np.ones((len(frames), 40), np.float32),
            "last": frames[:, -1],
        }.items():
            if self.outputs is None or name in self.outputs:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def _metadata(self, request, context):
        self.metadata_requests.append(request)
        signature = tf.compat.v1.saved_model.build_signature_def(method_name="tensorflow/serving/predict")
        shapes = {
            "forecast": [None, None, None, None, 1],
            "anomaly_score": [None, None],
            "clip_anomaly_score": [None],
            "probabilities": [None, None, 2],
            "classes": [None, 40],
            "last": [None, None, None, 1],
        }
        signature.inputs["frames"].dtype = self.dtype.as_datatype_enum
        signature.inputs["frames"].tensor_shape.CopyFrom(tf.TensorShape([None] * 4 + [1]).as_proto())
        signature.inputs["length"].dtype = tf.int32.as_datatype_enum
        for name, shape in shapes.items():
            signature.outputs[name].dtype = tf.float32.as_datatype_enum
            signature.outputs[name].tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
        signatures = rpc.get_model_metadata_pb2.SignatureDefMap(signature_def={"serving_default": signature})
        response = rpc.METADATA.response()
        response.model_spec.version.value = self.version
        response.metadata["signature_def"].Pack(signatures)
        return response
