import keras
import numpy as np
import pytest
from keras import ops

from framecast.models.convlstm_cells import ConvLSTMCell
from framecast.models.networks import presets
from framecast.models.networks.frame_forecaster import FrameForecaster
from framecast.models.networks.labeller import Labeller
from framecast.models.networks.patches import patchify, unpatchify
from tests.models.gradients import outputs_and_gradients
from tests.models.random_weights import randomise

LENGTH = np.array([4, 4], "int32")


@pytest.fixture
def frames():
    return np.random.default_rng(0).random((2, 4, 8, 8, 1), "float32")


def tiny(**arguments):
    model = presets.build("convlstm-tiny", channels=1, dtype="float32", arguments={"filters": [3, 2], **arguments})
    randomise(model)
    return model


@pytest.mark.parametrize("name", presets.FORECASTERS)
def test_preset_forecasts(name):
    model = presets.build(name, channels=3, dtype="float32")
    assert model(np.zeros((1, 2, 8, 9, 3), "float32"), np.array([2]), steps=2).shape == (1, 2, 8, 9, 3)


def test_unknown_preset_error_lists_presets():
    with pytest.raises(ValueError, match=r"model.preset: expected one of convlstm-tiny, .*, received 'huge'"):
        presets.build("huge", channels=1, dtype="float32")


def test_arguments_replace_those_of_the_preset():
    model = presets.build("convlstm-tiny", channels=1, dtype="float32", arguments={"filters": [8, 4], "patch": None})
    assert (model.filters, model.kernel_size, model.patch) == ((8, 4), 3, 4)
    for wrong in ({"filter": [8]}, {"filters": 8}, {"channels": 2}):
        with pytest.raises(ValueError, match=r"model\.arguments: expected arguments of FrameForecaster, received"):
            presets.build("convlstm-tiny", channels=1, dtype="float32", arguments=wrong)


@pytest.mark.parametrize("options", [{"normalization": "group"}, {"normalization": "layer", "peephole": True}])
def test_cell_options_give_the_forecast_of_such_cells(frames, options):
    model = tiny(**options)
    cells = [ConvLSTMCell(filters, 3, **options) for filters in (3, 2)]
    states = [cell.get_initial_state(2, (2, 2)) for cell in cells]
    for cell, channels, own in zip(cells, (16, 3), model.rollout.cell.cells, strict=True):
        cell.build((None, None, None, channels))
        cell.set_weights(own.get_weights())
    expected = []
    for time in range(4):
        x = patchify(frames[:, time : time + 1], 4)[:, 0]
        for number, cell in enumerate(cells):
            x, states[number] = cell(x, states[number])
        expected.append(model.rollout.cell.projection(x))
    expected = unpatchify(ops.stack(expected, axis=1), 4, 1)
    np.testing.assert_allclose(model(frames, LENGTH, steps=4), expected, atol=1e-5)
    assert np.abs(tiny()(frames, LENGTH, steps=4) - expected).max() > 1e-2


@pytest.mark.parametrize("predict", ["frame", "advected"])
@pytest.mark.parametrize("option", ["dropout", "recurrent_dropout"])
def test_dropout_of_a_preset_acts_in_training_only(frames, option, predict):
    plain, model = tiny(predict=predict), tiny(predict=predict, **{option: 0.5})
    expected = plain(frames, LENGTH, steps=5)
    np.testing.assert_array_equal(model(frames, LENGTH, steps=5), expected)
    np.testing.assert_array_equal(plain(frames, LENGTH, steps=5, training=True), expected)
    trained = model(frames, LENGTH, steps=5, training=True)
    assert np.abs(trained - expected).max() > 1e-3
    assert np.abs(trained - model(frames, LENGTH, steps=5, training=True)).max() > 1e-3


def test_remat_of_a_preset_changes_no_forecast_or_gradient(frames):
    calls = {"context_length": LENGTH, "steps": 5, "training": True}
    expected, truth = outputs_and_gradients(tiny(normalization="layer"), frames, **calls)
    model = tiny(normalization="layer", remat=True)
    outputs, gradients = outputs_and_gradients(model, frames, **calls)
    assert model.rollout.remat
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    for gradient, value in zip(gradients, truth, strict=True):
        np.testing.assert_allclose(gradient, value, atol=1e-5, rtol=1e-5)


def test_options_reach_the_recurrence_of_a_labeller(frames):
    options = {"peephole": True, "normalization": "layer", "dropout": 0.2, "recurrent_dropout": 0.3, "remat": True}
    model = presets.build("cnn-convlstm-small", 1, "float32", options, outputs=2, per="clip")
    config = model.recurrence.get_config()
    assert {name: config[name] for name in options} == options
    assert type(model).from_config(model.get_config()).recurrence.remat
    served = model(frames, LENGTH)
    np.testing.assert_array_equal(model(frames, LENGTH), served)
    assert np.abs(model(frames, LENGTH, training=True) - served).max() > 1e-4


@pytest.mark.parametrize(
    "make",
    [
        lambda: FrameForecaster(1, filters=(3,), kernel_size=3, patch=4, trainable=False),
        lambda: Labeller(1, outputs=2, trainable=False),
    ],
    ids=["forecaster", "labeller"],
)
def test_untrainable_preset_model_is_frozen_inside_a_model(make):
    inner = make()
    outer = keras.Sequential([inner])
    assert inner.variables
    assert not outer.trainable_variables
    inner.trainable = True
    assert len(outer.trainable_variables) == len(inner.variables)
