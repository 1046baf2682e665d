"""Chooses the values of a search's trials: KerasTuner's oracles, with a state that survives a kill at any moment."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner
import tensorflow as tf
from keras_tuner import oracles
from keras_tuner.engine.trial import Trial, TrialStatus

from framecast.clips import files
from framecast.models import hyperparameters
from framecast.models.tuning.spec import MAX_TRIALS, Choice, TuneSpec

OBJECTIVE = "val_loss"

_FILE = "oracle.json"
# Repeated draws of known values after which a space counts as exhausted.
_MAX_COLLISIONS = 1000


class KeptOracle(keras_tuner.Oracle):
    """Keeps its whole state in one file, which is replaced atomically.

    KerasTuner's oracles keep trials, and the list of trials, in several files, which disagree after a kill between two
    writes: a trial could be run twice or never.
    """

    is_time_up: Callable[[], bool]
    ongoing_trials: dict[str, Trial]

    @property
    def path(self) -> str:
        """The state file."""
        return os.path.join(self._project_dir, _FILE)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Returns values that no other trial has, or the status that ends the search."""
        if self.is_time_up():
            return {"status": TrialStatus.STOPPED, "values": None}
        found = super().populate_space(trial_id)
        if found["values"] is not None and self._duplicate(found["values"]):
            # In a small space, the Gaussian process may choose known values.
            values = self._random_values()
            found = {"status": TrialStatus.STOPPED if values is None else found["status"], "values": values}
        return found

    def get_state(self) -> dict[str, Any]:
        """Returns KerasTuner's state and the trials."""
        return {**super().get_state(), "trials": [one.get_state() for one in self.trials.values()]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores a state; a trial that was running is run next."""
        self.trials = {one["trial_id"]: Trial.from_state(one) for one in state["trials"]}
        super().set_state(state)
        self._retry_queue += [one.trial_id for one in self.ongoing_trials.values()]
        self.ongoing_trials = {}

    def save(self) -> None:
        """Replaces the state file."""
        files.write_whole(self.path, json.dumps(self.get_state()))

    def reload(self) -> None:
        """Reads the state file."""
        with tf.io.gfile.GFile(self.path) as file:
            self.set_state(json.loads(file.read()))

    def _save_trial(self, trial: Trial) -> None:
        """Does nothing, because `save` always follows."""


class _RandomOracle(KeptOracle, oracles.RandomSearchOracle):
    pass


class _BayesianOracle(KeptOracle, oracles.BayesianOptimizationOracle):
    pass


def make_oracle(spec: TuneSpec, seed: int, is_time_up: Callable[[], bool]) -> KeptOracle:
    """Returns the oracle of a search.

    Args:
        spec: Space, algorithm and budget.
        seed: Seed of the draws, from 0.
        is_time_up: Returns whether the time budget is spent, after which no trial starts.
    """
    options: dict[str, Any] = {
        "objective": keras_tuner.Objective(OBJECTIVE, "min"),
        "max_trials": spec.trials or MAX_TRIALS,
        "hyperparameters": _hyperparameters(spec.space.choices),
        "seed": seed + 1,  # KerasTuner takes 0 for no seed.
        "max_consecutive_failed_trials": MAX_TRIALS,
    }
    oracle: KeptOracle
    if spec.algorithm == "random":
        oracle = _RandomOracle(**options)
    else:
        dimensions = len(spec.space.choices)
        oracle = _BayesianOracle(**options, num_initial_points=_initial_points(spec.trials, dimensions))
    oracle.is_time_up = is_time_up
    oracle._max_collisions = _MAX_COLLISIONS
    return oracle


def _initial_points(trials: int | None, dimensions: int) -> int:
    """Returns the number of random trials before the Gaussian process: KerasTuner's 3 per setting, at most a third."""
    return min(3 * dimensions, max(3, (trials or MAX_TRIALS) // 3))


def _hyperparameters(choices: Mapping[str, Choice]) -> keras_tuner.HyperParameters:
    found = keras_tuner.HyperParameters()
    for name, choice in choices.items():
        if choice.values is not None:
            found.Choice(name, hyperparameters.as_choices(choice.values))
        else:
            whole = isinstance(choice.min, int) and isinstance(choice.max, int)
            add = found.Int if whole else found.Float
            add(name, min_value=choice.min, max_value=choice.max, sampling=choice.sampling)
    return found
