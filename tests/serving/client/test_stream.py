"""Live forecasts equal the forecasts of whole clips, after refused frames, resets and new versions too."""

import os
import shutil

import grpc
import keras
import numpy as np
import pytest
import tensorflow as tf

from framecast.models.export.forecast import ForecastModule, ReferenceConstants
from framecast.models.export.tracing import trace
from framecast.models.networks.frame_forecaster import FrameForecaster
from framecast.models.spec import ContextSpec, ForecastTask
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from framecast.serving.client import Client, LiveForecast
from framecast.serving.server.model_config import one_model
from framecast.serving.server.options import ServerOptions
from framecast.serving.server.server import Server

_SHORTEST, _HORIZON, _MISSING = 3, 2, 255
_CLIP = ClipSpec(frames=FrameRange(min=1, max=24), missing=_MISSING)
_TASK = ForecastTask(horizon=_HORIZON, context=ContextSpec(min=_SHORTEST))


def _model(predict):
    return FrameForecaster(channels=1, filters=(4,), kernel_size=3, patch=4, predict=predict)


def _trace(predict):
    """Returns a forecaster, its export module and the signatures, which are traced once for all weights."""
    model = _model(predict)
    constants = ReferenceConstants(np.zeros(1, np.float32), [0.0] * _HORIZON)
    module = ForecastModule(model, lambda _: {}, _CLIP, _TASK, constants)
    frames = tf.TensorSpec([None, None, None, None, 1], tf.uint8, "frames")
    length = tf.TensorSpec([None], tf.int32, "length")
    signatures = {"serving_default": trace(module.serve, frames, length), "step": module.step.signature()}
    return model, module, signatures


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """Exports a forecaster with random weights."""
    traced, exported = {}, {}

    def save(predict, seed=0):
        if predict not in traced:
            traced[predict] = _trace(predict)
        if (predict, seed) not in exported:
            model, module, signatures = traced[predict]
            keras.utils.set_random_seed(seed)
            model.set_weights(_model(predict).get_weights())
            exported[predict, seed] = tmp_path_factory.mktemp("exported") / "model"
            tf.saved_model.save(module, str(exported[predict, seed]), signatures=signatures)
        return exported[predict, seed]

    return save


@pytest.fixture(scope="module", params=["frame", "change", "advected"])
def address(request, export, tmp_path_factory):
    base_path = tmp_path_factory.mktemp("served")
    os.symlink(export(request.param), base_path / "5")
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
    with Client(address, model="toy", deadline=30) as client:
        return np.stack(client.forecast(list(clips)))


def test_single_frames_give_forecasts_of_whole_clips(address, stream, frames):
    for time, frame in enumerate(frames[0]):
        forecast = stream.push(frame)
        if time + 1 < _SHORTEST:
            assert forecast is None
        else:
            assert forecast.shape == (_HORIZON, 11, 9, 1)
            assert forecast.dtype == np.float32
            np.testing.assert_allclose(forecast, _whole(address, frames[:1, : time + 1])[0], atol=1e-5)
    assert stream.version == 5


def test_chunks_of_several_streams_give_forecasts_of_clips(address, stream, frames):
    assert stream.push(frames[:, :2]) is None
    np.testing.assert_allclose(stream.push(frames[:, 2:6]), _whole(address, frames[:, :6]), atol=1e-5)
    np.testing.assert_allclose(stream.push(frames[:, 6:]), _whole(address, frames), atol=1e-5)


def test_reset_starts_another_stream(address, stream, frames):
    stream.push(frames[:, :5])
    stream.reset()
    np.testing.assert_allclose(stream.push(frames[1, 2:, :8]), _whole(address, frames[1:, 2:, :8])[0], atol=1e-5)


def test_refused_frame_is_not_part_of_the_stream(address, stream, frames):
    stream.push(frames[0, :4])
    with pytest.raises(grpc.RpcError) as caught:
        stream.push(frames[0, 4].astype(np.float32))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    np.testing.assert_allclose(stream.push(frames[0, 4]), _whole(address, frames[:1, :5])[0], atol=1e-5)


def test_frames_of_another_shape_are_refused(stream, frames):
    stream.push(frames[:, 0:1])
    with pytest.raises(ValueError, match=r"expected 2 streams of frames \(11, 9, 1\), as before, received 1 of"):
        stream.push(frames[0, 1])
    with pytest.raises(ValueError, match=r"received 2 of \(8, 9, 1\); call reset\(\) to start another"):
        stream.push(frames[:, 1:2, :8])
    with pytest.raises(ValueError, match=r"expected \(height, width, channel\), .* received shape \(11, 9\)"):
        stream.push(frames[0, 1, ..., 0])


def test_new_version_continues_from_the_kept_frames(export, tmp_path, frames, wait_until):
    served = tmp_path / "served"
    served.mkdir()
    shutil.copytree(export("frame", seed=0), served / "1")
    options = ServerOptions(file_system_poll_wait_seconds=0.05)
    with Server(one_model("toy", str(served)), options=options) as server:
        address = f"127.0.0.1:{server.port}"
        with LiveForecast(address, model="toy", deadline=30, kept=4) as stream:
            for frame in frames[0, :5]:
                before = stream.push(frame)
            shutil.copytree(export("frame", seed=1), tmp_path / "copy")
            os.rename(tmp_path / "copy", served / "2")
            wait_until(lambda: server.versions == (2,), what="version 2 serves")
            after = stream.push(frames[0, 5])
            assert stream.version == 2
            # Four frames were kept, and one is new.
            np.testing.assert_allclose(after, _whole(address, frames[:1, 1:6])[0], atol=1e-5)
            assert np.abs(after - before).max() > 1e-3
            np.testing.assert_allclose(stream.push(frames[0, 6]), _whole(address, frames[:1, 1:7])[0], atol=1e-5)


def test_missing_signature_or_model_is_refused(frames, base_path):
    with Server(one_model("toy", base_path)) as server:
        with (
            LiveForecast(f"127.0.0.1:{server.port}", model="toy", deadline=30) as stream,
            pytest.raises(
                ValueError,
                match=r"model toy version 1: expected the signature step for a live forecast, received serve_exam",
            ),
        ):
            stream.push(frames[0, 0])
        with (
            LiveForecast(f"127.0.0.1:{server.port}", model="other", deadline=30) as stream,
            pytest.raises(grpc.RpcError) as caught,
        ):
            stream.push(frames[0, 0])
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_kept_below_1_is_refused():
    with pytest.raises(ValueError, match="kept: expected at least 1 frame, received 0"):
        LiveForecast("127.0.0.1:1", model="toy", kept=0)
