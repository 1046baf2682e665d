"""The client compared with the model in this process, and its errors."""

import grpc
import numpy as np
import pytest
import tensorflow as tf

from framecast.models.export.warmup import predict_request
from framecast.serving.client import Client
from framecast.serving.client.client import predict_stub
from framecast.serving.client.signatures import TensorSpec
from tests.serving.client.examples import as_example
from tests.serving.toy import HORIZON


def in_process(model: str, clips: list[np.ndarray]) -> np.ndarray:
    signature = tf.saved_model.load(model).signatures["serving_default"]
    length = tf.fill([len(clips)], clips[0].shape[0])
    return signature(frames=tf.constant(np.stack(clips)), length=length)["forecast"].numpy()


def test_forecasts_of_mixed_sizes_equal_the_signature(served, client, random_clip):
    small, large = [random_clip(seed) for seed in (0, 1)], [random_clip(seed, 5, 16, 12) for seed in (2, 3)]
    forecasts = client.forecast([small[0], large[0], small[1], large[1]])
    for group, pair in ((small, forecasts[0::2]), (large, forecasts[1::2])):
        expected = in_process(served[1], group)
        for received, wanted in zip(pair, expected, strict=True):
            assert received.dtype == np.float32
            assert received.shape == (HORIZON, *group[0].shape[1:])
            np.testing.assert_array_equal(received, wanted)
    assert client.version == 7


def test_forecasts_of_examples_equal_those_of_frames(client, random_clip):
    clips = [random_clip(0, 4), random_clip(1, 2, 16, 12), random_clip(2, 3)]
    from_examples = client.forecast_examples([as_example(clip) for clip in clips])
    for received, clip in zip(from_examples, clips, strict=True):
        np.testing.assert_allclose(received, client.forecast([clip])[0], atol=1e-5)


def test_no_clips_give_no_forecasts(client):
    assert client.forecast([]) == []
    assert client.version is None


def test_metadata_has_dtypes_and_shapes(client):
    metadata = client.metadata()
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
def test_unfit_clip_is_refused_with_its_number(client, clip, message, random_clip):
    with pytest.raises(ValueError, match=message):
        client.forecast([random_clip(0), clip])


def test_unparsable_example_is_refused_with_its_number(client, random_clip):
    with pytest.raises(ValueError, match="clip 1: expected a serialized SequenceExample"):
        client.forecast_examples([as_example(random_clip(0)), b"\xff\xff\xff"])


def test_unknown_model_is_not_found(served, random_clip):
    with Client(served[0], model="other") as client, pytest.raises(grpc.RpcError) as caught:
        client.forecast([random_clip(0)])
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_forecasts_above_4_mib_arrive(client, random_clip):
    (forecast,) = client.forecast([random_clip(0, 2, 1024, 1024)])
    assert forecast.nbytes > 2**22


def test_predict_stub_answers(served, random_clip):
    request = predict_request({"frames": random_clip(0)[None], "length": np.int32([3])}, model="toy")
    assert predict_stub(served[0])(request).model_spec.version.value == 7
