"""A stream against the embedded server: equal to whole clips, across refusals, gaps and hot swaps."""

import os
import shutil

import grpc
import keras
import numpy as np
import pytest
import tensorflow as tf

from framecast.models.export.forecast import ForecastModule, ReferenceConstants
from framecast.models.networks.frame_forecaster import Client as Model
from framecast.models.spec import ContextSpec, ForecastTask
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from framecast.serving.client.client import Client
from framecast.serving.client.stream import LiveForecast
from framecast.serving.server.model_manager import one_model
from framecast.serving.server.server import Server

_SHORTEST, _HORIZON, _MISSING = 3, 2, 255
_CLIP = ClipSpec(frames=FrameRange(min=1, max=24), missing=_MISSING)
_TASK = ForecastTask(horizon=_HORIZON, context=ContextSpec(min=_SHORTEST))


def _export(folder, predict, seed=0):
    keras.utils.set_random_seed(seed)
    model = Model(channels=1, filters=(4,), kernel_size=3, patch=4, predict=predict)
    constants = ReferenceConstants(np.zeros(1, np.float32), [0.0] * _HORIZON)
    module = ForecastModule(model, lambda _: {}, _CLIP, _TASK, constants)
    frames = tf.TensorSpec([None, None, None, None, 1], tf.uint8, "frames")
    length = tf.TensorSpec([None], tf.int32, "length")
    signatures = {
        "serving_default": tf.function(module.serve).get_concrete_function(frames, length),
        "step": module.step.signature(),
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


@pytest.fixture(scope="module", params=["frame", "change", "advected"])
def address(request, tmp_path_factory):
    base_path = tmp_path_factory.mktemp("served")
    _export(base_path / "5", request.param)
    with Server(one_model("toy", str(base_path))) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def frames():
    frames = np.random.default_rng(0).integers(0, 250, (2, 7, 11, 9, 1), np.uint8)
    frames[:, :, 2:5, 3:] = _MISSING
    return frames


@pytest.fixture
def stream(address):
    with LiveForecast(address, model="toy", deadline=30) as stream:
        yield stream


def _whole(address, clips):
    with Client(address, model="toy", deadline=30) as forecaster:
        return np.stack(forecaster.forecast(list(clips)))


def test_frame_by_frame_a_stream_is_forecast_as_a_whole_clip(address, stream, frames):
    for time, frame in enumerate(frames[0]):
        forecast = stream.push(frame)
        if time + 1 < _SHORTEST:
            assert forecast is None
        else:
            assert forecast.shape == (_HORIZON, 11, 9, 1)
            assert forecast.dtype == np.float32
            np.testing.assert_allclose(forecast, _whole(address, frames[:1, : time + 1])[0], atol=1e-5)
    assert stream.version == 5


def test_chunks_of_several_streams_are_forecast_as_whole_clips(address, stream, frames):
    assert stream.push(frames[:, :2]) is None
    np.testing.assert_allclose(stream.push(frames[:, 2:6]), _whole(address, frames[:, :6]), atol=1e-5)
    np.testing.assert_allclose(stream.push(frames[:, 6:]), _whole(address, frames), atol=1e-5)


def test_after_a_reset_another_stream_begins(address, stream, frames):
    stream.push(frames[:, :5])
    stream.reset()
    np.testing.assert_allclose(stream.push(frames[1, 2:, :8]), _whole(address, frames[1:, 2:, :8])[0], atol=1e-5)


def test_a_refused_frame_is_no_part_of_the_stream(address, stream, frames):
    stream.push(frames[0, :4])
    with pytest.raises(grpc.RpcError) as caught:
        stream.push(frames[0, 4].astype(np.float32))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    np.testing.assert_allclose(stream.push(frames[0, 4]), _whole(address, frames[:1, :5])[0], atol=1e-5)


def test_other_frames_than_before_are_refused_by_name(stream, frames):
    stream.push(frames[:, 0:1])
    with pytest.raises(ValueError, match=r"expected those of 2 streams of \(11, 9, 1\), as before, received 1 of"):
        stream.push(frames[0, 1])
    with pytest.raises(ValueError, match=r"received 2 of \(8, 9, 1\); reset\(\) begins another stream"):
        stream.push(frames[:, 1:2, :8])
    with pytest.raises(ValueError, match=r"expected \(height, width, channel\), .* received shape \(11, 9\)"):
        stream.push(frames[0, 1, ..., 0])


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Two models that forecast differently."""
    folder = tmp_path_factory.mktemp("versions")
    return _export(folder / "one", "frame", seed=1), _export(folder / "two", "frame", seed=2)


def test_a_stream_goes_on_across_a_hot_swap_from_the_frames_that_were_kept(versions, tmp_path, frames, wait_until):
    served = tmp_path / "served"
    served.mkdir()
    shutil.copytree(versions[0], served / "1")
    with Server(one_model("toy", str(served))) as server:
        address = f"127.0.0.1:{server.port}"
        with LiveForecast(address, model="toy", deadline=30, kept=4) as stream:
            for frame in frames[0, :5]:
                before = stream.push(frame)
            shutil.copytree(versions[1], tmp_path / "copy")
            os.rename(tmp_path / "copy", served / "2")
            wait_until(lambda: server.versions == (2,), what="version 2 serves")
            after = stream.push(frames[0, 5])
            assert stream.version == 2
            # Four frames were kept, and one is new.
            np.testing.assert_allclose(after, _whole(address, frames[:1, 1:6])[0], atol=1e-5)
            assert np.abs(after - before).max() > 1e-3
            np.testing.assert_allclose(stream.push(frames[0, 6]), _whole(address, frames[:1, 1:7])[0], atol=1e-5)


def test_what_is_not_served_is_named(frames, base_path):
    with Server(one_model("toy", base_path)) as server:
        with (
            LiveForecast(f"127.0.0.1:{server.port}", model="toy", deadline=30) as stream,
            pytest.raises(
                ValueError, match=r"model toy version 1: expected the signature step, .* received serve_exam"
            ),
        ):
            stream.push(frames[0, 0])
        with (
            LiveForecast(f"127.0.0.1:{server.port}", model="other", deadline=30) as stream,
            pytest.raises(grpc.RpcError) as caught,
        ):
            stream.push(frames[0, 0])
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_stream_of_which_nothing_is_kept_is_refused():
    with pytest.raises(ValueError, match="kept: expected at least 1 frame, received 0"):
        LiveForecast("127.0.0.1:1", model="toy", kept=0)
