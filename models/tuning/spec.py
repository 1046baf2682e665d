"""The `tune` section of the configuration: which settings are searched, and for how long.

    tune: {space: {train: {learning_rate: {min: 0.0001, max: 0.1, sampling: log}}}, trials: 12}

A setting is named by its key in the configuration, such as `train.learning_rate`; values are dictionaries by setting.
Imports no TensorFlow and no Keras.
"""

import itertools
from collections.abc import Iterator
from typing import Any, Literal

import pydantic

from framecast.schemas.section import Section

MAX_TRIALS = 9999
# Fewest evaluations of a trial, so that a bad one can be stopped early.
_MIN_EVALUATIONS = 4


class Choice(Section):
    """The values that one setting may take: a range or a list.

    Args:
        min: Lower end of the range. If `min` and `max` are whole numbers, so are the values.
        max: Upper end of the range.
        sampling: `linear`, or `log`: every order of magnitude between `min` and `max` is equally likely.
        values: The list, in place of a range.
    """

    min: int | float | None = None
    max: int | float | None = None
    sampling: Literal["linear", "log"] = "linear"
    values: tuple[Any, ...] | None = None

    @pydantic.model_validator(mode="after")
    def _check_form(self) -> "Choice":
        if self.values is not None:
            if (self.min, self.max, self.sampling) != (None, None, "linear"):
                raise ValueError("expected either values, or min and max")
            if len(self.values) < 2 or any(value in self.values[:place] for place, value in enumerate(self.values)):
                raise ValueError(f"values: expected at least 2, all different, received {list(self.values)}")
            return self
        if self.min is None or self.max is None:
            raise ValueError("expected either values, or min and max")
        if self.min >= self.max:
            raise ValueError(f"expected max > min, received min {self.min} and max {self.max}")
        if self.sampling == "log" and self.min <= 0:
            raise ValueError(f"min: expected a number above 0 where sampling is log, received {self.min}")
        return self

    @property
    def extremes(self) -> tuple[Any, ...]:
        """The ends of the range, or every value of the list: if these are valid, every trial is."""
        return self.values if self.values is not None else (self.min, self.max)


class TrainSpace(Section):
    """Settings of `train` that can be searched: those that leave the val loss and its steps comparable."""

    batch_frames: Choice | None = None
    crop: Choice | None = None
    augment: Choice | None = None
    precision: Choice | None = None
    sampling: Choice | None = None
    learning_rate: Choice | None = None

    @pydantic.field_validator("learning_rate")
    @classmethod
    def _as_floats(cls, choice: Choice | None) -> Choice | None:
        if choice is None or choice.values is not None:
            return choice
        return choice.model_copy(update={"min": float(choice.min or 0), "max": float(choice.max or 0)})


class ModelSpace(Section):
    """Settings of `model` that can be searched.

    Args:
        preset: Names of presets.
        arguments: Choices by the argument's name.
    """

    preset: Choice | None = None
    arguments: dict[str, Choice] = {}


class SpaceSpec(Section):
    """The settings that are searched, under their keys in the configuration."""

    train: TrainSpace = TrainSpace()
    model: ModelSpace = ModelSpace()

    @property
    def choices(self) -> dict[str, Choice]:
        """The choices by setting, such as `train.learning_rate` and `model.arguments.filters`."""
        found = {f"train.{key}": getattr(self.train, key) for key in TrainSpace.model_fields}
        found["model.preset"] = self.model.preset
        found.update({f"model.arguments.{key}": choice for key, choice in self.model.arguments.items()})
        return {name: choice for name, choice in found.items() if choice is not None}

    def corners(self) -> Iterator[dict[str, Any]]:
        """Yields the extremes of every pair of settings, because an error depends on at most two settings."""
        choices = self.choices
        for names in itertools.combinations(choices, min(2, len(choices))):
            for values in itertools.product(*(choices[name].extremes for name in names)):
                yield dict(zip(names, values))

    @pydantic.model_validator(mode="after")
    def _check_choices(self) -> "SpaceSpec":
        if not self.choices:
            raise ValueError("expected settings of train or model, received none")
        return self


class TuneSpec(Section):
    """A search for the settings with the lowest val loss, before the training that uses them.

    Args:
        space: The settings that are searched.
        trials: Most trials; fewer if `space` has fewer combinations.
        minutes: Time budget: no trial starts after the trials so far took this long together.
        steps: Optimizer steps of a trial, one whole cycle of the learning rate; by default `train.steps`.
        algorithm: `random`, or `bayesian`: after some random trials, a Gaussian process over the val losses chooses.
        stop_early: Whether a trial ends at an evaluation where its lowest val loss is above the median of what other
            trials had reached by that step.
    """

    space: SpaceSpec
    trials: int | None = pydantic.Field(default=None, ge=1, le=MAX_TRIALS)
    minutes: float | None = pydantic.Field(default=None, gt=0)
    steps: int | None = pydantic.Field(default=None, ge=1)
    algorithm: Literal["random", "bayesian"] = "bayesian"
    stop_early: bool = True

    @pydantic.model_validator(mode="after")
    def _check_budget(self) -> "TuneSpec":
        if self.trials is None and self.minutes is None:
            raise ValueError("expected trials, minutes or both, received none")
        return self

    def of_trials(self, train: dict[str, Any]) -> dict[str, Any]:
        """Returns the `train` section of trials, before their own values, from that of the training."""
        steps = self.steps or train["steps"]
        return {**train, "steps": steps, "eval_every": min(train["eval_every"], -(-steps // _MIN_EVALUATIONS))}
