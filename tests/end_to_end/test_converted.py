"""Pixels of converted clips reach the Trainer unchanged, through ingest and Transform."""

import numpy as np
import pytest
import tensorflow as tf

from framecast.clips.convert.pipeline import convert
from framecast.clips.convert.spec import ConvertSpec
from framecast.clips.records import read_records
from framecast.models import tensors
from framecast.pipeline.config import config as configuration
from framecast.pipeline.runs import run as runs

_CONFIG = """
data: {{train: "{folder}/clips/*.gz", shares: {{train: 1, val: 1, eval: 1}}}}
clip: {{dtype: {dtype}, channels: {channels}, frames: {{min: 4, max: 8}}, missing: {missing}}}
task: {{horizon: 2, context: {{min: 2}}}}
model: {{preset: convlstm-tiny}}
train: {{steps: 1}}
push: {{directory: {folder}/serving}}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "channels"), [("uint16", 1), ("float32", 6)])
def test_converted_pixels_reach_the_trainer_exactly(tmp_path, dtype, channels):
    shape = (24, 8, 9, 11, channels)
    rng = np.random.default_rng(0)
    frames = rng.random(shape).astype(dtype) if dtype == "float32" else rng.integers(0, 65536, shape).astype(dtype)
    np.save(tmp_path / "a.npy", frames)
    spec = ConvertSpec.model_validate({"read": {"fps": 1, "axes": "NTHWC"}, "cut": {"frames": {"min": 4, "max": 8}}})
    manifest = convert([str(tmp_path / "a.npy")], tmp_path / "clips", spec)
    assert manifest["clips"] == 24
    path = tmp_path / "config.yaml"
    missing = manifest["clip"].get("missing", "null")
    path.write_text(_CONFIG.format(folder=tmp_path, dtype=dtype, channels=channels, missing=missing))
    result = runs.run(configuration.load(str(path)), str(tmp_path / "work"), to_node="Transform", quiet=True)
    assert result.verdict == "unchanged", result.why
    files = (tmp_path / "work/artifacts/Transform/transformed_examples").glob("*/Split-*/*-of-*")
    sources = {clip.tobytes() for clip in frames}
    seen = 0
    for record in (record for file in files for _, record in read_records(file)):
        feature = tf.train.Example.FromString(record).features.feature
        clip = tf.io.parse_tensor(tensors.decompress(feature["frames"].bytes_list.value[0]), dtype).numpy()
        assert clip.tobytes() in sources
        seen += 1
    assert 0 < seen < 24  # Train and val; the Evaluator reads eval before Transform.
