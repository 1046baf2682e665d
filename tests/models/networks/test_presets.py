import numpy as np
import pytest

from framecast.models.networks import presets


@pytest.mark.parametrize("name", presets.FORECASTERS)
def test_preset_forecasts(name):
    model = presets.build(name, channels=3, dtype="float32")
    assert model(np.zeros((1, 2, 8, 9, 3), "float32"), np.array([2]), steps=2).shape == (1, 2, 8, 9, 3)


def test_unknown_preset_error_lists_presets():
    with pytest.raises(ValueError, match=r"model.preset: expected one of convlstm-tiny, .*, received 'huge'"):
        presets.build("huge", channels=1, dtype="float32")


def test_arguments_replace_those_of_the_preset():
    model = presets.build("convlstm-tiny", channels=1, dtype="float32", arguments={"filters": [8, 4]})
    assert (model.filters, model.kernel_size, model.patch) == ((8, 4), 3, 4)
    for wrong in ({"filter": [8]}, {"filters": 8}, {"channels": 2}):
        with pytest.raises(ValueError, match=r"model\.arguments: expected arguments of FrameForecaster, received"):
            presets.build("convlstm-tiny", channels=1, dtype="float32", arguments=wrong)
