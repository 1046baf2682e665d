"""Lengths and masks of the layers on any backend of Keras; the oracles are Keras' layers and explicit masks."""

import keras
import numpy as np
import pytest
from keras import ops

from framecast.models.convlstm import ConvGRU, ConvLSTM

CHANNELS, FILTERS, KERNEL = 2, 3, 3
LENGTH = np.array([3, 5, 1, 4])
VALID = np.arange(6)[None] < LENGTH[:, None]


@pytest.fixture
def sequences():
    return np.random.default_rng(0).normal(size=(4, 6, 7, 5, CHANNELS)).astype("float32")


def layers():
    """Returns two layers, and Keras' Bidirectional around one."""
    first, second = ConvLSTM(FILTERS, KERNEL, return_sequences=True), ConvGRU(FILTERS, KERNEL, return_sequences=True)
    return first, second, keras.layers.Bidirectional(ConvLSTM(FILTERS, KERNEL, return_sequences=True))


def test_following_layers_receive_the_mask_of_length(sequences):
    first, second, both = layers()
    for following in (second, both):
        hidden = first(sequences, length=LENGTH)
        plain = ops.convert_to_numpy(hidden)
        expected = ops.convert_to_numpy(following(plain, mask=VALID))
        assert np.abs(expected - ops.convert_to_numpy(following(plain))).max() > 1e-3
        np.testing.assert_array_equal(ops.convert_to_numpy(following(hidden)), expected)


def test_functional_model_passes_the_mask_of_length(sequences):
    first, second, both = layers()
    frames, length = keras.Input((None, None, None, CHANNELS)), keras.Input((), dtype="int32")
    model = keras.Model([frames, length], both(second(first(frames, length=length))))
    expected = both(second(first(sequences, mask=VALID), mask=VALID), mask=VALID)
    outputs = model([sequences, LENGTH.astype("int32")])
    np.testing.assert_allclose(ops.convert_to_numpy(outputs), ops.convert_to_numpy(expected), atol=1e-6)


@pytest.mark.parametrize("given", ["length", "mask"])
def test_backward_layer_passes_its_mask_reversed(sequences, given):
    backward = ConvLSTM(FILTERS, KERNEL, return_sequences=True, go_backwards=True)
    following = ConvGRU(FILTERS, KERNEL)
    hidden = backward(sequences, **{"length": {"length": LENGTH}, "mask": {"mask": VALID}}[given])
    expected = following(ops.convert_to_numpy(hidden), mask=VALID[:, ::-1])
    np.testing.assert_array_equal(ops.convert_to_numpy(following(hidden)), ops.convert_to_numpy(expected))


@pytest.mark.parametrize("given", ["initial_state", "length"])
def test_mask_of_the_frames_holds_beside_other_arguments(sequences, given):
    first, second, _ = layers()
    hidden = first(sequences, mask=VALID)
    shown = np.full(4, 4)
    both = VALID if given == "initial_state" else VALID & (np.arange(6) < 4)
    state = np.ones((4, 7, 5, FILTERS), "float32")
    arguments = {"initial_state": [state]} if given == "initial_state" else {"length": shown}
    expected = second(ops.convert_to_numpy(hidden), mask=both, initial_state=arguments.get("initial_state"))
    np.testing.assert_allclose(
        ops.convert_to_numpy(second(hidden, **arguments)), ops.convert_to_numpy(expected), atol=1e-6
    )


def test_masking_before_the_layer_skips_blank_frames(sequences):
    sequences = np.where(VALID[:, :, None, None, None], sequences, 0)
    sequences[:, 0, 0, 0] = 0  # A blank pixel masks no frame.
    layer, _, _ = layers()
    model = keras.Sequential([keras.Input((6, 7, 5, CHANNELS)), keras.layers.Masking(), layer])
    expected = ops.convert_to_numpy(layer(sequences, mask=VALID))
    np.testing.assert_array_equal(ops.convert_to_numpy(model(sequences)), expected)


def test_masking_gives_the_outputs_of_keras_convlstm2d(sequences):
    if keras.backend.backend() == "jax":
        pytest.skip("on JAX Keras' ConvLSTM2D fails with a mask: it broadcasts (batch, 1) with (batch, height, ...)")
    sequences = np.where(VALID[:, :, None, None, None], sequences, 0)
    oracle = keras.layers.ConvLSTM2D(FILTERS, KERNEL, padding="same", data_format="channels_last")
    layer = ConvLSTM(FILTERS, KERNEL)
    models = [keras.Sequential([keras.Input((6, 7, 5, CHANNELS)), keras.layers.Masking(), x]) for x in (oracle, layer)]
    kernel, recurrent, bias = oracle.get_weights()
    layer.set_weights([np.concatenate([kernel, recurrent], axis=2), bias])
    expected, outputs = (ops.convert_to_numpy(model(sequences)) for model in models)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("layer", [ConvLSTM, ConvGRU])
def test_empty_clips_give_zeros_and_the_initial_state(sequences, layer, go_backwards):
    options = {"return_sequences": True, "return_state": True, "go_backwards": go_backwards}
    layer = layer(FILTERS, KERNEL, **options)
    layer.build(sequences.shape)
    initial = [np.full((4, 7, 5, FILTERS), 0.5, "float32") for _ in layer.cell.state_size]
    outputs, *states = layer(sequences, length=np.zeros(4, "int32"), initial_state=initial)
    assert outputs.shape == (4, 6, 7, 5, FILTERS)
    if keras.backend.backend() != "jax":  # There the loop of Keras repeats the first state.
        assert not ops.convert_to_numpy(outputs).any()
    for state in states:
        np.testing.assert_array_equal(ops.convert_to_numpy(state), initial[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": [3, 7, 1, 4]}, r"length: expected 0 to 6, the frames of sequences, received 1 to 7"),
        ({"length": np.array([3, -1, 1, 4])}, r"length: expected 0 to 6, .* received -1 to 4"),
        ({"length": np.array([3.5, 1, 1, 4])}, r"length: expected integers, received .*float"),
        ({"length": [3]}, r"length: expected shape \(4,\), received \(1,\)"),
        ({"mask": np.ones((4, 5), bool)}, r"mask: expected shape \(4, 6\), received \(4, 5\)"),
    ],
)
def test_wrong_length_or_mask_is_named(sequences, arguments, message):
    with pytest.raises(ValueError, match=message):
        ConvLSTM(FILTERS, KERNEL)(sequences, **arguments)
