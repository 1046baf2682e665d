"""The signature `step`, loaded without Framecast: a stream compared with `serving_default` on all of its frames."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from framecast.models.networks.frame_forecaster import FrameForecaster
from framecast.models.spec import ContextSpec, ForecastTask
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from tests.models.export.exporting import export_and_load, make_module, serve_only

_MISSING = 255
_SPEC = ClipSpec(frames=FrameRange(min=1, max=8), channels=2, missing=_MISSING)
_TASK = ForecastTask(horizon=3, context=ContextSpec(min=3))


@pytest.fixture(scope="module", params=["frame", "change", "advected"])
def signatures(request, tmp_path_factory):
    keras.utils.set_random_seed(0)
    model = FrameForecaster(channels=2, filters=(5, 3), kernel_size=3, patch=4, predict=request.param)
    module = make_module(model, _TASK, _SPEC)
    return serve_only(module, _SPEC, tmp_path_factory.mktemp("export"), step=module.step.signature())


@pytest.fixture(scope="module")
def frames():
    frames = np.random.default_rng(0).integers(0, 250, (2, 6, 10, 9, 2), np.uint8)
    frames[:, :, 2:5, 3:] = _MISSING
    return frames


def _start(signatures, batch):
    """Initial states, made from the signature's metadata alone."""
    inputs = signatures["step"].structured_input_signature[1]
    return {
        name: tf.zeros([batch, *(size or 0 for size in spec.shape[1:])], spec.dtype)
        for name, spec in inputs.items()
        if name != "frames"
    }


def _step(signatures, frames, states):
    answer = dict(signatures["step"](frames=tf.constant(frames), **states))
    return answer.pop("forecast").numpy(), answer.pop("ready").numpy(), answer


@pytest.mark.parametrize("chunks", [(1, 1, 1, 1, 1, 1), (4, 2), (1, 5)])
def test_stream_forecast_equals_forecast_of_all_frames(signatures, frames, chunks):
    states, start = _start(signatures, 2), 0
    for seen in itertools.accumulate(chunks):
        forecast, ready, states = _step(signatures, frames[:, start:seen], states)
        start = seen
        np.testing.assert_array_equal(states["frames_seen"], [seen, seen])
        np.testing.assert_array_equal(ready, [seen >= 3, seen >= 3])
        assert forecast.shape == (2, 3, 10, 9, 2)
        if seen >= 3:  # serving_default rejects fewer frames.
            whole = signatures["serving_default"](frames=tf.constant(frames[:, :seen]), length=tf.fill([2], seen))
            assert np.ptp(whole["forecast"]) > 0
            np.testing.assert_allclose(forecast, whole["forecast"], atol=1e-5)


def test_joined_streams_forecast_as_each_alone(signatures, frames):
    alone = []
    for clip in range(2):
        _, _, states = _step(signatures, frames[clip : clip + 1, : 3 + clip], _start(signatures, 1))
        alone.append(states)
    joined = {name: tf.concat([states[name] for states in alone], 0) for name in alone[0]}
    following = np.stack([frames[0, 3:4], frames[1, 4:5]])
    forecast, _, states = _step(signatures, following, joined)
    np.testing.assert_array_equal(states["frames_seen"], [4, 5])
    for clip in range(2):
        expected, _, _ = _step(signatures, following[clip : clip + 1], alone[clip])
        np.testing.assert_allclose(forecast[clip], expected[0], atol=1e-5)


def test_metadata_fixes_only_channels_and_horizon(signatures):
    step = signatures["step"]
    inputs = {name: spec.shape.as_list() for name, spec in step.structured_input_signature[1].items()}
    outputs = {name: spec.shape.as_list() for name, spec in step.structured_outputs.items()}
    assert inputs.pop("frames") == [None, None, None, None, 2]
    assert outputs.pop("forecast") == [None, 3, None, None, 2]
    assert outputs.pop("ready") == [None]
    assert inputs == outputs
    assert inputs["cell_1_c"] == [None, None, None, 3]


def test_states_of_new_streams_are_ignored(signatures, frames):
    expected, _, states = _step(signatures, frames, _start(signatures, 2))
    again, _, _ = _step(signatures, frames, {**states, "frames_seen": tf.zeros([2], tf.int32)})
    np.testing.assert_array_equal(again, expected)


def test_mismatched_input_is_rejected_with_its_name(signatures, frames):
    _, _, states = _step(signatures, frames, _start(signatures, 2))
    empty = _start(signatures, 2)

    def rejected(match, frames=frames, **changed):
        with pytest.raises(tf.errors.InvalidArgumentError, match=match):
            _step(signatures, frames, {**states, **changed})

    rejected("frames: expected at least 1 new frame, received none", frames=frames[:, :0])
    rejected("frames_seen: expected one value a clip of frames", frames=frames[:1])
    rejected(r"cell_\d_.: expected the state .*, shape\] \[1 3 3 .\] \[received\] \[2 3 3 .\]",
            frames=frames[:1], frames_seen=tf.ones([1], tf.int32))  # fmt: skip
    rejected(r": expected the state of a stream of such frames, shape\] \[2 ", frames=frames[:, :, :8])
    rejected(
        r"cell_0_h: expected the state .*, shape\] \[2 3 3 5\] \[received\] \[2 0 0 5\]", cell_0_h=empty["cell_0_h"]
    )
    rejected("frames_seen: expected 0 for every clip or more for every clip", frames_seen=tf.constant([0, 6]))
    if "past_frames" in states:
        none = states["past_frames"][:, :0]
        rejected(r"past_frames: expected .* \[2 1 10 9 2\] \[received\] \[2 0 10 9 2\]", past_frames=none)


def test_graph_needs_no_python_and_no_xla(signatures):
    graph = signatures["step"].graph.as_graph_def(add_shapes=False)
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert not {node.op for node in nodes} & {"PyFunc", "EagerPyFunc", "PyFuncStateless"}
    assert not any(
        key == "_XlaMustCompile" and value.b
        for function in graph.library.function
        for key, value in function.attr.items()
    )


class Repeating(keras.Model):
    """Has only the call contract of a forecaster: repeats the last frame."""

    def call(self, frames, context_length, steps):
        last = tf.gather(frames, context_length - 1, batch_dims=1)
        return tf.repeat(last[:, None], steps, axis=1)


def test_model_without_stream_methods_has_other_signatures(tmp_path, frames):
    signatures = export_and_load(make_module(Repeating(), _TASK, _SPEC), tmp_path)
    assert sorted(signatures) == ["evaluate", "serve_examples", "serving_default", "transform_features"]
    forecast = signatures["serving_default"](frames=tf.constant(frames), length=[6, 6])["forecast"]
    np.testing.assert_allclose(forecast[:, 2], np.where(frames == _MISSING, 0, frames)[:, -1] / 255, atol=1e-6)
