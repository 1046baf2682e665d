"""The notes of components, from artifacts of TFX's own types."""

import json

import pytest
from tfx.types import standard_artifacts

from framecast.models.training import summary as training_summary
from framecast.pipeline.runs.component_notes import describe
from tests.artifacts import stored_artifact


@pytest.mark.parametrize(
    ("properties", "note"),
    [
        ({"pushed": 1, "pushed_version": "7"}, "version 7"),
        ({"pushed": 0, "reason": "rejected"}, "not pushed: rejected"),
    ],
)
def test_pusher_note_has_version_or_reason(properties, note):
    outputs = {"pushed_model": stored_artifact(standard_artifacts.PushedModel, **properties)}
    assert describe("Pusher", outputs, None, "forecast") == note


def test_trainer_note_has_precision_loss_and_padding(tmp_path):
    train = {"padding_share": 0.125, "bytes_per_pixel": 1.0}
    summary = {
        "start": "cold start",
        "precision": "float32",
        "best": {"val_loss": 0.25, "metric": {"csi_2": 0.5}},
        "train": train,
    }
    (tmp_path / training_summary.FILE).write_text(
        json.dumps({**summary, "warning": "the model depends on later frames"})
    )
    run = standard_artifacts.ModelRun()
    run.uri = str(tmp_path)
    assert describe("Trainer", {"model_run": run.mlmd_artifact}, None, "forecast") == (
        "cold start, trained in float32, val loss 0.25000, val csi_2 0.50000, padded frames 12.5 %, "
        "1.00 bytes per pixel; the model depends on later frames"
    )


def test_component_without_note_is_empty():
    assert describe("SchemaGen", {}, None, "forecast") == ""
