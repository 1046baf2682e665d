"""A training job of two workers on loopback equals the Trainer of a pipeline."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tfx.orchestration import metadata

from framecast.clips.demo.moving_digits import make_demo
from framecast.pipeline.config import config as configuration
from framecast.pipeline.runs import run as runs

_CONFIG = """
data: {{train: "{folder}/clips/train/*", eval: "{folder}/clips/eval/*"}}
clip: {{frames: {{min: 8, max: 24}}}}
task: {{horizon: 5, context: {{min: 4}}}}
model: {{preset: convlstm-tiny}}
train: {{steps: 20, batch_frames: 96, eval_every: 10, sampling: scheduled, augment: [flip, subclip]}}
push: {{directory: {folder}/serving}}
"""


def trainers_parameter(workdir):
    """Returns the `custom_config` of the pipeline's Trainer."""
    connection = metadata.sqlite_metadata_connection_config(str(workdir / "metadata.sqlite"))
    with metadata.Metadata(connection) as handle:
        (execution,) = handle.store.get_executions_by_type("tfx.components.trainer.component.Trainer")
    return json.loads(execution.custom_properties["custom_config"].string_value)


@pytest.mark.slow
def test_two_workers_export_the_trainers_model(tmp_path):
    make_demo(tmp_path / "clips", clips=42, seed=3, size=32)
    (tmp_path / "config.yaml").write_text(_CONFIG.format(folder=tmp_path))
    workdir = tmp_path / "work"
    result = runs.run(configuration.load(str(tmp_path / "config.yaml")), str(workdir), to_node="Trainer", quiet=True)
    assert result.verdict == "unchanged", result.why
    path = tmp_path / "custom_config.json"
    path.write_text(json.dumps({**trainers_parameter(workdir), "state": str(tmp_path / "state")}))

    def output(component, name):
        (folder,) = (workdir / "artifacts" / component / name).iterdir()
        return folder

    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{own.getsockname()[1]}" for own in sockets]
    for own in sockets:
        own.close()
    jobs = []
    for kind in ("chief", "worker"):
        config = {"cluster": {"chief": addresses[:1], "worker": addresses[1:]}, "task": {"type": kind, "index": 0}}
        command = [sys.executable, "-W", "ignore", "-m", "framecast.models.training.train_job"]
        command += ["--examples", output("Transform", "transformed_examples")]
        command += ["--transform-graph", output("Transform", "transform_graph")]
        command += ["--custom-config", path, "--output", tmp_path / "trained"]
        jobs.append(subprocess.Popen(command, env={**os.environ, "TF_CONFIG": json.dumps(config)}))
    try:
        assert [job.wait(timeout=400) for job in jobs] == [0, 0]
    finally:
        for job in jobs:
            job.kill()

    ours, theirs = tmp_path / "trained" / "model", output("Trainer", "model")
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 32, 32, 1), np.uint8)
    answers = []
    for folder in (ours, theirs):
        model = tf.saved_model.load(str(folder / "Format-Serving"))
        answers.append(model.signatures["serving_default"](frames=frames, length=tf.constant([8, 6]))["forecast"])
    np.testing.assert_allclose(*answers, atol=1e-5)
    for name in ("assets.extra/framecast.json", "assets.extra/tf_serving_warmup_requests"):
        assert (ours / "Format-Serving" / name).exists()
    assert (tmp_path / "trained" / "model_run" / "training.json").exists()
