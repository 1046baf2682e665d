"""The compiled pipeline, each task in a separate process as KFP's launcher starts it, against a local run."""

import numpy as np
import pytest
import tensorflow as tf

from framecast.clips.demo.moving_digits import make_demo
from framecast.pipeline.config import config as configuration
from framecast.pipeline.config.inputs import find_inputs
from framecast.pipeline.kubeflow.local import run as run_local
from framecast.pipeline.runs import run as runs

_CONFIG = """
data: {{train: "{folder}/clips/train/*", eval: "{folder}/clips/eval/*"}}
clip: {{frames: {{min: 8, max: 12}}}}
task: {{horizon: 3, context: {{min: 4}}}}
model: {{preset: convlstm-tiny}}
train: {{steps: 4, batch_frames: 64, eval_every: 2, deterministic: true}}
export: {{batch_sizes: [1]}}
evaluate: {{thresholds: {{mse: {{max: 1.0}}}}}}
push: {{directory: {folder}/volume/serving}}
kubeflow: {{state: {folder}/volume/state, default: {{volumes: [{{claim: shared, path: {folder}/volume}}]}}}}
"""


def _run(folder):
    result = run_local.run_local(str(folder / "pipeline.yaml"), str(folder / "work"), cache=True, quiet=True)
    return result, {task.task: task.state for task in result.tasks}


def _forecasts(serving, examples):
    (version,) = serving.glob("[0-9]*")
    model = tf.saved_model.load(str(version))
    return [
        model.signatures["serve_examples"](examples=tf.constant([example]))["forecast"].numpy() for example in examples
    ]


@pytest.mark.slow
def test_compiled_pipeline_equals_local_run_and_is_cached(framecast, tmp_path):
    make_demo(tmp_path / "clips", clips=63, seed=3, size=32, frames=(8, 12))
    (tmp_path / "volume").mkdir()
    yaml = tmp_path / "config.yaml"
    yaml.write_text(_CONFIG.format(folder=tmp_path))
    root = ["--image", "framecast:test", "--pipeline-root", "minio://bucket/artifacts"]
    answer = framecast("kubeflow", "compile", yaml, *root, "-o", tmp_path / "pipeline.yaml")
    assert answer.code == 0, answer.text

    first, states = _run(tmp_path)
    assert first.state == "succeeded", first.why
    assert set(states.values()) == {"done"}

    config = configuration.load(str(yaml), [f"push.directory={tmp_path}/local"])
    local = runs.run(config, str(tmp_path / "local-work"), quiet=True)
    assert local.verdict == "pushed", local.why
    files = find_inputs(config).files["eval"]
    kind = "GZIP" if files[0].endswith(".gz") else ""
    examples = list(tf.data.TFRecordDataset(files, compression_type=kind).take(8).as_numpy_iterator())
    on_cluster, here = _forecasts(tmp_path / "volume/serving", examples), _forecasts(tmp_path / "local", examples)
    for compiled, direct in zip(on_cluster, here):
        np.testing.assert_allclose(compiled, direct, rtol=0, atol=1e-5)

    second, states = _run(tmp_path)
    assert second.state == "succeeded", second.why
    assert states["InputFiles"] == "done"  # It lists the files in every run.
    assert {states[name] for name in ("ClipExampleGen", "StatisticsGen", "Transform", "Trainer")} == {"cached"}

    (tmp_path / "clips/train/more.tfrecord.gz").write_bytes(b"no record")
    third, states = _run(tmp_path)
    assert states["ClipExampleGen"] == "failed", states  # One more file changes its cache key, so it runs.
    assert "more.tfrecord.gz" in third.why
