"""The error as in training against that as served, of models that do and do not depend on later frames."""

import keras
import numpy as np
import pytest

from framecast.models.export.served_error import describe_gap
from framecast.models.spec import parse_task
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from tests.models.networks import brought_models

_CLIP = ClipSpec(frames=FrameRange(min=1, max=12))
_TASK = parse_task({"horizon": 3, "context": {"min": 4}})


def _batches():
    for length in (7, 9, 12):
        frames = np.full((1, 12, 16, 16, 1), 0.5, "float32")
        known = np.arange(12)[None, :, None, None, None] < length
        yield {"frames": frames * known, "known": np.broadcast_to(known, frames.shape), "length": np.int32([length])}


@pytest.mark.parametrize(("name", "differs"), [("rollout", False), ("by_padding", True)])
def test_error_on_another_path_is_said(name, differs):
    keras.utils.set_random_seed(0)
    model = getattr(brought_models, name)(channels=1, dtype="float32")
    said = describe_gap(model, _batches(), _TASK, _CLIP)
    assert bool(said) == differs, said
    assert not said or said.startswith("the forecasts' mean squared error on val is 0.")
