"""The client, against the embedded server and against servers that misbehave."""

import asyncio
import contextlib
import os
import threading
from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from framecast.models.export.warmup import predict_request
from framecast.serving import rpc
from framecast.serving.client.client import AsyncClient, Client, predict_stub
from framecast.serving.client.signatures import TensorSpec
from framecast.serving.server.model_manager import one_model
from framecast.serving.server.server import Server

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
    with Client(served[0], model="toy", deadline=30) as forecaster:
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
    with Client(served[0], model="other") as forecaster, pytest.raises(grpc.RpcError) as caught:
        forecaster.forecast([random_clip(0)])
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_forecasts_above_grpcs_default_of_4_mib_arrive(forecaster, random_clip):
    (forecast,) = forecaster.forecast([random_clip(0, 2, 1024, 1024)])
    assert forecast.nbytes > 2**22


def test_plain_predict_call_answers(served, random_clip):
    request = predict_request({"frames": random_clip(0)[None], "length": np.int32([3])}, model="toy")
    assert predict_stub(served[0])(request).model_spec.version.value == 7


class FakeServing:
    """A server of model `toy` that answers as it is told, and keeps what it was asked.

    Args:
        codes: What Predict aborts with, one a call, before it answers.

    Attributes:
        version: Version that answers.
        dtype: That it declares of the frames.
        padded_to: Frames that clips are padded to, as `pad_variable_length_inputs` does.
        answers: Names of the outputs that it gives; all unless set.
        meanwhile: Called in each Predict before it answers.
    """

    def __init__(self, codes):
        self.version = 1
        self.dtype = tf.uint8
        self.padded_to = 0
        self.answers = None
        self.meanwhile = lambda: None
        self.predicts: list[predict_pb2.PredictRequest] = []
        self.declarations = []
        self._codes = list(codes)
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        handlers = {rpc.PREDICT: self._predict, rpc.METADATA: self._declare}
        self._server.add_generic_rpc_handlers(rpc.handlers(handlers))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self):
        self._server.stop(None)

    def _predict(self, request, context):
        self.predicts.append(request)
        if self._codes:
            context.abort(self._codes.pop(0), "scripted")
        self.meanwhile()
        frames = tf.make_ndarray(request.inputs["frames"])
        if frames.dtype != self.dtype.as_numpy_dtype:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Expects arg[0] to be something else")
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
            if self.answers is None or name in self.answers:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def _declare(self, request, context):
        self.declarations.append(request)
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


@pytest.fixture
def fake():
    """Starts a `FakeServing`."""
    servers = []

    def start(*codes: grpc.StatusCode) -> FakeServing:
        servers.append(FakeServing(codes))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def test_unavailable_server_is_asked_again(fake, random_clip):
    server = fake(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
    clip = random_clip(0)
    with Client(server.address, model="toy", deadline=30) as forecaster:
        (forecast,) = forecaster.forecast([clip])
    np.testing.assert_array_equal(forecast, np.float32(clip[-1:]))
    assert len(server.predicts) == 3


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL]
)
def test_other_refusals_are_not_repeated(fake, code, random_clip):
    server = fake(code)
    with Client(server.address, model="toy", deadline=30) as forecaster, pytest.raises(grpc.RpcError) as caught:
        forecaster.forecast([random_clip(0)])
    assert caught.value.code() is code
    assert len(server.predicts) == 1


def test_server_that_stays_unavailable_is_given_up_within_the_deadline(fake, random_clip):
    server = fake(*[grpc.StatusCode.UNAVAILABLE] * 100)
    with Client(server.address, model="toy", deadline=0.5) as forecaster, pytest.raises(grpc.RpcError) as caught:
        forecaster.forecast([random_clip(0)])
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert 1 <= len(server.predicts) < 6


def test_frames_travel_as_raw_bytes_in_batches_of_at_most_max_batch(fake, random_clip):
    server = fake()
    clips = [random_clip(seed) for seed in range(5)]
    with Client(server.address, model="toy", max_batch=2) as forecaster:
        forecasts = forecaster.forecast(clips)
    assert [request.inputs["frames"].tensor_shape.dim[0].size for request in server.predicts] == [2, 2, 1]
    assert server.predicts[0].inputs["frames"].tensor_content == np.stack(clips[:2]).tobytes()
    np.testing.assert_array_equal(forecasts, np.float32([clip[-1:] for clip in clips]))


def test_the_declaration_is_asked_for_once(fake, random_clip):
    server = fake()
    with Client(server.address, model="toy") as forecaster:
        for seed in range(3):
            forecaster.forecast([random_clip(seed)])
        list(forecaster.stream([random_clip(3)] * 70))
    assert len(server.declarations) == 1


def test_another_version_is_asked_what_it_declares(fake, random_clip):
    server = fake()
    with Client(server.address, model="toy") as forecaster:
        forecaster.forecast([random_clip(0)])
        server.version = 2
        forecaster.forecast([random_clip(0)])
        assert len(server.declarations) == 2
        forecaster.forecast([random_clip(0)])
    assert len(server.declarations) == 2
    assert forecaster.version == 2


def test_a_clip_is_refused_only_by_what_serves_now(fake, random_clip):
    server = fake()
    clip = random_clip(0)
    with Client(server.address, model="toy") as forecaster:
        forecaster.forecast([clip])
        server.version, server.dtype = 2, tf.float32
        # What was known of version 1 would refuse this one, version 2 takes it.
        forecaster.forecast([np.float32(clip)])
        server.version, server.dtype = 3, tf.uint16
        # What is known of version 2 takes this one, version 3 does not: it says so, not the graph.
        with pytest.raises(ValueError, match="clip 0: expected dtype uint16, received float32"):
            forecaster.forecast([np.float32(clip)])


def test_the_label_goes_with_every_request(fake, random_clip):
    server = fake()
    with Client(server.address, model="toy", label="stable") as forecaster:
        forecaster.forecast([random_clip(0)])
    for request in (*server.predicts, *server.declarations):
        assert request.model_spec.WhichOneof("version_choice") == "version_label"
        assert request.model_spec.version_label == "stable"


def test_outputs_of_a_padded_clip_are_as_long_as_the_clip(fake, random_clip):
    server = fake()
    server.padded_to = 9
    short, long = random_clip(0, 3, 8, 6), random_clip(1, 12, 8, 6)
    with Client(server.address, model="toy") as forecaster:
        for clip, outputs in zip((short, long), forecaster.answer([short, long]), strict=True):
            means = np.float32(clip.mean((1, 2, 3)))
            np.testing.assert_allclose(outputs["anomaly_score"], means)
            np.testing.assert_allclose(outputs["probabilities"], np.stack([means, -means], -1))
            # Neither has a time axis, though both have a longer axis where others have theirs.
            assert outputs["classes"].shape == (40,)
            assert outputs["last"].shape == (8, 6, 1)


def test_a_model_without_forecasts_says_what_it_answers(fake, random_clip):
    server = fake()
    server.answers = {"anomaly_score", "clip_anomaly_score"}
    message = r"model toy version 1: expected the output forecast, received \['anomaly_score', 'clip_anomaly_score'\]"
    with Client(server.address, model="toy") as forecaster, pytest.raises(ValueError, match=message):
        forecaster.forecast([random_clip(0)])


def test_a_stream_gives_the_outputs_in_order_whatever_the_sizes(fake, random_clip):
    server = fake()
    clips = [random_clip(seed, 2 + seed % 5 // 3) for seed in range(50)]
    with Client(server.address, model="toy", max_batch=3) as forecaster:
        streamed = list(forecaster.stream(clips))
    np.testing.assert_array_equal([outputs["last"] for outputs in streamed], [clip[-1] for clip in clips])
    for request in server.predicts:
        assert request.inputs["frames"].tensor_shape.dim[0].size <= 3
    assert len(server.predicts) == 20  # Runs of 3 and of 2 neighbours of one length.


class Endless:
    """Clips without end, counted as they are read."""

    def __init__(self, clip):
        self.read = 0
        self._clip = clip

    def __iter__(self):
        while True:
            self.read += 1
            yield self._clip


def test_an_endless_stream_is_read_no_further_ahead_than_the_requests_in_flight(fake, random_clip):
    server, endless = fake(), Endless(random_clip(0))
    lock, under_way, most = threading.Lock(), [0], [0]

    def meanwhile():
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        full.wait(5)
        with lock:
            under_way[0] -= 1

    full = threading.Barrier(3)  # Passes three requests at a time: with fewer in flight the test would fail.
    server.meanwhile = meanwhile
    with Client(server.address, model="toy", max_batch=2) as forecaster:
        stream = forecaster.stream(endless, in_flight=3)
        for taken in range(1, 37):
            next(stream)
            assert endless.read - taken <= 3 * 2
        full.abort()
        stream.close()
    assert most[0] == 3


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda clip: clip[..., :0], "clip 2: expected channel 1, received 0"),
        (np.float32, "clip 2: expected dtype uint8, received float32"),
        (np.ndarray.tolist, "clip 2: expected an array .* received list"),
    ],
)
def test_a_stream_ends_with_the_error_of_a_clip_after_the_outputs_before_it(fake, random_clip, spoil, message):
    clips = [random_clip(0), random_clip(1), spoil(random_clip(2)), random_clip(3)]
    with Client(fake().address, model="toy") as forecaster:
        stream = forecaster.stream(clips)
        for clip in clips[:2]:
            np.testing.assert_array_equal(next(stream)["last"], clip[-1])
        with pytest.raises(ValueError, match=message):
            next(stream)


def test_sizes_that_would_have_no_bound_are_refused(fake, random_clip):
    address = fake().address
    with pytest.raises(ValueError, match="max_batch: expected at least 1, received 0"):
        Client(address, model="toy", max_batch=0)
    with (
        Client(address, model="toy") as forecaster,
        pytest.raises(ValueError, match="in_flight: expected at least 1, received 0"),
    ):
        list(forecaster.stream([random_clip(0)], in_flight=0))


def awaited(address, use, **options):
    """Returns what the coroutine function `use` makes of an `AsyncClient`."""

    async def run():
        async with AsyncClient(address, model="toy", **options) as forecaster:
            return await use(forecaster)

    return asyncio.run(run())


def test_awaited_answers_are_those_of_the_blocking_client(served, forecaster, random_clip):
    clips = [random_clip(0), random_clip(1, 5, 16, 12), random_clip(2)]
    examples = [as_example(clip) for clip in clips]

    async def use(client):
        forecasts = await client.forecast(clips)
        from_examples = await client.forecast_examples(examples)
        streamed = [outputs["forecast"] async for outputs in client.stream(clips)]
        return forecasts, from_examples, streamed, await client.metadata(), client.version

    forecasts, from_examples, streamed, metadata, version = awaited(served[0], use)
    assert metadata == forecaster.metadata()
    assert version == 7
    expected = forecaster.forecast(clips), forecaster.forecast_examples(examples), forecaster.forecast(clips)
    for received, wanted in zip((forecasts, from_examples, streamed), expected, strict=True):
        for one, other in zip(received, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_awaited_calls_are_repeated_and_refused_as_blocking_ones(fake, random_clip):
    clip = random_clip(0)
    server = fake(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
    (forecast,) = awaited(server.address, lambda client: client.forecast([clip]))
    np.testing.assert_array_equal(forecast, np.float32(clip[-1:]))
    assert len(server.predicts) == 3
    with pytest.raises(grpc.RpcError) as caught:
        awaited(fake(grpc.StatusCode.INTERNAL).address, lambda client: client.forecast([clip]))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    with pytest.raises(ValueError, match="clip 0: expected dtype uint8, received float32"):
        awaited(server.address, lambda client: client.forecast([np.float32(clip)]))


def test_an_awaited_stream_reads_an_asynchronous_source_no_further_ahead_than_its_requests(fake, random_clip):
    server, read = fake(), [0]

    async def endless():
        while True:
            read[0] += 1
            yield random_clip(0)

    async def use(client):
        taken = 0
        async with contextlib.aclosing(client.stream(endless(), in_flight=3)) as stream:
            async for _ in stream:
                taken += 1
                assert read[0] - taken <= 3 * 2
                if taken == 30:
                    return taken

    assert awaited(server.address, use, max_batch=2) == 30
