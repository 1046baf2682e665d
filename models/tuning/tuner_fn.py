"""The TFX Tuner's `tuner_fn`: KerasTuner searches settings, each trial trained as the Trainer trains.

What a search has found lies outside artifacts, in a folder of its own: a search that was killed goes on there, and so
does one that is given more trials or more time.

    trials/oracle.json                      which trials there are and what became of them
    trials/trial_3/progress.json            what a trial was evaluated at
    trials/trial_3/state                    its checkpoints, until it has ended
"""

import dataclasses
import hashlib
import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras_tuner import errors
from keras_tuner.engine import base_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from framecast.models.networks import builders
from framecast.models.spec import ModelSpec, TrainSpec, parse_task
from framecast.models.training import distribution, precision, run_fn
from framecast.models.training.input_pipeline import InputPipeline
from framecast.models.tuning import oracle as search_oracle
from framecast.models.tuning import spec as tune_spec
from framecast.models.tuning.spec import TuneSpec
from framecast.schemas.clip_spec import ClipSpec

_PROJECT, _PROGRESS, _STATE = "trials", "progress.json", "state"
# A trial is compared with no fewer others, and not in the first quarter of its steps, while the learning rate rises.
_OTHERS = 3
_EARLIEST = 0.25


class TunerFnResult(NamedTuple):
    """TFX's of this name, without the seconds that it takes to import it.

    Args:
        tuner: What searches.
        fit_kwargs: Arguments of its method `search`.
    """

    tuner: base_tuner.BaseTuner
    fit_kwargs: dict[str, Any]


def tuner_fn(fn_args: Any) -> TunerFnResult:
    """Returns the tuner of a search, where it stopped if it was begun.

    Args:
        fn_args: TFX's FnArgs; `custom_config` holds the sections `clip`, `task`, `model`, `tune` and, as trials have
            it, `train`, the `state` folder and the digests `code` and `builder`.

    Raises:
        ValueError: When a split holds no clip that is long enough, or a model cannot be built.
    """
    strategy = distribution.from_environment()
    settings = fn_args.custom_config
    train_files, val_files = run_fn.list_files(fn_args.train_files), run_fn.list_files(fn_args.eval_files)
    trials = Trials(strategy, settings, train_files, val_files)
    run_fn.survey(trials.pipeline, train_files, val_files, {})
    folder = os.path.join(settings["state"], _search_digest(settings, train_files))
    return TunerFnResult(tuner=TrialTuner(trials, folder), fit_kwargs={})


class Trials:
    """How trials are trained: as the Trainer trains, but all of them evaluated on the same batches.

    Args:
        strategy: Where.
        settings: See `tuner_fn`.
        train_files: Transformed clips to learn from.
        val_files: Transformed clips of the val split.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        settings: Mapping[str, Any],
        train_files: list[str],
        val_files: list[str],
    ):
        self.spec = TuneSpec.model_validate(settings["tune"])
        self._strategy = strategy
        self._sections = {"train": settings["train"], "model": settings["model"]}
        self._train_files = train_files
        clip, task = ClipSpec.model_validate(settings["clip"]), parse_task(settings["task"])
        self.pipeline = InputPipeline(clip, task, TrainSpec.model_validate(self._sections["train"]))
        # Not cropped or batched as a trial is: losses over other pixels would not compare.
        self._val_dataset = self.pipeline.evaluation(val_files)
        self._check_models()

    @property
    def steps(self) -> int:
        """Optimizer steps of a trial."""
        return self.pipeline.train.steps

    @property
    def seed(self) -> int:
        """Seed of the trainings."""
        return self.pipeline.train.seed

    def train(self, values: dict[str, Any], folder: str, evaluated: Callable[[int, float], None]) -> None:
        """Trains one trial, from its last checkpoint if there is one.

        Args:
            values: What to train with, by setting.
            folder: Where its checkpoints and logs are.
            evaluated: Is told step and val loss of every evaluation; what it raises ends the training.
        """
        train, spec = self._specs(values)
        pipeline = dataclasses.replace(self.pipeline, train=train)
        try:
            run_fn.fit(
                self._strategy,
                run_fn.build_model(self._strategy, spec, pipeline),
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
        sections = tune_spec.with_values(self._sections, values)
        return TrainSpec.model_validate(sections["train"]), ModelSpec.model_validate(sections["model"])

    def _check_models(self) -> None:
        """Builds each model that the space names, so that none is refused after hours of trials."""
        choices = {name: one for name, one in self.spec.space.choices.items() if name.startswith("model.")}
        for name, choice in choices.items():
            for value in choice.extremes:
                train, model = self._specs({name: value})
                builders.build(model, self.pipeline.task, self.pipeline.clip, precision.policy(train.precision))
        if choices:
            keras.backend.clear_session()


@dataclasses.dataclass
class TrialProgress:
    """What is known of a trial besides its values, kept in its folder.

    Args:
        evaluations: Val loss by step.
        seconds: How long it has trained, over all runs of the search.
        why: Why it ended before its last step; empty for one that did not.
    """

    evaluations: dict[int, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    why: str = ""

    @classmethod
    def read(cls, folder: str) -> "TrialProgress":
        """Reads what was written last; nothing is known of a trial that was never evaluated."""
        path = os.path.join(folder, _PROGRESS)
        if not tf.io.gfile.exists(path):
            return cls()
        with tf.io.gfile.GFile(path) as file:
            found = json.loads(file.read())
        return cls(**{**found, "evaluations": {int(step): loss for step, loss in found["evaluations"].items()}})

    def write(self, folder: str) -> None:
        """Replaces what was written."""
        search_oracle.replace_file(os.path.join(folder, _PROGRESS), dataclasses.asdict(self))

    @property
    def best_step(self) -> int | None:
        """The step with the lowest val loss."""
        return min(self.evaluations, key=self.evaluations.__getitem__, default=None)


class TrialStopped(Exception):
    """A trial is not worth going on with."""


def check_median(step: int, own: Mapping[int, float], others: Iterable[Mapping[int, float]]) -> None:
    """Ends a trial that is worse than half of the others were at that step.

    The median stopping rule of Golovin et al. 2017, "Google Vizier", with lowest losses in place of running means: as
    the best trial's is below every median, it is never the one that is stopped.

    Args:
        step: The trial's last evaluation.
        own: Its val losses by step.
        others: Those of other trials; one that did not get to `step` is not compared with.

    Raises:
        TrialStopped: When its lowest val loss is above the median of theirs up to `step`.
    """

    def lowest(losses: Mapping[int, float]) -> float:
        return min(loss for at, loss in losses.items() if at <= step)

    reached = [lowest(losses) for losses in others if step in losses]
    if len(reached) < _OTHERS:
        return
    median = statistics.median(reached)
    if lowest(own) > median:
        raise TrialStopped(
            f"stopped at step {step}: val loss {lowest(own):.4g}, above {median:.4g}, the median of {len(reached)}"
        )


class TrialTuner(base_tuner.BaseTuner):
    """Runs trials one after the other.

    Args:
        trials: How they are trained.
        folder: Where what it finds is kept.
    """

    def __init__(self, trials: Trials, folder: str):
        self._trials = trials
        oracle = search_oracle.make_oracle(trials.spec, trials.seed, self._is_time_up)
        super().__init__(oracle=oracle, directory=folder, project_name=_PROJECT)
        if tf.io.gfile.exists(oracle.path):
            oracle.reload()

    def save(self) -> None:
        """Keeps nothing beside the oracle's file: two files might not fit together after a kill between them."""
        self.oracle.save()

    def search(self, *arguments: Any, **options: Any) -> None:
        """Runs the trials that are left.

        Raises:
            ValueError: When no trial ended with a val loss.
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
        """Trains a trial, and returns its lowest val loss."""
        folder = self.get_trial_dir(trial.trial_id)
        progress = TrialProgress.read(folder)
        started = time.monotonic() - progress.seconds

        def evaluated(step: int, val_loss: float) -> None:
            progress.evaluations[step] = val_loss
            progress.seconds = time.monotonic() - started
            progress.write(folder)
            if self._trials.spec.stop_early and _EARLIEST * self._trials.steps <= step < self._trials.steps:
                check_median(step, progress.evaluations, self._others(trial.trial_id))

        values = tune_spec.read_values(trial.hyperparameters.get_config())
        try:
            self._trials.train(values, os.path.join(folder, _STATE), evaluated)
        except TrialStopped as stopped:
            progress.why = str(stopped)
        except (FloatingPointError, tf.errors.ResourceExhaustedError) as error:
            # Of these values, not of the search: a learning rate too high, a model too large.
            progress.why = str(error).partition("\n")[0]
            raise errors.FailedTrialError(progress.why) from error
        except Exception as error:
            raise _Fatal(error) from error
        finally:
            progress.seconds = time.monotonic() - started
            progress.write(folder)
        assert progress.best_step is not None
        return {search_oracle.OBJECTIVE: progress.evaluations[progress.best_step]}

    def on_trial_end(self, trial: Trial) -> None:
        """Records what became of a trial, and only then removes its checkpoints."""
        super().on_trial_end(trial)
        self._remove_checkpoints()

    def records(self) -> list[dict[str, Any]]:
        """Returns each trial in the order of their beginning, as plain JSON.

        `trial` (its number, from 1), `values` by setting, `val_loss` (the lowest; None of a failed one), `step` (where
        that was), `steps` (how many it took), `status` (`finished`, `stopped` or `failed`), `why` (it did not finish),
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
                    "values": tune_spec.read_values(one.hyperparameters.get_config()),
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
    """An error that ends the search, since the next trial would fail as well."""

    def __init__(self, error: Exception):
        super().__init__(str(error))
        self.error = error


def _search_digest(settings: Mapping[str, Any], files: list[str]) -> str:
    """Names a search by everything that decides its trials; how many there are and how long they take does not."""
    tune = {key: value for key, value in settings["tune"].items() if key not in ("trials", "minutes")}
    sections = {key: value for key, value in settings.items() if key not in ("state", "component")}
    return hashlib.sha256(json.dumps([{**sections, "tune": tune}, files], sort_keys=True).encode()).hexdigest()[:16]
