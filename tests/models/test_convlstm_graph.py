"""Layers in a TensorFlow graph."""

import numpy as np
import pytest
import tensorflow as tf

from framecast.models.convlstm import ConvGRU, ConvLSTM

CHANNELS = 2


@pytest.fixture
def sequences():
    return np.random.default_rng(0).normal(size=(4, 6, 7, 5, CHANNELS)).astype("float32")


def test_one_trace_serves_any_shape(sequences):
    layer = ConvLSTM(3, 3, return_sequences=True)
    layer.build((None, None, None, None, CHANNELS))
    signature = [tf.TensorSpec([None, None, None, None, CHANNELS]), tf.TensorSpec([None], tf.int32)]
    function = tf.function(lambda x, length: layer(x, length=length), input_signature=signature)
    for x, length in ((sequences, [3, 5, 1, 4]), (sequences[:2, :3, :4], [3, 2])):
        np.testing.assert_allclose(function(x, length), layer(x, length=np.array(length, "int32")), atol=1e-6)
    assert function.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("layer", [ConvLSTM, ConvGRU])
def test_graph_loop_stops_after_the_longest_clip(sequences, layer):
    layer = layer(3, 3, return_sequences=True)
    layer.build(sequences.shape)
    steps = tf.Variable(0)
    call = layer.cell.call

    def counted(*args, **kwargs):
        steps.assign_add(1)
        return call(*args, **kwargs)

    layer.cell.call = counted
    function = tf.function(lambda x, length: layer(x, length=length))
    function(sequences, tf.constant([3, 5, 1, 4]))
    assert steps.numpy() == 5


@pytest.mark.parametrize("remat", [False, True])
def test_remat_keeps_fewer_tensors_for_the_gradient(sequences, remat):
    layer = ConvLSTM(3, 3, remat=remat)
    layer.build(sequences.shape)

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x))
        return tape.gradient(loss, layer.trainable_variables[0].value)

    gradient(tf.constant(sequences))
    loops = [
        op for op in gradient.get_concrete_function(tf.constant(sequences)).graph.get_operations() if "While" in op.type
    ]
    kept = max(len(op.outputs) for op in loops)
    assert (kept < 16) == remat, kept


def test_graph_fails_for_a_length_above_time(sequences):
    layer = ConvLSTM(3, 3)
    layer.build(sequences.shape)
    function = tf.function(lambda x, length: layer(x, length=length))
    with pytest.raises(tf.errors.InvalidArgumentError, match="reshape"):
        function(sequences, tf.constant([3, 5, 1, 7]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="reshape"):
        function(sequences[:, :1], tf.constant([1, 1, 1, 2]))


def test_graph_gives_zeros_for_empty_clips(sequences):
    layer = ConvLSTM(3, 3, return_sequences=True)
    layer.build(sequences.shape)
    outputs = tf.function(lambda x, length: layer(x, length=length))(sequences, tf.zeros(4, tf.int32))
    assert outputs.shape == (4, 6, 7, 5, 3)
    assert not outputs.numpy().any()


def test_graph_with_unknown_shapes_passes_the_mask():
    first, second = ConvLSTM(3, 3, return_sequences=True), ConvGRU(3, 3)
    first.build((None, None, None, None, CHANNELS))
    second.build((None, None, None, None, 3))
    signature = [tf.TensorSpec([None, None, None, None, CHANNELS]), tf.TensorSpec([None], tf.int32)]
    function = tf.function(lambda x, length: second(first(x, length=length)), input_signature=signature)
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 5, CHANNELS)).astype("float32")
    expected = [second(first(x[i : i + 1, :length])) for i, length in enumerate((2, 4))]
    np.testing.assert_allclose(function(x, [2, 4]), np.concatenate(expected), atol=1e-6)
