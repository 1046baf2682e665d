"""TrainerExecutor: the number of steps."""

import json

import pytest
from tfx.components.trainer import executor as tfx_executor

from framecast.components import trainer


@pytest.mark.parametrize(("given", "steps"), [({}, 100), ({"train_steps": 7}, 7), ({"train_steps": 7.0}, 7)])
def test_run_can_replace_the_number_of_steps(monkeypatch, given, steps):
    received = {}
    monkeypatch.setattr(tfx_executor.GenericExecutor, "Do", lambda self, inputs, outputs, known: received.update(known))
    properties = {"custom_config": json.dumps({"train": {"steps": 100, "crop": 64}, "code": "a"}), **given}
    trainer.TrainerExecutor().Do({}, {}, properties)
    assert json.loads(received["custom_config"]) == {"train": {"steps": steps, "crop": 64}, "code": "a"}
