"""The arguments of a preset's model, `model.arguments` in the configuration. Imports no TensorFlow and no Keras."""

from typing import Literal

import pydantic

from framecast.schemas.section import Section


class PresetArguments(Section):
    """Arguments that replace those of the preset; null is the preset's own.

    Args:
        filters: Channels of each ConvLSTM cell of a forecast, or of each convolution on the frames of a labeller.
        recurrent_filters: Channels of a labeller's ConvLSTM.
        kernel_size: Side of the kernels of a forecast's cells, in patches.
        patch: Side of a patch of a forecast, in pixels.
        predict: What the cells of a forecast add to, see `framecast.models.networks.frame_forecaster.FrameForecaster`.
        peephole: Whether the gates see the cell state.
        normalization: Normalization of the gates: `layer`, or `group`.
        dropout: Fraction of each cell's input dropped in training, the same in all steps.
        recurrent_dropout: Fraction of each cell's `h` dropped in training, the same in all steps.
        remat: Whether training recomputes each step for the gradient: less memory, more time.
    """

    filters: tuple[pydantic.PositiveInt, ...] | None = None
    recurrent_filters: pydantic.PositiveInt | None = None
    kernel_size: pydantic.PositiveInt | None = None
    patch: pydantic.PositiveInt | None = None
    predict: Literal["frame", "change", "advected"] | None = None
    peephole: bool | None = None
    normalization: Literal["layer", "group"] | None = None
    dropout: float | None = pydantic.Field(default=None, ge=0, lt=1)
    recurrent_dropout: float | None = pydantic.Field(default=None, ge=0, lt=1)
    remat: bool | None = None
