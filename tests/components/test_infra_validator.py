"""Infra validation: rejected responses, and the latency."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from framecast.components import infra_validator
from framecast.models.export.warmup import predict_request


def _request(batch, time, signature_name="serving_default"):
    frames = np.zeros((batch, time, 2, 2, 1), np.uint8)
    return predict_request({"frames": frames}, signature_name=signature_name)


def _answering(outputs):
    def predict(request):
        response = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    return predict


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test advances."""
    now = [0.0]
    monkeypatch.setattr(infra_validator.time, "monotonic", lambda: now[0])
    return now


def test_latency_is_median_of_smallest_default_batches(clock):
    seconds = iter([0.3, 0.1, 0.2, 5, 5, 7, 9])

    def predict(request):
        clock[0] += next(seconds)
        return predict_pb2.PredictResponse()

    requests = [_request(1, 3), _request(1, 8), _request(1, 24), _request(4, 24), _request(4, 3)]
    requests += [_request(1, 3, "step"), _request(1, 3, "serve_examples")]
    assert infra_validator._ask(predict, requests) == pytest.approx(200)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, "bfloat16"])
def test_non_finite_state_is_rejected_and_named(value, dtype):
    outputs = {"forecast": np.zeros(3, np.float32), "ready": np.ones(1, bool), "cell_0_h": np.array([0, value], dtype)}
    with pytest.raises(infra_validator.InfraError, match="request 1, output cell_0_h: expected finite numbers"):
        infra_validator._ask(
            lambda request: _answering(outputs if request.model_spec.signature_name == "step" else {})(request),
            [_request(1, 3), _request(1, 3, "step")],
        )


def test_finite_states_of_any_dtype_pass():
    outputs = {"ready": np.ones(1, bool), "frames_seen": np.ones(1, np.int32), "cell_0_h": np.ones(2, "bfloat16")}
    infra_validator._ask(_answering(outputs), [_request(1, 3), _request(1, 3, "step")])


def test_model_without_warmup_requests_is_rejected():
    with pytest.raises(infra_validator.InfraError, match="expected warm-up requests to serving_default in assets"):
        infra_validator._ask(_answering({}), [])
