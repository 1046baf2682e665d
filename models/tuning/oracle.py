"""What decides the values of a search's trials: KerasTuner's oracles, whose state is whole after any kill."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner
import tensorflow as tf
from keras_tuner import oracles
from keras_tuner.engine.trial import Trial, TrialStatus

from framecast.models.tuning import spec as tune_spec
from framecast.models.tuning.spec import Choice, TuneSpec

OBJECTIVE = "val_loss"

_FILE = "oracle.json"
# What is drawn again before a space counts as exhausted.
_COLLISIONS = 1000


class KeptOracle(keras_tuner.Oracle):
    """Keeps all it knows in one file that is replaced at once.

    KerasTuner's own keep trials and the list of them in several files, which do not fit together after a kill between
    two writes: a trial that only one of them knows would never be run, or be run twice.
    """

    is_time_up: Callable[[], bool]
    ongoing_trials: dict[str, Trial]

    @property
    def path(self) -> str:
        """The file."""
        return os.path.join(self._project_dir, _FILE)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Returns the values of a new trial, which no other has, or that there shall be none."""
        if self.is_time_up():
            return {"status": TrialStatus.STOPPED, "values": None}
        found = super().populate_space(trial_id)
        if found["values"] is not None and self._duplicate(found["values"]):
            # Among a few values the best expectation may be what is known already.
            values = self._random_values()
            found = {"status": TrialStatus.STOPPED if values is None else found["status"], "values": values}
        return found

    def get_state(self) -> dict[str, Any]:
        """Returns what is kept: KerasTuner's state, and the trials."""
        return {**super().get_state(), "trials": [one.get_state() for one in self.trials.values()]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes what was kept; a trial that was running is the next to run."""
        self.trials = {one["trial_id"]: Trial.from_state(one) for one in state["trials"]}
        super().set_state(state)
        self._retry_queue += [one.trial_id for one in self.ongoing_trials.values()]
        self.ongoing_trials = {}

    def save(self) -> None:
        """Replaces the file."""
        replace_file(self.path, self.get_state())

    def reload(self) -> None:
        """Reads the file."""
        with tf.io.gfile.GFile(self.path) as file:
            self.set_state(json.loads(file.read()))

    def _save_trial(self, trial: Trial) -> None:
        """Leaves it to `save`, which always follows."""


class _RandomOracle(KeptOracle, oracles.RandomSearchOracle):
    pass


class _BayesianOracle(KeptOracle, oracles.BayesianOptimizationOracle):
    pass


def make_oracle(spec: TuneSpec, seed: int, is_time_up: Callable[[], bool]) -> KeptOracle:
    """Returns the oracle of a search.

    Args:
        spec: What is searched, how and how long.
        seed: Seed of what is drawn, from 0.
        is_time_up: Whether no trial shall begin any more.
    """
    options: dict[str, Any] = {
        "objective": keras_tuner.Objective(OBJECTIVE, "min"),
        "max_trials": spec.trials or tune_spec.MOST_TRIALS,
        "hyperparameters": _hyperparameters(spec.space.choices),
        "seed": seed + 1,  # It takes 0 for none.
        "max_consecutive_failed_trials": tune_spec.MOST_TRIALS,
    }
    oracle: KeptOracle
    if spec.algorithm == "random":
        oracle = _RandomOracle(**options)
    else:
        dimensions = len(spec.space.choices)
        oracle = _BayesianOracle(**options, num_initial_points=_initial_points(spec.trials, dimensions))
    oracle.is_time_up = is_time_up
    oracle._max_collisions = _COLLISIONS
    return oracle


def _initial_points(trials: int | None, dimensions: int) -> int:
    """Returns how many trials are random before a Gaussian process is asked: KerasTuner's 3 a setting, or a third."""
    return min(3 * dimensions, max(3, (trials or tune_spec.MOST_TRIALS) // 3))


def _hyperparameters(choices: Mapping[str, Choice]) -> keras_tuner.HyperParameters:
    found = keras_tuner.HyperParameters()
    for name, choice in choices.items():
        if choice.values is not None:
            found.Choice(name, tune_spec.as_hyperparameter(choice.values))
        else:
            whole = isinstance(choice.min, int) and isinstance(choice.max, int)
            add = found.Int if whole else found.Float
            add(name, min_value=choice.min, max_value=choice.max, sampling=choice.sampling)
    return found


def replace_file(path: str, value: dict[str, Any]) -> None:
    """Writes JSON in place of what is there; after a kill there is one or the other."""
    beside = f"{path}.part"
    with tf.io.gfile.GFile(beside, "w") as file:
        file.write(json.dumps(value))
    tf.io.gfile.rename(beside, path, overwrite=True)
