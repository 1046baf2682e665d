"""Runs TFX's Trainer with a number of steps that a run may replace."""

import json
from typing import Any

from tfx.components.trainer import executor
from tfx.types import standard_component_specs

STEPS = "train_steps"  # Execution property: replaces `train.steps`.


class TrainerExecutor(executor.GenericExecutor):
    """Trains for `train_steps`, if the run sets this execution property, instead of `train.steps`."""

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict[str, Any]) -> None:
        """Trains and exports."""
        if STEPS in exec_properties:
            custom = json.loads(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
            custom["train"]["steps"] = int(exec_properties[STEPS])
            exec_properties = {**exec_properties, standard_component_specs.CUSTOM_CONFIG_KEY: json.dumps(custom)}
        super().Do(input_dict, output_dict, exec_properties)
