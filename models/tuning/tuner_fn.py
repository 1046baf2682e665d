"""Searches settings with KerasTuner, each trial trained as the Trainer trains: the TFX Tuner's `tuner_fn`.

The state of a search is in a folder outside TFX's artifacts, so that a killed search resumes, and a search with more
trials or more time continues:

    trials/oracle.json                      the trials and their results
    trials/trial_3/progress.json            the evaluations of a trial
    trials/trial_3/state                    its checkpoints, until it ends
"""

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras_tuner import errors
from keras_tuner.engine import base_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from framecast.models import hyperparameters
from framecast.models.networks import builders
from framecast.models.spec import ModelSpec, TrainSpec
from framecast.models.training import distribution, precision, survey, train_model
from framecast.models.training.input_pipeline import SplitFiles
from framecast.models.training.run_fn import make_pipeline
from framecast.models.tuning.oracle import OBJECTIVE, make_oracle
from framecast.models.tuning.spec import TuneSpec
from framecast.models.tuning.trial_progress import TrialProgress, TrialStopped, check_median

_PROJECT, _STATE = "trials", "state"
# Share of a trial's steps before which it is not stopped, because the learning rate still rises.
_EARLIEST_STOP = 0.25


class TunerFnResult(NamedTuple):
    """Copies TFX's class of this name, because importing TFX takes seconds.

    Args:
        tuner: Runs the search.
        fit_kwargs: Arguments of its method `search`.
    """

    tuner: base_tuner.BaseTuner
    fit_kwargs: dict[str, Any]


def tuner_fn(fn_args: Any) -> TunerFnResult:
    """Returns the tuner of a search, which resumes a search with the same settings and files.

    Args:
        fn_args: TFX's FnArgs; `custom_config` holds the sections `clip`, `task`, `model`, `tune` and `train` (of
            trials), the `state` folder and the digests `code` and `builder`.

    Raises:
        ValueError: If no clip of a split is long enough for the task, or a model cannot be built.
    """
    strategy = distribution.from_environment()
    settings = fn_args.custom_config
    files = SplitFiles.match(fn_args.train_files, fn_args.eval_files)
    trials = Trials(strategy, settings, files)
    survey.survey_splits(trials.pipeline, files)
    folder = os.path.join(settings["state"], _search_digest(settings, files.digests()))
    return TunerFnResult(tuner=TrialTuner(trials, folder), fit_kwargs={})


class Trials:
    """Trains trials as the Trainer trains, except that all are evaluated on the same batches.

    Args:
        strategy: The replicas.
        settings: See `tuner_fn`.
        files: Transformed clips.
    """

    def __init__(self, strategy: tf.distribute.Strategy, settings: Mapping[str, Any], files: SplitFiles):
        self.spec = TuneSpec.model_validate(settings["tune"])
        self._strategy = strategy
        self._sections = {"train": settings["train"], "model": settings["model"]}
        self._train_files = files.train
        self.pipeline = make_pipeline(dict(settings))
        # Batched and cropped by the search's `train` section, not by a trial's values, so that val losses compare.
        self._val_dataset = self.pipeline.evaluation(files.val)
        self._check_models()

    @property
    def steps(self) -> int:
        """Optimizer steps of a trial."""
        return self.pipeline.train.steps

    @property
    def seed(self) -> int:
        """Seed of every trial."""
        return self.pipeline.train.seed

    def train(self, values: dict[str, Any], folder: str, evaluated: Callable[[int, float], None]) -> None:
        """Trains one trial, from its last checkpoint if there is one.

        Args:
            values: Values by setting.
            folder: Folder of the checkpoints and logs.
            evaluated: Called with the step and val loss of every evaluation; an error in it ends the training.
        """
        train, spec = self._specs(values)
        pipeline = dataclasses.replace(self.pipeline, train=train)
        try:
            model, _ = train_model.build_model(self._strategy, spec, pipeline, self._train_files)
            train_model.fit_model(
                self._strategy,
                model,
                pipeline,
                self._train_files,
                self._val_dataset,
                state_dir=folder,
                log_dir=folder,
                evaluated=evaluated,
            )
        finally:
            keras.backend.clear_session()

    def _specs(self, values: dict[str, Any]) -> tuple[TrainSpec, ModelSpec]:
        sections = hyperparameters.with_values(self._sections, values)
        return TrainSpec.model_validate(sections["train"]), ModelSpec.model_validate(sections["model"])

    def _check_models(self) -> None:
        """Builds each model of the space, so that an invalid one is reported before hours of trials."""
        choices = {name: one for name, one in self.spec.space.choices.items() if name.startswith("model.")}
        for name, choice in choices.items():
            for value in choice.extremes:
                train, model = self._specs({name: value})
                builders.build(model, self.pipeline.task, self.pipeline.clip, precision.policy(train.precision))
        if choices:
            keras.backend.clear_session()


class TrialTuner(base_tuner.BaseTuner):
    """Runs trials one after the other.

    Args:
        trials: Trains them.
        folder: Folder of the search's state.
    """

    def __init__(self, trials: Trials, folder: str):
        self._trials = trials
        oracle = make_oracle(trials.spec, trials.seed, self._is_time_up)
        super().__init__(oracle=oracle, directory=folder, project_name=_PROJECT)
        if tf.io.gfile.exists(oracle.path):
            oracle.reload()

    def save(self) -> None:
        """Saves the oracle's file only, because two files could disagree after a kill between them."""
        self.oracle.save()

    def search(self, *arguments: Any, **options: Any) -> None:
        """Runs the remaining trials.

        Raises:
            ValueError: If no trial ended with a finite val loss.
        """
        try:
            super().search(*arguments, **options)
        except _Fatal as error:
            raise error.error from None
        self._remove_checkpoints()
        if not any(record["best"] for record in self.records()):
            reasons = "; ".join(f"trial {record['trial']}: {record['why']}" for record in self.records())
            raise ValueError(f"tune: expected a trial with a finite val loss, received none: {reasons}")

    def run_trial(self, trial: Trial) -> dict[str, float]:
        """Trains a trial and returns its lowest val loss."""
        folder = self.get_trial_dir(trial.trial_id)
        progress = TrialProgress.read(folder)
        started = time.monotonic() - progress.seconds

        def evaluated(step: int, val_loss: float) -> None:
            progress.evaluations[step] = val_loss
            progress.seconds = time.monotonic() - started
            progress.write(folder)
            if self._trials.spec.stop_early and _EARLIEST_STOP * self._trials.steps <= step < self._trials.steps:
                check_median(step, progress.evaluations, self._others(trial.trial_id))

        values = hyperparameters.read_values(trial.hyperparameters.get_config())
        try:
            self._trials.train(values, os.path.join(folder, _STATE), evaluated)
        except TrialStopped as stopped:
            progress.why = str(stopped)
        except (FloatingPointError, tf.errors.ResourceExhaustedError) as error:
            # Only these values fail: the learning rate is too high, or the model too large.
            progress.why = str(error).partition("\n")[0]
            raise errors.FailedTrialError(progress.why) from error
        except Exception as error:
            raise _Fatal(error) from error
        finally:
            progress.seconds = time.monotonic() - started
            progress.write(folder)
        assert progress.best_step is not None
        return {OBJECTIVE: progress.evaluations[progress.best_step]}

    def on_trial_end(self, trial: Trial) -> None:
        """Records the result of a trial, and only then removes its checkpoints."""
        super().on_trial_end(trial)
        self._remove_checkpoints()

    def records(self) -> list[dict[str, Any]]:
        """Returns the trials in the order of their start, as plain JSON.

        Each has `trial` (number, from 1), `values` (by setting), `val_loss` (the lowest; None if it failed), `step` (of
        the lowest), `steps` (taken), `status` (`finished`, `stopped` or `failed`), `why` (reason if not finished),
        `seconds` and `best`.
        """
        found = []
        (best,) = self.oracle.get_best_trials(1) or (None,)
        for one in map(self.oracle.trials.__getitem__, self.oracle.start_order):
            progress = TrialProgress.read(self.get_trial_dir(one.trial_id))
            completed = one.status == TrialStatus.COMPLETED
            found.append(
                {
                    "trial": int(one.trial_id) + 1,
                    "values": hyperparameters.read_values(one.hyperparameters.get_config()),
                    "val_loss": float(one.score) if completed else None,
                    "step": progress.best_step,
                    "steps": max(progress.evaluations, default=0),
                    "status": "failed" if not completed else "stopped" if progress.why else "finished",
                    "why": progress.why,
                    "seconds": round(progress.seconds, 1),
                    "best": completed and one is best,
                }
            )
        return found

    def _others(self, trial_id: str) -> list[dict[int, float]]:
        others = (other for other in self.oracle.trials if other != trial_id)
        return [TrialProgress.read(self.get_trial_dir(other)).evaluations for other in others]

    def _is_time_up(self) -> bool:
        minutes = self._trials.spec.minutes
        if minutes is None:
            return False
        spent = sum(TrialProgress.read(self.get_trial_dir(trial_id)).seconds for trial_id in self.oracle.trials)
        return spent >= 60 * minutes

    def _remove_checkpoints(self) -> None:
        for trial_id in self.oracle.end_order:
            state = os.path.join(self.get_trial_dir(trial_id), _STATE)
            if tf.io.gfile.exists(state):
                tf.io.gfile.rmtree(state)


class _Fatal(errors.FatalError):
    """An error that ends the search, because the next trial would fail too."""

    def __init__(self, error: Exception):
        super().__init__(str(error))
        self.error = error


def _search_digest(settings: Mapping[str, Any], clips: Mapping[str, str]) -> str:
    """Names a search by everything that decides its trials, except their number and the time budget."""
    tune = {key: value for key, value in settings["tune"].items() if key not in ("trials", "minutes")}
    sections = {key: value for key, value in settings.items() if key not in ("state", "component")}
    return hashlib.sha256(json.dumps([{**sections, "tune": tune}, clips], sort_keys=True).encode()).hexdigest()[:16]
