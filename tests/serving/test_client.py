"""The client, against the embedded server and against servers that misbehave."""

import os
from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from framecast.models.warmup import predict_request
from framecast.serving import protos
from framecast.serving.client import Forecaster, TensorSpec, predict_stub
from framecast.serving.served_models import one_model
from framecast.serving.server import Server

HORIZON = 2  # Of the toy model.


@pytest.fixture(scope="module")
def served(exported, tmp_path_factory):
    """Address of a server of model `toy`, version 7, and the folder of the model."""
    base_path = tmp_path_factory.mktemp("toy")
    os.symlink(exported(7.0), base_path / "7")
    with Server(one_model("toy", str(base_path))) as server:
        yield f"127.0.0.1:{server.port}", str(exported(7.0))


@pytest.fixture
def forecaster(served):
    with Forecaster(served[0], model="toy", deadline=30) as forecaster:
        yield forecaster


def as_example(clip: np.ndarray) -> bytes:
    example = tf.train.SequenceExample()
    example.context.feature["image/height"].int64_list.value.append(clip.shape[1])
    example.context.feature["image/width"].int64_list.value.append(clip.shape[2])
    encoded = example.feature_lists.feature_list["image/encoded"]
    for frame in clip:
        encoded.feature.add().bytes_list.value.append(tf.io.encode_png(frame).numpy())
    return example.SerializeToString()


def in_process(model: str, clips: list[np.ndarray]) -> np.ndarray:
    signature = tf.saved_model.load(model).signatures["serving_default"]
    length = tf.fill([len(clips)], clips[0].shape[0])
    return signature(frames=tf.constant(np.stack(clips)), length=length)["forecast"].numpy()


def test_clips_of_different_sizes_come_back_in_order_and_equal_the_in_process_forecast(served, forecaster, random_clip):
    small, large = [random_clip(seed) for seed in (0, 1)], [random_clip(seed, 5, 16, 12) for seed in (2, 3)]
    forecasts = forecaster.forecast([small[0], large[0], small[1], large[1]])
    for group, pair in ((small, forecasts[0::2]), (large, forecasts[1::2])):
        expected = in_process(served[1], group)
        for received, wanted in zip(pair, expected, strict=True):
            assert received.dtype == np.float32
            assert received.shape == (HORIZON, *group[0].shape[1:])
            np.testing.assert_array_equal(received, wanted)
    assert forecaster.version == 7


def test_examples_of_different_sizes_and_lengths_equal_the_forecast_of_their_frames(forecaster, random_clip):
    clips = [random_clip(0, 4), random_clip(1, 2, 16, 12), random_clip(2, 3)]
    from_examples = forecaster.forecast_examples([as_example(clip) for clip in clips])
    for received, clip in zip(from_examples, clips, strict=True):
        np.testing.assert_allclose(received, forecaster.forecast([clip])[0], atol=1e-5)


def test_no_clips_need_no_forecast(forecaster):
    assert forecaster.forecast([]) == []
    assert forecaster.version is None


def test_metadata_tells_dtypes_and_shapes(forecaster):
    metadata = forecaster.metadata()
    assert metadata.version == 7
    assert sorted(metadata.signatures) == ["serve_examples", "serving_default"]
    inputs = metadata.signatures["serving_default"].inputs
    assert inputs["frames"] == TensorSpec("uint8", (None, None, None, None, 1))
    assert inputs["length"] == TensorSpec("int32", (None,))
    assert metadata.signatures["serve_examples"].inputs["examples"].dtype == "object"


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (np.zeros((3, 8, 6, 1), np.float32), "clip 1: expected dtype uint8, received float32"),
        (np.zeros((3, 8, 6), np.uint8), r"clip 1: expected an array .* received shape \(3, 8, 6\)"),
        ([[[[0]]]], "clip 1: expected an array .* received list"),
        (np.zeros((3, 8, 6, 3), np.uint8), "clip 1: expected channel 1, received 3"),
    ],
)
def test_clip_that_the_model_cannot_take_is_named_with_expected_and_received(forecaster, clip, message, random_clip):
    with pytest.raises(ValueError, match=message):
        forecaster.forecast([random_clip(0), clip])


def test_bytes_that_are_no_example_are_named(forecaster, random_clip):
    with pytest.raises(ValueError, match="clip 1: expected a serialized SequenceExample"):
        forecaster.forecast_examples([as_example(random_clip(0)), b"\xff\xff\xff"])


def test_unknown_model_is_not_found(served, random_clip):
    with Forecaster(served[0], model="other") as forecaster, pytest.raises(grpc.RpcError) as caught:
        forecaster.forecast([random_clip(0)])
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_forecasts_above_grpcs_default_of_4_mib_arrive(forecaster, random_clip):
    (forecast,) = forecaster.forecast([random_clip(0, 2, 1024, 1024)])
    assert forecast.nbytes > 2**22


def test_plain_predict_call_answers(served, random_clip):
    request = predict_request({"frames": random_clip(0)[None], "length": np.int32([3])}, model="toy")
    assert predict_stub(served[0])(request).model_spec.version.value == 7


@pytest.fixture
def scripted():
    """Starts a server whose Predict aborts with the given codes, one a call, and then repeats the clip's last frame."""
    servers = []

    def start(*codes: grpc.StatusCode) -> tuple[str, list[predict_pb2.PredictRequest]]:
        requests = []

        def predict(request, context):
            requests.append(request)
            if len(requests) <= len(codes):
                context.abort(codes[len(requests) - 1], "scripted")
            frames = tf.make_ndarray(request.inputs["frames"])
            response = predict_pb2.PredictResponse()
            response.outputs["forecast"].CopyFrom(tf.make_tensor_proto(np.float32(frames[:, -1:])))
            return response

        def metadata(request, context):
            signatures = protos.get_model_metadata_pb2.SignatureDefMap()
            inputs = signatures.signature_def["serving_default"].inputs
            inputs["frames"].dtype = tf.uint8.as_datatype_enum
            inputs["frames"].tensor_shape.unknown_rank = True
            signatures.signature_def["serving_default"].method_name = "tensorflow/serving/predict"
            inputs["length"].dtype = tf.int32.as_datatype_enum
            response = protos.METADATA.response()
            response.metadata["signature_def"].Pack(signatures)
            return response

        server = grpc.server(futures.ThreadPoolExecutor(1))
        server.add_generic_rpc_handlers(protos.handlers({protos.PREDICT: predict, protos.METADATA: metadata}))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}", requests

    yield start
    for server in servers:
        server.stop(None)


def test_unavailable_server_is_asked_again(scripted, random_clip):
    address, requests = scripted(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
    clip = random_clip(0)
    with Forecaster(address, model="toy", deadline=30) as forecaster:
        (forecast,) = forecaster.forecast([clip])
    np.testing.assert_array_equal(forecast, np.float32(clip[-1:]))
    assert len(requests) == 3


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL]
)
def test_other_refusals_are_not_repeated(scripted, code, random_clip):
    address, requests = scripted(code)
    with Forecaster(address, model="toy", deadline=30) as forecaster, pytest.raises(grpc.RpcError) as caught:
        forecaster.forecast([random_clip(0)])
    assert caught.value.code() is code
    assert len(requests) == 1


def test_server_that_stays_unavailable_is_given_up_within_the_deadline(scripted, random_clip):
    address, requests = scripted(*[grpc.StatusCode.UNAVAILABLE] * 100)
    with Forecaster(address, model="toy", deadline=0.5) as forecaster, pytest.raises(grpc.RpcError) as caught:
        forecaster.forecast([random_clip(0)])
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert 1 <= len(requests) < 6


def test_frames_travel_as_raw_bytes_in_batches_of_at_most_max_batch(scripted, random_clip):
    address, requests = scripted()
    clips = [random_clip(seed) for seed in range(5)]
    with Forecaster(address, model="toy", max_batch=2) as forecaster:
        forecasts = forecaster.forecast(clips)
    assert [request.inputs["frames"].tensor_shape.dim[0].size for request in requests] == [2, 2, 1]
    assert requests[0].inputs["frames"].tensor_content == np.stack(clips[:2]).tobytes()
    np.testing.assert_array_equal(forecasts, np.float32([clip[-1:] for clip in clips]))
