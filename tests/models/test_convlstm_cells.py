"""Cells and their arguments on any backend of Keras; the oracles are Keras' layers, NumPy and SciPy."""

import json

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from keras import ops

from framecast.models.convlstm import RNN, ConvGRU, ConvLSTM
from framecast.models.convlstm_cells import ConvGRUCell, ConvLSTMCell
from tests.models.random_weights import randomise

CHANNELS, FILTERS, KERNEL = 2, 3, 3


@pytest.fixture
def sequences():
    return np.random.default_rng(0).normal(size=(4, 6, 7, 5, CHANNELS)).astype("float32")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def convolve(x, kernel):
    """Convolves `(height, width, channels)` with `(rows, columns, channels, filters)` by SciPy."""
    filters = [
        sum(
            scipy.ndimage.correlate(x[..., i].astype("float64"), kernel[..., i, o], mode="constant")
            for i in range(x.shape[-1])
        )
        for o in range(kernel.shape[-1])
    ]
    return np.stack(filters, axis=-1)


def normalised(x, kind, parts):
    """Normalises `(height, width, parts * filters)` by the papers' formulas, with Keras' epsilon."""
    if kind is None:
        return x
    axes = -1 if kind == "layer" else (0, 1, 3)
    x = x if kind == "layer" else x.reshape(*x.shape[:2], parts, -1)
    x = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-3)
    return x.reshape(*x.shape[:2], -1)


@pytest.mark.parametrize("normalization", [None, "layer", "group"])
@pytest.mark.parametrize("peephole", [False, True])
def test_one_lstm_step_equals_numpy(sequences, peephole, normalization):
    cell = ConvLSTMCell(FILTERS, KERNEL, peephole=peephole, normalization=normalization, activation="relu")
    frame = sequences[:, 0]
    h, c = np.random.default_rng(2).normal(size=(2, 4, 7, 5, FILTERS)).astype("float32")
    cell(frame, [h, c])
    weights = randomise(cell)
    output, (new_h, new_c) = cell(frame, [h, c])
    w_i, w_f, w_o = weights.get("peepholes", np.zeros((3, FILTERS)))
    for clip in range(4):
        x = convolve(np.concatenate([frame[clip], h[clip]], -1), weights["kernel"])
        x = normalised(x, normalization, 4) * weights.get("gamma", 1) + weights["bias"]
        i, f, g, o = np.split(x, 4, -1)
        expected_c = sigmoid(f + w_f * c[clip]) * c[clip] + sigmoid(i + w_i * c[clip]) * np.maximum(g, 0)
        expected_h = sigmoid(o + w_o * expected_c) * np.maximum(expected_c, 0)
        np.testing.assert_allclose(ops.convert_to_numpy(new_c)[clip], expected_c, atol=1e-5)
        np.testing.assert_allclose(ops.convert_to_numpy(new_h)[clip], expected_h, atol=1e-5)
    np.testing.assert_array_equal(ops.convert_to_numpy(output), ops.convert_to_numpy(new_h))


def test_one_gru_step_equals_numpy(sequences):
    cell = ConvGRUCell(FILTERS, KERNEL)
    frame = sequences[:, 0]
    h = np.random.default_rng(2).normal(size=(4, 7, 5, FILTERS)).astype("float32")
    cell(frame, [h])
    randomise(cell)
    kernel, bias, candidate_kernel, candidate_bias = cell.get_weights()
    output, (state,) = cell(frame, [h])
    for clip in range(4):
        gates = sigmoid(convolve(np.concatenate([frame[clip], h[clip]], -1), kernel) + bias)
        z, r = np.split(gates, 2, -1)
        g = np.tanh(convolve(np.concatenate([frame[clip], r * h[clip]], -1), candidate_kernel) + candidate_bias)
        np.testing.assert_allclose(ops.convert_to_numpy(output)[clip], z * h[clip] + (1 - z) * g, atol=1e-5)
    np.testing.assert_array_equal(ops.convert_to_numpy(output), ops.convert_to_numpy(state))


@pytest.mark.parametrize(("unit", "expected"), [(True, 1), (False, 0)])
def test_forget_bias_starts_at_one_unless_disabled(unit, expected):
    cell = ConvLSTMCell(FILTERS, KERNEL, unit_forget_bias=unit)
    cell.build((None, None, None, CHANNELS))
    bias = [0] * FILTERS + [expected] * FILTERS + [0] * 2 * FILTERS
    np.testing.assert_array_equal(ops.convert_to_numpy(cell.gates.bias), bias)


def test_kernels_are_initialised_as_in_pytorch():
    """torch.nn.Conv2d draws from U(-b, b), b = 1 / sqrt(kernel pixels * input channels)."""
    keras.utils.set_random_seed(0)
    cell = ConvLSTMCell(32, 5)
    cell.build((None, None, None, 3))
    kernel = keras.ops.convert_to_numpy(cell.gates.kernel)
    assert kernel.shape == (5, 5, 3 + 32, 4 * 32)
    for part, channels in ((kernel[:, :, :3], 3), (kernel[:, :, 3:], 32)):
        bound = 1 / np.sqrt(25 * channels)
        result = scipy.stats.kstest(part.ravel(), scipy.stats.uniform(-bound, 2 * bound).cdf)
        assert result.pvalue > 1e-4
    assert len(np.unique(kernel[:, :, :3])) > 0.99 * kernel[:, :, :3].size


def keras_convlstm2d(**kwargs):
    layer = keras.layers.ConvLSTM2D(FILTERS, KERNEL, padding="same", data_format="channels_last", **kwargs)
    layer.build((None, None, 7, 5, CHANNELS))
    return layer


def test_initializers_draw_the_weights_of_keras_convlstm2d():
    draw = {
        "kernel_initializer": keras.initializers.GlorotUniform(seed=1),
        "recurrent_initializer": keras.initializers.Orthogonal(seed=2),
        "bias_initializer": keras.initializers.RandomNormal(seed=3),
        "unit_forget_bias": False,
    }
    kernel, recurrent, bias = keras_convlstm2d(**draw).get_weights()
    layer = ConvLSTM(FILTERS, KERNEL, padding="same", **draw)
    layer.build((None, None, None, None, CHANNELS))
    fused, own_bias = layer.get_weights()
    np.testing.assert_array_equal(fused, np.concatenate([kernel, recurrent], axis=2))
    np.testing.assert_array_equal(own_bias, bias)


@pytest.mark.parametrize("parts", [("kernel",), ("recurrent",), ("bias",), ("kernel", "recurrent", "bias")])
def test_regularizers_add_the_losses_of_keras_convlstm2d(sequences, parts):
    penalties = {f"{part}_regularizer": keras.regularizers.L1L2(0.1 * n, n) for n, part in enumerate(parts, start=1)}
    oracle = keras_convlstm2d(**penalties)
    layer = ConvLSTM(FILTERS, KERNEL, **penalties)
    layer.build((None, None, None, None, CHANNELS))
    kernel, recurrent, bias = (np.random.default_rng(1).normal(size=w.shape) for w in oracle.get_weights())
    oracle.set_weights([kernel, recurrent, bias])
    layer.set_weights([np.concatenate([kernel, recurrent], axis=2), bias])
    layer(sequences)
    total, expected = (float(sum(one.losses)) for one in (layer, oracle))
    assert expected > 0
    assert total == pytest.approx(expected, rel=1e-5)


def test_activity_regularizer_sees_the_output(sequences):
    penalty = keras.regularizers.L2(0.5)
    layer = ConvLSTM(FILTERS, KERNEL, return_sequences=True, activity_regularizer=penalty)
    oracle = keras.layers.Activation("linear", activity_regularizer=penalty)
    oracle(layer(sequences))
    assert float(sum(layer.losses)) == pytest.approx(float(sum(oracle.losses)), rel=1e-5)
    assert type(layer).from_config(layer.get_config()).activity_regularizer.l2 == pytest.approx(0.5)


@pytest.mark.parametrize("layer", [ConvLSTM, ConvGRU])
def test_dropout_multiplies_every_frame_by_one_mask(sequences, layer):
    layer = layer(FILTERS, KERNEL, return_sequences=True, dropout=0.25, seed=3)
    served = ops.convert_to_numpy(layer(sequences))
    frame_mask, h_mask = layer.cell.get_dropout_masks(64, (7, 5))
    assert h_mask is None
    values, counts = np.unique(ops.convert_to_numpy(frame_mask), return_counts=True)
    np.testing.assert_allclose(values, [0, 4 / 3], rtol=1e-6)
    assert abs(counts[0] / counts.sum() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / counts.sum())

    mask = np.random.default_rng(4).integers(2, size=(4, 7, 5, CHANNELS)).astype("float32")
    layer.cell.get_dropout_masks = lambda batch, spatial: [mask, None]
    expected = ops.convert_to_numpy(layer(sequences * mask[:, None]))
    np.testing.assert_allclose(ops.convert_to_numpy(layer(sequences, training=True)), expected, atol=1e-6)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(sequences)), served)


def frozen_rnn(**kwargs):
    return RNN(ConvLSTMCell(FILTERS, KERNEL, peephole=True, normalization="layer"), **kwargs)


@pytest.mark.parametrize("when", ["constructor", "before building", "after building", "loaded"])
@pytest.mark.parametrize(
    "make",
    [frozen_rnn, *(lambda layer=layer, **kwargs: layer(FILTERS, KERNEL, **kwargs) for layer in (ConvLSTM, ConvGRU))],
)
def test_untrainable_layer_is_frozen_inside_a_model(make, when, tmp_path):
    layer = make(trainable=when in ("before building", "after building"))
    if when == "before building":
        layer.trainable = False
    model = keras.Sequential([keras.Input((None, None, None, CHANNELS)), layer, keras.layers.Dense(1)])
    layer.trainable = False
    if when == "loaded":
        model.save(tmp_path / "model.keras")
        model = keras.saving.load_model(tmp_path / "model.keras")
    assert len(model.trainable_variables) == 2
    model.layers[0].trainable = True
    assert len(model.trainable_variables) == len(model.variables)


def test_untrainable_cell_is_frozen_in_its_layer(tmp_path):
    model = keras.Sequential(
        [keras.Input((None, None, None, CHANNELS)), RNN(ConvLSTMCell(FILTERS, KERNEL, trainable=False))]
    )
    assert not model.trainable_variables
    layer = ConvLSTM(FILTERS, KERNEL)
    layer.build((None, None, None, None, CHANNELS))
    layer.cell.trainable = False
    assert not ConvLSTM.from_config(layer.get_config()).trainable


@pytest.mark.parametrize("layer", [ConvLSTM, ConvGRU])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_symbolic_dtypes_equal_returned_dtypes(sequences, layer, policy):
    symbols = keras.Input((None, None, None, CHANNELS))
    for options in ({"return_state": True}, {"return_sequences": True}):
        one = layer(FILTERS, KERNEL, dtype=policy, **options)
        expected, found = one(symbols), one(sequences)
        assert isinstance(expected, tuple) == isinstance(found, tuple)
        expected, found = keras.tree.flatten(expected), keras.tree.flatten(found)
        assert [x.dtype for x in expected] == [keras.backend.standardize_dtype(x.dtype) for x in found]


def test_numpy_numbers_leave_the_config_serialisable():
    cell = ConvGRUCell(np.int64(4), np.array([3, 5]).tolist(), dropout=np.float32(0.5), seed=np.int32(7))
    layer = ConvLSTM(np.int32(4), np.int64(3))
    layer.build((None, None, None, None, CHANNELS))
    config = json.loads(json.dumps(cell.get_config()))
    assert (config["filters"], config["kernel_size"], config["dropout"], config["seed"]) == (4, [3, 5], 0.5, 7)
    assert ConvGRUCell.from_config(config).kernel_size == (3, 5)
    assert json.dumps(layer.get_config())


@pytest.mark.parametrize("cell", [ConvLSTMCell, ConvGRUCell])
@pytest.mark.parametrize("count", [1, 2])
def test_stock_keras_rnn_error_names_framecast_rnn(cell, count):
    cells = [cell(FILTERS, KERNEL) for _ in range(count)]
    with pytest.raises(ValueError, match=r"expected framecast.models.convlstm.RNN .* received keras.layers.RNN"):
        keras.layers.RNN(cells if count > 1 else cells[0])(keras.Input((None, 7, 5, CHANNELS)))


FRAMES = np.zeros((1, 2, 3, 3, 1), "float32")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ConvLSTM(FILTERS, KERNEL, stateful=True),
            r"stateful: expected False, received True; use return_state",
        ),
        (
            lambda: RNN([ConvLSTMCell(FILTERS, KERNEL)] * 2),
            r"cell: expected one cell, received several; use one RNN per cell, .* return_sequences=True",
        ),
        (lambda: ConvLSTM(FILTERS, KERNEL, normalization="batch"), r"normalization: expected .* received 'batch'"),
        (lambda: ConvGRUCell(FILTERS, KERNEL, recurrent_dropout=1), r"recurrent_dropout: expected .* received 1"),
        (lambda: ConvGRUCell(FILTERS, KERNEL, dropout=-0.1), r"dropout: expected .* received -0.1"),
        (lambda: ConvLSTM(0, KERNEL), r"filters: expected a whole number of at least 1, received 0"),
        (lambda: ConvLSTM(2.5, KERNEL), r"filters: expected a whole number of at least 1, received 2.5"),
        (lambda: ConvLSTM(FILTERS, (3, 0)), r"kernel_size: expected a whole number of at least 1, received 0"),
        (lambda: ConvLSTM(FILTERS, (3, 3, 3)), r"kernel_size: expected one number or two, received \(3, 3, 3\)"),
        (lambda: ConvLSTM(FILTERS, KERNEL, strides=2), r"strides: expected .*, received 2; .* strided Conv2D"),
        (
            lambda: ConvLSTM(FILTERS, KERNEL, padding="valid"),
            r"padding: expected 'same', received 'valid'; pad",
        ),
        (lambda: ConvLSTM(FILTERS, KERNEL, dilation_rate=2), r"dilation_rate: .* received 2; use a larger kernel_size"),
        (lambda: ConvLSTM(FILTERS, KERNEL, use_bias=False), r"use_bias: expected True, received False; set unit"),
        (lambda: ConvLSTM(FILTERS, KERNEL, kernel_constraint="non_neg"), r"kernel_constraint: expected None"),
        (lambda: ConvLSTM(FILTERS, KERNEL)(FRAMES[0]), r"expected ndim=5, found ndim=4"),
        (lambda: ConvLSTM(FILTERS, KERNEL)(keras.Input((2, 3, 3, None))), r"expected frames of known channels"),
        (
            lambda: ConvLSTM(FILTERS, KERNEL)(FRAMES, initial_state=[FRAMES[:, 0]]),
            r"initial_state: expected 2 states, received 1",
        ),
        (
            lambda: ConvGRU(FILTERS, KERNEL)(FRAMES, initial_state=[FRAMES[:, 0]]),
            r"initial_state: expected shape \(1, 3, 3, 3\), received \(1, 3, 3, 1\)",
        ),
    ],
)
def test_invalid_argument_is_named_in_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()
