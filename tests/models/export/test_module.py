"""The exported model, loaded without Framecast: dtypes, sizes and padding."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from framecast.models.networks import presets
from framecast.models.spec import ContextSpec, ForecastTask
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from tests.models.export.exporting import make_module, serve_only

_TASK = ForecastTask(horizon=3, context=ContextSpec(min=2))


@pytest.fixture(scope="module", params=["uint8", "uint16", "float32"])
def loaded(request, tmp_path_factory):
    spec = ClipSpec(frames=FrameRange(min=1, max=8), dtype=request.param, channels=2)
    keras.utils.set_random_seed(0)
    model = presets.build("convlstm-tiny", channels=2, dtype="float32")
    module = make_module(model, _TASK, spec)
    return serve_only(module, spec, tmp_path_factory.mktemp("export"))["serving_default"]


def _forecast(loaded, frames, lengths):
    return loaded(frames=tf.constant(frames), length=tf.constant(lengths, tf.int32))["forecast"].numpy()


@pytest.mark.parametrize("padding", [0, 3])
def test_padding_never_changes_a_forecast(loaded, padding):
    dtype = loaded.structured_input_signature[1]["frames"].dtype.as_numpy_dtype
    largest = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    lengths = [2, 5, 4]
    frames = (np.random.default_rng(0).uniform(size=(3, 5, 10, 9, 2)) * largest).astype(dtype)
    dirty = np.pad(frames, [(0, 0), (0, padding), (0, 0), (0, 0), (0, 0)])
    for clip, length in zip(dirty, lengths, strict=True):
        clip[length:] = np.nan if dtype == np.float32 else largest
    expected = _forecast(loaded, frames, lengths)
    assert expected.shape == (3, 3, 10, 9, 2)
    assert np.ptp(expected) > 0
    np.testing.assert_array_equal(_forecast(loaded, dirty, lengths), expected)
