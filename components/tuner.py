"""Runs TFX's Tuner and writes a record of every trial, including stopped and failed ones."""

import json
import os
from typing import Any

from tfx.components.tuner import component, executor
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_component_specs

TRIALS = "trials.json"  # In the artifact tuner_results, beside TFX's file.


class TunerExecutor(executor.Executor):
    """Searches hyperparameters; writes the best ones and all trials."""

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict[str, Any]) -> None:
        """Runs the trials that are not finished yet."""
        tuner = executor.search(input_dict, exec_properties, self._get_tmp_dir())
        executor.write_best_hyperparameters(tuner, output_dict)
        results = artifact_utils.get_single_uri(output_dict[standard_component_specs.TUNER_RESULTS_KEY])
        with fileio.open(os.path.join(results, TRIALS), "w") as file:
            file.write(json.dumps(tuner.records()))


class Tuner(component.Tuner):
    """TFX's Tuner with `TunerExecutor`; same arguments, and `tuner_fn` returns a `TrialTuner`."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(TunerExecutor)


def read_trials(folder: str) -> list[dict[str, Any]]:
    """Reads the trials from an artifact tuner_results."""
    with fileio.open(os.path.join(folder, TRIALS)) as file:
        return json.loads(file.read())


def best_values(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the best trial's values by setting; empty without trials."""
    return next((trial["values"] for trial in trials if trial["best"]), {})
