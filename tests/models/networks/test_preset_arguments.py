"""Arguments of presets in the configuration, and their JSON Schema."""

import inspect

import pydantic
import pytest

from framecast.models.networks.frame_forecaster import FrameForecaster
from framecast.models.networks.labeller import Labeller
from framecast.models.preset_arguments import PresetArguments
from framecast.models.spec import ModelSpec


def test_every_option_of_the_preset_models_is_listed():
    fixed = {"channels", "forecast_channels", "outputs", "per", "kwargs"}
    names = {name for model in (FrameForecaster, Labeller) for name in inspect.signature(model).parameters}
    assert set(PresetArguments.model_fields) == names - fixed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"normalisation": "layer"}, r"arguments\.normalisation: Extra inputs .*, received 'layer'"),
        ({"normalization": "batch"}, r"arguments\.normalization: Input should be 'layer' or 'group', received 'batch'"),
        ({"dropout": 1}, r"arguments\.dropout: Input should be less than 1, received 1"),
        ({"filters": [8, 0]}, r"arguments\.filters\.1: Input should be greater than 0, received 0"),
        ({"kernel_size": 2.5}, r"arguments\.kernel_size: .* integer.*, received 2.5"),
    ],
)
def test_wrong_argument_of_a_preset_is_named(arguments, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        ModelSpec(preset="convlstm-tiny", arguments=arguments)


def test_arguments_of_a_builder_are_free():
    assert ModelSpec(builder="a.b:c", arguments={"normalization": "batch"}).arguments == {"normalization": "batch"}
