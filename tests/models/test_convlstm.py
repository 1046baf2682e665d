import keras
import numpy as np
import pytest
import tensorflow as tf

from framecast.models.convlstm import RNN, ConvLSTMCell

CHANNELS, FILTERS, KERNEL = 2, 3, 3


@pytest.fixture
def sequences():
    return np.random.default_rng(0).normal(size=(4, 6, 7, 5, CHANNELS)).astype("float32")


@pytest.fixture
def mask():
    """Padding at the end, padding at the start, a hole, and nothing masked."""
    rows = ([1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1])
    return np.array(rows, bool)


def keras_and_ours(**kwargs):
    """Keras' ConvLSTM2D and our layer, with the same weights."""
    oracle = keras.layers.ConvLSTM2D(FILTERS, KERNEL, padding="same", recurrent_activation="sigmoid", **kwargs)
    oracle.build((None, None, 7, 5, CHANNELS))
    ours = RNN(ConvLSTMCell(FILTERS, KERNEL), **kwargs)
    ours.build((None, None, None, None, CHANNELS))
    rng = np.random.default_rng(1)
    kernel, recurrent, bias = [rng.normal(scale=0.3, size=w.shape) for w in oracle.get_weights()]
    oracle.set_weights([kernel, recurrent, bias])
    ours.set_weights([np.concatenate([kernel, recurrent], axis=2), bias])
    return oracle, ours


def outputs_and_gradients(layer, sequences, mask):
    x = tf.convert_to_tensor(sequences)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, mask=mask)
        weights = tf.cos(tf.range(tf.size(outputs, tf.float32)))
        loss = tf.reduce_sum(tf.square(outputs) * tf.reshape(weights, outputs.shape))
    return outputs.numpy(), [g.numpy() for g in tape.gradient(loss, [*layer.trainable_variables, x])]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_equals_keras_convlstm2d_forward_and_backward(sequences, mask, masked, return_sequences):
    oracle, ours = keras_and_ours(return_sequences=return_sequences)
    mask = mask if masked else None
    expected, (kernel, recurrent, bias, inputs) = outputs_and_gradients(oracle, sequences, mask)
    outputs, gradients = outputs_and_gradients(ours, sequences, mask)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    for gradient, truth in zip(gradients, [np.concatenate([kernel, recurrent], axis=2), bias, inputs], strict=True):
        np.testing.assert_allclose(gradient, truth, atol=1e-5, rtol=1e-5)


def test_one_step_equals_numpy(sequences):
    cell = ConvLSTMCell(FILTERS, 1)
    frame = sequences[:, 0]
    h, c = np.random.default_rng(2).normal(size=(2, 4, 7, 5, FILTERS)).astype("float32")
    output, (new_h, new_c) = cell(frame, [h, c])

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    kernel, bias = cell.get_weights()
    i, f, g, o = np.split(np.concatenate([frame, h], -1) @ kernel[0, 0] + bias, 4, -1)
    expected_c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    np.testing.assert_allclose(new_c, expected_c, atol=1e-6)
    np.testing.assert_allclose(new_h, sigmoid(o) * np.tanh(expected_c), atol=1e-6)
    np.testing.assert_array_equal(output, new_h)


def test_forget_bias_starts_at_one():
    cell = ConvLSTMCell(FILTERS, KERNEL)
    cell.build((None, None, None, CHANNELS))
    np.testing.assert_array_equal(cell.bias, [0] * FILTERS + [1] * FILTERS + [0] * 2 * FILTERS)


def test_masked_nan_changes_no_output_and_no_gradient(sequences, mask):
    _, ours = keras_and_ours(return_sequences=True)
    expected = outputs_and_gradients(ours, np.where(mask[..., None, None, None], sequences, 0), mask)
    dirty = np.where(mask[..., None, None, None], sequences, np.nan).astype("float32")
    outputs, gradients = outputs_and_gradients(ours, dirty, mask)
    np.testing.assert_array_equal(outputs, expected[0])
    for gradient, truth in zip(gradients, expected[1], strict=True):
        np.testing.assert_array_equal(gradient, truth)
    assert not gradients[-1][~mask].any()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_a_float32_cell_state(sequences, policy):
    layer = RNN(ConvLSTMCell(FILTERS, KERNEL, dtype=policy), return_state=True, dtype=policy)
    output, h, c = layer(sequences)
    assert (output.dtype, h.dtype, c.dtype) == (policy[6:], policy[6:], "float32")
    _, _, resumed = layer(sequences, initial_state=[h, c])
    assert resumed.dtype == "float32"
    float32 = RNN(ConvLSTMCell(FILTERS, KERNEL), return_state=True)
    float32.build(sequences.shape)
    float32.set_weights(layer.get_weights())
    np.testing.assert_allclose(c, float32(sequences)[2], atol=0.05)


def test_initial_state_continues_a_sequence(sequences):
    layer = RNN(ConvLSTMCell(FILTERS, KERNEL), return_sequences=True, return_state=True)
    whole, *_ = layer(sequences)
    _, *states = layer(sequences[:, :4])
    rest, *_ = layer(sequences[:, 4:], initial_state=states)
    np.testing.assert_allclose(rest, whole[:, 4:], atol=1e-6)


def test_one_trace_serves_any_length_height_and_width(sequences):
    layer = RNN(ConvLSTMCell(FILTERS, KERNEL), return_sequences=True)
    layer.build((None, None, None, None, CHANNELS))
    signature = [tf.TensorSpec([None, None, None, None, CHANNELS]), tf.TensorSpec([None, None], tf.bool)]
    function = tf.function(lambda x, mask: layer(x, mask=mask), input_signature=signature)
    for x in (sequences, sequences[:2, :3, :4]):
        mask = np.ones(x.shape[:2], bool)
        np.testing.assert_allclose(function(x, mask), layer(x, mask=mask), atol=1e-6)
    assert function.experimental_get_tracing_count() == 1


def test_builds_in_sequential_with_the_shapes_that_it_returns(sequences):
    model = keras.Sequential(
        [
            keras.Input((None, None, None, CHANNELS)),
            RNN(ConvLSTMCell(FILTERS, KERNEL), return_sequences=True),
            RNN(ConvLSTMCell(4, KERNEL)),
            keras.layers.Dense(2),
        ]
    )
    assert model.output_shape == (None, None, None, 2)
    assert model(sequences).shape == (4, 7, 5, 2)
    layer = RNN(ConvLSTMCell(FILTERS, KERNEL), return_sequences=True, return_state=True)
    assert list(layer.compute_output_shape(sequences.shape)) == [tuple(x.shape) for x in layer(sequences)]


def test_configuration_survives_a_round_trip(sequences):
    layer = RNN(ConvLSTMCell(FILTERS, KERNEL, dtype="mixed_bfloat16"), return_sequences=True)
    expected = layer(sequences)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    copy.build(sequences.shape)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(tf.cast(copy(sequences), tf.float32), tf.cast(expected, tf.float32))


def test_stateful_is_refused_by_name():
    with pytest.raises(ValueError, match=r"stateful: expected False .* received True"):
        RNN(ConvLSTMCell(FILTERS, KERNEL), stateful=True)
