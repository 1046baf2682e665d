import functools
import itertools

import keras
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from framecast.models.networks.frame_forecaster import FrameForecaster
from framecast.models.networks.rollout_cell import BLURS

CONTEXT = np.array([2, 4, 5], "int32")


@pytest.fixture
def frames():
    return np.random.default_rng(0).uniform(size=(3, 6, 10, 7, 2)).astype("float32")


def forecaster(predict="frame", dtype="float32"):
    keras.utils.set_random_seed(0)
    return FrameForecaster(channels=2, filters=(5, 3), kernel_size=3, patch=4, predict=predict, dtype=dtype)


@pytest.fixture(scope="module")
def traced_forecaster():
    make = functools.cache(trace_forecaster)
    yield make
    make.cache_clear()  # TensorFlow prints errors for graphs that are deleted when Python exits.


def trace_forecaster(predict, dtype):
    """Returns a model, and its call and `forecast_next` (3 frames ahead) as one graph each for all shapes."""
    model = forecaster(predict, dtype)
    frames = tf.TensorSpec([None, None, None, None, 2])
    call = tf.function(
        lambda x, context, steps: model(x, context, steps=steps),
        input_signature=[frames, tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)],
        autograph=False,  # Nothing to convert, and a trace takes less time.
    )
    states = model.initial_states(np.zeros((3, 1, 10, 7, 2), "float32"))
    specs = {
        name: tf.TensorSpec([None] * (value.ndim - 1) + [value.shape[-1]], value.dtype)
        for name, value in states.items()
    }
    forecast_next = tf.function(
        lambda x, states: model.forecast_next(x, states, 3), input_signature=[frames, specs], autograph=False
    )
    return model, call, forecast_next


def patches_of(frames, patch):
    """Cuts `(batch, height, width, channel)` into patches by an explicit loop."""
    batch, height, width, channels = frames.shape
    padded = np.zeros((batch, -(-height // patch) * patch, -(-width // patch) * patch, channels), "float32")
    padded[:, :height, :width] = frames
    rows, columns = padded.shape[1] // patch, padded.shape[2] // patch
    patches = np.empty((batch, rows, columns, patch * patch * channels), "float32")
    for row in range(rows):
        for column in range(columns):
            block = padded[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            patches[:, row, column] = block.reshape(batch, -1)
    return patches


@pytest.mark.parametrize("predict", ["frame", "change"])
def test_forecast_equals_explicit_loop_over_cells(frames, predict):
    model = forecaster(predict)
    rollout = model.rollout.cell
    given = [patches_of(frames[:, t], 4) for t in range(6)]
    states = [cell.get_initial_state(3, given[0].shape[1:3]) for cell in rollout.cells]
    expected, prediction = [], None
    for t in range(8):
        if t == 0:
            patches = given[0]
        else:
            observed = (t < CONTEXT)[:, None, None, None]
            patches = np.where(observed, given[min(t, 5)], prediction)
        output = patches
        for layer, cell in enumerate(rollout.cells):
            output, states[layer] = cell(output, states[layer])
        prediction = rollout.projection(output).numpy() + (patches if predict == "change" else 0)
        expected.append(prediction)
    outputs = model(frames, CONTEXT, steps=8).numpy()
    assert outputs.shape == (3, 8, 10, 7, 2)
    for t in range(8):
        np.testing.assert_allclose(patches_of(outputs[:, t], 4)[:, :2, :1], expected[t][:, :2, :1], atol=1e-5)
        corner = expected[t][:, 2, 1].reshape(3, 4, 4, 2)[:, :2, :3]
        np.testing.assert_allclose(outputs[:, t, 8:, 4:], corner, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("predict", ["frame", "change", "advected"])
def test_nan_padding_changes_no_output_or_gradient(frames, predict, dtype):
    model = forecaster(predict, dtype)

    def run(x):
        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = model(x, CONTEXT, steps=7)
            loss = tf.reduce_sum(tf.square(outputs))
        return outputs.numpy(), [g.numpy() for g in tape.gradient(loss, [*model.trainable_variables, x])]

    outputs, gradients = run(frames)
    dirty = np.concatenate([frames, np.zeros((3, 4, 10, 7, 2), "float32")], axis=1)
    past = np.arange(10)[None] >= CONTEXT[:, None]
    dirty[past] = np.nan
    padded_outputs, padded_gradients = run(dirty)
    np.testing.assert_array_equal(padded_outputs, outputs)
    for padded, gradient in zip(padded_gradients[:-1], gradients[:-1], strict=True):
        np.testing.assert_array_equal(padded, gradient)
    np.testing.assert_array_equal(padded_gradients[-1][:, :6], gradients[-1])
    assert not padded_gradients[-1][past].any()
    assert np.abs(gradients[-1][~past[:, :6]]).max() > 0


@pytest.mark.parametrize("predict", ["frame", "advected"])
def test_more_steps_keep_earlier_predictions(frames, traced_forecaster, predict):
    _, call, _ = traced_forecaster(predict, "float32")
    np.testing.assert_array_equal(call(frames, CONTEXT, 9)[:, :5], call(frames, CONTEXT, 5))


def test_predictions_are_fed_back(frames):
    model = forecaster()
    frames = frames[:, :, :8, :4]  # Whole patches, because predictions outside the frame are fed back too.
    free = model(frames, CONTEXT, steps=5).numpy()
    shown = frames.copy()
    for clip, length in enumerate(CONTEXT):
        shown[clip, length:] = free[clip, length - 1 : 5]
    np.testing.assert_allclose(model(shown, np.full(3, 6, "int32"), steps=5), free, atol=1e-6)


def test_change_is_added_to_previous_frame(frames):
    model = forecaster("change")
    projection = model.rollout.cell.projection
    projection.set_weights([np.zeros_like(w) for w in projection.get_weights()])
    outputs = model(frames, CONTEXT, steps=7).numpy()
    for clip, length in enumerate(CONTEXT):
        np.testing.assert_array_equal(outputs[clip, :length], frames[clip, :length])
        last = frames[clip, length - 1 : length]
        np.testing.assert_array_equal(outputs[clip, length:], np.repeat(last, 7 - length, axis=0))


@pytest.mark.parametrize("predict", ["frame", "advected"])
def test_one_trace_serves_any_shape_and_steps(frames, traced_forecaster, predict):
    model, call, _ = traced_forecaster(predict, "float32")
    for x, steps in ((frames, 7), (frames[:, :3, :, :5], 2)):
        np.testing.assert_allclose(call(x, CONTEXT, steps), model(x, CONTEXT, steps=steps), atol=1e-6)
    assert call.experimental_get_tracing_count() == 1
    loops = [op for op in call.get_concrete_function().graph.get_operations() if "While" in op.type]
    assert len(loops) == 1


def test_mixed_bfloat16_returns_float32_close_to_float32(frames):
    model, half = forecaster(), forecaster(dtype="mixed_bfloat16")
    half.set_weights(model.get_weights())
    outputs = half(frames, CONTEXT, steps=7)
    assert outputs.dtype == "float32"
    assert {w.dtype for w in half.weights} == {"float32"}
    np.testing.assert_allclose(outputs, model(frames, CONTEXT, steps=7), atol=0.02)


@pytest.mark.parametrize("blur", BLURS)
def test_advected_warps_and_blurs_the_last_frame(blur):
    """The field moves by (2, -1) pixels per frame; the model adds nothing and chooses one blur."""
    rng = np.random.default_rng(0)
    whole = scipy.ndimage.gaussian_filter(rng.normal(size=(160, 160)), 3, mode="wrap")
    whole = np.clip(0.5 + whole / (4 * whole.std()), 0, 1).astype("float32")
    moved = np.stack([np.roll(whole, (2 * t, -t), (0, 1)) for t in range(7)])[None, ..., None]
    frames, inner = moved[:, :, 48:112, 48:112], slice(16, -16)
    model = FrameForecaster(channels=1, filters=(4,), kernel_size=3, patch=4, predict="advected")
    kernel, bias = model.rollout.cell.projection.get_weights()
    bias[16 + BLURS.index(blur)] = 50
    model.rollout.cell.projection.set_weights([np.zeros_like(kernel), bias])
    forecast = model(frames[:, :4], np.array([4]), steps=6).numpy()
    for lead in (1, 2, 3):
        truth = scipy.ndimage.gaussian_filter(moved[0, 3 + lead, ..., 0], blur)[48:112, 48:112]
        error = np.abs(forecast[0, 2 + lead, inner, inner, 0] - truth[inner, inner])
        unmoved = np.abs(frames[0, 3, inner, inner, 0] - truth[inner, inner])
        assert error.mean() < 0.2 * unmoved.mean()


def test_advected_forecasts_from_a_single_frame(frames):
    forecast = forecaster("advected")(frames[:, :1], np.ones(3, "int32"), steps=3).numpy()
    assert forecast.shape == (3, 3, 10, 7, 2)
    assert np.isfinite(forecast).all()


def pushed(forecast_next, states, frames, chunks):
    """Returns the forecasts after each chunk of a stream and the states at its end."""
    forecasts, start = [], 0
    for size in chunks:
        forecast, states = forecast_next(frames[:, start : start + size], states)
        forecasts.append(np.array(forecast))
        start += size
    return forecasts, states


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("chunks", [(1, 1, 1, 1, 1, 1), (2, 3, 1), (6,)])
@pytest.mark.parametrize("predict", ["frame", "change", "advected"])
def test_stream_forecast_equals_whole_sequence_forecast(frames, traced_forecaster, predict, chunks, dtype):
    model, call, forecast_next = traced_forecaster(predict, dtype)
    initial = model.initial_states(frames)
    forecasts, states = pushed(forecast_next, initial, frames, chunks)
    for seen, forecast in zip(itertools.accumulate(chunks), forecasts, strict=True):
        whole = call(frames[:, :seen], np.full(3, seen, "int32"), seen + 2)[:, seen - 1 :]
        assert forecast.shape == (3, 3, 10, 7, 2)
        np.testing.assert_allclose(forecast, whole, atol=1e-5)
    assert sorted(states) == sorted(initial)


@pytest.mark.parametrize("predict", ["frame", "advected"])
def test_stream_forecasts_one_frame_ahead(frames, predict):
    model = forecaster(predict)
    forecast_next = functools.partial(model.forecast_next, horizon=1)
    (*_, forecast), _ = pushed(forecast_next, model.initial_states(frames), frames, (5, 1))
    np.testing.assert_allclose(forecast, model(frames, np.full(3, 6, "int32"), steps=6)[:, 5:], atol=1e-5)


def test_stream_states_have_constant_size(frames, traced_forecaster):
    model, _, forecast_next = traced_forecaster("advected", "float32")
    start = model.initial_states(frames)
    ends = [pushed(forecast_next, start, frames, (length,))[1] for length in (3, 6)]
    shapes = [{name: value.shape for name, value in states.items()} for states in ends]
    assert start["past_frames"].shape == (3, 0, 10, 7, 2)
    assert shapes[0] == shapes[1]
    assert shapes[0] == {
        "cell_0_h": (3, 3, 2, 5), "cell_0_c": (3, 3, 2, 5), "cell_1_h": (3, 3, 2, 3), "cell_1_c": (3, 3, 2, 3),
        "past_frames": (3, 3, 10, 7, 2),
    }  # fmt: skip


def test_advected_rejects_observed_mask(frames):
    with pytest.raises(ValueError, match=r"observed: expected None for predict='advected', received a mask"):
        forecaster("advected")(frames, CONTEXT, steps=5, observed=np.ones((3, 6), bool))


def test_config_round_trip_keeps_forecasts(frames):
    model = forecaster("change")
    copy = FrameForecaster.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    np.testing.assert_array_equal(copy(frames, CONTEXT, steps=5), model(frames, CONTEXT, steps=5))


def test_wrong_channels_error_names_frames(frames):
    with pytest.raises(ValueError, match=r"frames: expected shape .*, 2\), received .*1\)"):
        forecaster()(frames[..., :1], CONTEXT, steps=5)


def test_unknown_predict_error_lists_options():
    with pytest.raises(ValueError, match=r"predict: expected one of .*, received 'flow'"):
        forecaster("flow")
