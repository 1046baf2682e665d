"""The executor of TFX's Trainer, which takes the number of steps from the run when a run gives one."""

import json
from typing import Any

from tfx.components.trainer import executor
from tfx.types import standard_component_specs

STEPS = "train_steps"


class TrainerExecutor(executor.GenericExecutor):
    """Trains for `train_steps`, an execution property, in place of `train.steps` of the configuration."""

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict[str, Any]) -> None:
        """Trains and exports."""
        if STEPS in exec_properties:
            custom = json.loads(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
            custom["train"]["steps"] = int(exec_properties[STEPS])
            exec_properties = {**exec_properties, standard_component_specs.CUSTOM_CONFIG_KEY: json.dumps(custom)}
        super().Do(input_dict, output_dict, exec_properties)
