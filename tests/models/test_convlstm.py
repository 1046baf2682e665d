"""Cells and layers on any backend of Keras; the oracles are Keras' layers and NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from framecast.models.convlstm import RNN, ConvGRU, ConvLSTM
from framecast.models.convlstm_cells import ConvLSTMCell
from tests.models.gradients import outputs_and_gradients
from tests.models.random_weights import randomise

CHANNELS, FILTERS, KERNEL = 2, 3, 3
LENGTH = np.array([3, 5, 1, 4])


@pytest.fixture
def sequences():
    return np.random.default_rng(0).normal(size=(4, 6, 7, 5, CHANNELS)).astype("float32")


@pytest.fixture
def mask():
    """Padding at the end, padding at the start, a hole, nothing masked."""
    rows = ([1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1])
    return np.array(rows, bool)


def keras_and_framecast(**kwargs):
    """Returns Keras' ConvLSTM2D and the framecast layer with the same weights."""
    oracle = keras.layers.ConvLSTM2D(
        FILTERS, KERNEL, padding="same", recurrent_activation="sigmoid", data_format="channels_last", **kwargs
    )
    oracle.build((None, None, 7, 5, CHANNELS))
    layer = ConvLSTM(FILTERS, KERNEL, **kwargs)
    layer.build((None, None, None, None, CHANNELS))
    rng = np.random.default_rng(1)
    kernel, recurrent, bias = [rng.normal(scale=0.3, size=w.shape) for w in oracle.get_weights()]
    oracle.set_weights([kernel, recurrent, bias])
    layer.set_weights([np.concatenate([kernel, recurrent], axis=2), bias])
    return oracle, layer


def assert_all_close(gradients, expected):
    for gradient, truth in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, truth, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_convlstm_equals_keras_convlstm2d_with_gradients(sequences, mask, masked, return_sequences, go_backwards):
    if masked and keras.backend.backend() == "jax":
        pytest.skip("on JAX Keras' ConvLSTM2D fails with a mask: it broadcasts (batch, 1) with (batch, height, ...)")
    oracle, layer = keras_and_framecast(return_sequences=return_sequences, go_backwards=go_backwards)
    mask = mask if masked else None
    expected, (kernel, recurrent, bias, inputs) = outputs_and_gradients(oracle, sequences, mask=mask)
    outputs, gradients = outputs_and_gradients(layer, sequences, mask=mask)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert_all_close(gradients, [np.concatenate([kernel, recurrent], axis=2), bias, inputs])


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("layer", [ConvLSTM, ConvGRU])
def test_length_equals_the_same_mask(sequences, layer, return_sequences, go_backwards):
    layer = layer(FILTERS, KERNEL, return_sequences=return_sequences, go_backwards=go_backwards)
    expected, truth = outputs_and_gradients(layer, sequences, mask=np.arange(6)[None] < LENGTH[:, None])
    outputs, gradients = outputs_and_gradients(layer, sequences, length=LENGTH)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    assert_all_close(gradients, truth)


@pytest.mark.parametrize("layer", [ConvLSTM, ConvGRU])
def test_loop_stops_after_the_longest_clip(sequences, layer, monkeypatch):
    if keras.backend.backend() == "jax":
        pytest.skip("JAX traces one step for any number of steps")
    layer = layer(FILTERS, KERNEL, return_sequences=True)
    layer.build(sequences.shape)
    calls = []
    call = layer.cell.call
    monkeypatch.setattr(layer.cell, "call", lambda *args, **kwargs: calls.append(1) or call(*args, **kwargs))
    assert layer(sequences, length=LENGTH).shape == (4, 6, 7, 5, FILTERS)
    assert len(calls) == max(LENGTH)
    layer(sequences)
    assert len(calls) == max(LENGTH) + 6


@pytest.mark.parametrize("layer", [ConvLSTM, ConvGRU])
def test_nan_padding_changes_no_output_or_gradient(sequences, layer):
    layer = layer(FILTERS, KERNEL, return_sequences=True)
    padding = (np.arange(6)[None] >= LENGTH[:, None])[..., None, None, None]
    expected, truth = outputs_and_gradients(layer, np.where(padding, 0, sequences).astype("float32"), length=LENGTH)
    dirty = np.where(padding, np.nan, sequences).astype("float32")
    outputs, gradients = outputs_and_gradients(layer, dirty, length=LENGTH)
    np.testing.assert_array_equal(outputs, expected)
    for gradient, value in zip(gradients, truth, strict=True):
        np.testing.assert_array_equal(gradient, value)
    assert gradients[-1].any()
    assert not (gradients[-1] * padding).any()


def test_gru_over_one_pixel_equals_keras_gru(sequences):
    layer = ConvGRU(FILTERS, 1, return_sequences=True)
    series = sequences[:, :, :1, :1]
    layer(series)
    randomise(layer)
    kernel, bias, candidate_kernel, candidate_bias = layer.get_weights()
    oracle = keras.layers.GRU(FILTERS, return_sequences=True, reset_after=False)
    oracle(series[:, :, 0, 0])
    whole = np.concatenate([kernel[0, 0], candidate_kernel[0, 0]], axis=-1)
    oracle.set_weights([whole[:CHANNELS], whole[CHANNELS:], np.concatenate([bias, candidate_bias])])
    expected = ops.convert_to_numpy(oracle(series[:, :, 0, 0]))
    np.testing.assert_allclose(ops.convert_to_numpy(layer(series))[:, :, 0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_float32_cell_state(sequences, policy):
    layer = ConvLSTM(FILTERS, KERNEL, dtype=policy, return_state=True)
    output, h, c = layer(sequences)
    compute = policy.removeprefix("mixed_")
    assert [keras.backend.standardize_dtype(x.dtype) for x in (output, h, c)] == [compute, compute, "float32"]
    _, _, resumed = layer(sequences, initial_state=[h, c])
    assert keras.backend.standardize_dtype(resumed.dtype) == "float32"
    float32 = ConvLSTM(FILTERS, KERNEL, return_state=True)
    float32.build(sequences.shape)
    float32.set_weights(layer.get_weights())
    np.testing.assert_allclose(ops.convert_to_numpy(c), ops.convert_to_numpy(float32(sequences)[2]), atol=0.05)


@pytest.mark.parametrize("layer", [ConvLSTM, ConvGRU])
def test_streaming_frame_by_frame_equals_whole_sequence(sequences, layer):
    layer = layer(FILTERS, KERNEL, return_sequences=True, return_state=True)
    whole, *_ = layer(sequences)
    states = None
    for frame in range(6):
        output, *states = layer(sequences[:, frame : frame + 1], initial_state=states)
        np.testing.assert_array_equal(ops.convert_to_numpy(output)[:, 0], ops.convert_to_numpy(whole)[:, frame])


@pytest.mark.parametrize("layer", [ConvLSTM, ConvGRU])
def test_remat_changes_no_output_or_gradient(sequences, layer):
    plain = layer(FILTERS, KERNEL, return_sequences=True)
    plain.build(sequences.shape)
    remat = layer(FILTERS, KERNEL, return_sequences=True, remat=True)
    remat.build(sequences.shape)
    remat.set_weights(plain.get_weights())
    expected, truth = outputs_and_gradients(plain, sequences, length=LENGTH)
    outputs, gradients = outputs_and_gradients(remat, sequences, length=LENGTH)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    assert_all_close(gradients, truth)


def test_bidirectional_equals_its_two_layers(sequences):
    mask = np.arange(6)[None] < LENGTH[:, None]
    both = keras.layers.Bidirectional(ConvLSTM(FILTERS, KERNEL, return_sequences=True))
    outputs = ops.convert_to_numpy(both(sequences, mask=mask))
    assert outputs.shape == (4, 6, 7, 5, 2 * FILTERS)
    for clip, length in enumerate(LENGTH):
        frames = sequences[clip : clip + 1, :length]
        forward = ops.convert_to_numpy(both.forward_layer(frames))
        backward = ops.convert_to_numpy(both.backward_layer(frames))[:, ::-1]
        np.testing.assert_allclose(outputs[clip, :length], np.concatenate([forward, backward], -1)[0], atol=1e-6)
        assert not outputs[clip, length:].any()


@pytest.mark.parametrize("layer", [ConvLSTM, ConvGRU])
def test_recurrent_dropout_mask_is_shared_by_training_steps(sequences, layer):
    layer = layer(FILTERS, KERNEL, return_sequences=True, recurrent_dropout=0.5, seed=7)
    still = np.repeat(sequences[:, :1], 6, axis=1)
    served = ops.convert_to_numpy(layer(still))
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(still)), served)

    drawn = []
    call = layer.cell.call
    layer.cell.call = lambda inputs, states, dropout_masks=None: (
        drawn.append(dropout_masks[1]) or call(inputs, states, dropout_masks=dropout_masks)
    )
    trained = ops.convert_to_numpy(layer(still, training=True))
    # The first step starts from zeros, so dropout changes nothing there.
    np.testing.assert_allclose(trained[:, 0], served[:, 0], atol=1e-6)
    assert (trained[:, 1] != served[:, 1]).any()
    assert all(mask is drawn[0] for mask in drawn)
    if keras.backend.backend() != "jax":  # Under JAX the mask is a tracer.
        np.testing.assert_array_equal(np.unique(ops.convert_to_numpy(drawn[0])), [0, 2])


def test_unrolled_loop_equals_loop(sequences, mask):
    _, loop = keras_and_framecast(return_sequences=True)
    unrolled = ConvLSTM(FILTERS, KERNEL, return_sequences=True, unroll=True)
    unrolled.build(sequences.shape)
    unrolled.set_weights(loop.get_weights())
    expected = ops.convert_to_numpy(loop(sequences, mask=mask))
    np.testing.assert_allclose(ops.convert_to_numpy(unrolled(sequences, mask=mask)), expected, atol=1e-6)


def test_symbolic_shapes_equal_returned_shapes(sequences):
    model = keras.Sequential(
        [
            keras.Input((None, None, None, CHANNELS)),
            RNN(ConvLSTMCell(FILTERS, KERNEL), return_sequences=True),
            ConvGRU(4, (3, 5)),
            keras.layers.Dense(2),
        ]
    )
    assert model.output_shape == (None, None, None, 2)
    assert model(sequences).shape == (4, 7, 5, 2)
    layer = ConvLSTM(FILTERS, KERNEL, return_sequences=True, return_state=True)
    assert list(layer.compute_output_shape(sequences.shape)) == [tuple(x.shape) for x in layer(sequences)]


def _layers(model):
    (layer,) = model.layers
    return [layer.forward_layer, layer.backward_layer] if hasattr(layer, "forward_layer") else [layer]


@pytest.mark.parametrize(
    "layer",
    [
        RNN(ConvLSTMCell(FILTERS, KERNEL, peephole=True, normalization="group"), return_sequences=True, remat=True),
        ConvLSTM(FILTERS, (1, 3), activation="relu", normalization="layer", unit_forget_bias=False, go_backwards=True),
        ConvGRU(FILTERS, KERNEL, recurrent_activation="hard_sigmoid", recurrent_dropout=0.2, return_sequences=True),
        keras.layers.Bidirectional(ConvLSTM(FILTERS, KERNEL, dtype="mixed_bfloat16", return_sequences=True)),
    ],
    ids=["rnn", "convlstm", "convgru", "bidirectional"],
)
def test_keras_file_restores_model(sequences, layer, tmp_path):
    model = keras.Sequential([keras.Input((None, None, None, CHANNELS)), layer])
    randomise(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected = ops.convert_to_numpy(ops.cast(model(sequences), "float32"))
    np.testing.assert_array_equal(ops.convert_to_numpy(ops.cast(loaded(sequences), "float32")), expected)
    for one, other in zip(_layers(loaded), _layers(model), strict=True):
        assert one.cell.get_config() == other.cell.get_config()
        assert (one.remat, one.go_backwards) == (other.remat, other.go_backwards)


def test_example_one_cell_step():
    frame = np.random.default_rng(0).random((1, 28, 28, 1), "float32")
    cell = ConvLSTMCell(64, 3)
    h, c = cell.get_initial_state(batch_size=1, spatial_size=(28, 28))
    output, states = cell(frame, [h, c])
    assert output.shape == (1, 28, 28, 64)
    assert [state.shape for state in states] == [(1, 28, 28, 64)] * 2


def test_example_sequential_model_trains():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((None, 32, 32, 3)),
            layers.TimeDistributed(layers.Conv2D(16, 3, activation="relu", data_format="channels_last")),
            layers.TimeDistributed(layers.MaxPooling2D(data_format="channels_last")),
            RNN(ConvLSTMCell(16, 3), return_sequences=True),
            layers.TimeDistributed(layers.Flatten()),
            layers.Dense(10),
        ]
    )
    model.compile(optimizer="adam", loss="mse")
    rng = np.random.default_rng(0)
    frames, targets = rng.random((2, 4, 32, 32, 3), "float32"), rng.random((2, 4, 10), "float32")
    history = model.fit(frames, targets, epochs=10, verbose=0).history["loss"]
    assert history[-1] < history[0]


def test_example_clips_of_different_lengths():
    frames = np.random.default_rng(0).random((2, 5, 28, 28, 1), "float32")
    length = np.array([5, 3], "int32")
    layer = ConvLSTM(64, 3, return_sequences=True)
    outputs = ops.convert_to_numpy(layer(frames, length=length))
    assert outputs.shape == (2, 5, 28, 28, 64)
    frames[1, 3:] = 7.0
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(frames, length=length)), outputs)
    np.testing.assert_allclose(outputs[1:, :3], ops.convert_to_numpy(layer(frames[1:, :3])), atol=1e-6)
