"""The compiled radar pipeline, task after task in processes of their own, as KFP's launcher would start them."""

import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from framecast.pipeline.config import config as configuration
from framecast.pipeline.kubeflow.local import run as run_local
from framecast.pipeline.runs import run as runs

_TREE = pathlib.Path(__file__).resolve().parents[2]


class _Radar:
    """configs/radar.yaml over half of the clips in examples/, with few and deterministic steps."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        halves = shutil.ignore_patterns("*-00001-of-*")
        shutil.copytree(_TREE / "examples" / "radar", folder / "clips", ignore=halves)
        (folder / "volume").mkdir()

    def settings(self, push):
        values = [
            f"data.train={self.folder}/clips/train/*.gz",
            f"data.eval={self.folder}/clips/eval/*.gz",
            "train.steps=4",
            "train.eval_every=2",
            "train.batch_frames=64",
            "train.deterministic=true",
            "export.batch_sizes=[1]",
            "evaluate.thresholds.skill.min=-1e9",
            f"push.directory={self.folder}/{push}",
            f"kubeflow={{state: {self.folder}/volume/state, "
            f"default: {{volumes: [{{claim: shared, path: {self.folder}/volume}}]}}}}",
        ]
        return [word for value in values for word in ("--set", value)]

    def run_compiled(self):
        result = run_local.run_local(
            str(self.folder / "pipeline.yaml"), str(self.folder / "work"), cache=True, quiet=True
        )
        return result, {task.task: task.state for task in result.tasks}

    def model(self, push):
        (version,) = (self.folder / push).glob("[0-9]*")
        return tf.saved_model.load(str(version))

    def examples(self):
        files = sorted(map(str, (self.folder / "clips" / "eval").glob("*.gz")))
        return list(tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator())


@pytest.mark.slow
def test_the_compiled_pipeline_pushes_the_model_that_a_local_run_does_and_its_cache_notices_new_data(
    framecast, tmp_path
):
    radar = _Radar(tmp_path)
    yaml = _TREE / "configs" / "radar.yaml"
    root = ["--image", "framecast:test", "--pipeline-root", "minio://bucket/artifacts"]
    settings = radar.settings("volume/serving")
    answer = framecast("kubeflow", "compile", yaml, *root, *settings, "-o", tmp_path / "pipeline.yaml")
    assert answer.code == 0, answer.text

    first, states = radar.run_compiled()
    assert first.state == "succeeded", first.why
    assert set(states.values()) == {"done"}

    config = configuration.load(str(yaml), radar.settings("local")[1::2])
    local = runs.run(config, str(tmp_path / "local-work"), quiet=True)
    assert local.verdict == "pushed", local.why
    on_cluster, here = radar.model("volume/serving"), radar.model("local")
    for example in radar.examples():
        forecasts = [
            model.signatures["serve_examples"](examples=tf.constant([example]))["forecast"]
            for model in (on_cluster, here)
        ]
        np.testing.assert_allclose(*forecasts, rtol=0, atol=1e-5)

    second, states = radar.run_compiled()
    assert second.state == "succeeded", second.why
    assert states["InputFiles"] == "done"  # It looks.
    assert {states[name] for name in ("ClipExampleGen", "StatisticsGen", "Transform", "Trainer")} == {"cached"}

    (tmp_path / "clips/train/more.tfrecord.gz").write_bytes(b"no record")
    third, states = radar.run_compiled()
    assert states["ClipExampleGen"] == "failed", states  # It ran: one more file is another key.
    assert "more.tfrecord.gz" in third.why
