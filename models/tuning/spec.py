"""The `tune` section of the configuration: settings to be searched, and how long.

    tune: {space: {train: {learning_rate: {min: 0.0001, max: 0.1, sampling: log}}}, trials: 12}

A setting is named by its key in the configuration, `train.learning_rate`; values are dictionaries by such names.
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any, Literal

import pydantic

from framecast.schemas.section import Section

# Trials at most, whatever the budget.
MOST_TRIALS = 9999
# A trial is evaluated at least so often, so that a bad one is known before its end.
_EVALUATIONS = 4


class Choice(Section):
    """What trials may give one setting.

    Args:
        min: The least; a whole number together with `max` means whole numbers between them.
        max: The most.
        sampling: `log`: each order of magnitude between `min` and `max` is as likely as another.
        values: In place of a range: what there is to choose from.
    """

    min: int | float | None = None
    max: int | float | None = None
    sampling: Literal["linear", "log"] = "linear"
    values: tuple[Any, ...] | None = None

    @pydantic.model_validator(mode="after")
    def _one_form(self) -> "Choice":
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
        """What a configuration must accept for every trial to be valid: the ends of a range, or each value."""
        return self.values if self.values is not None else (self.min, self.max)


class TrainSpace(Section):
    """Settings of `train` that may be searched: those that decide neither what a val loss means nor its time."""

    batch_frames: Choice | None = None
    crop: Choice | None = None
    augment: Choice | None = None
    precision: Choice | None = None
    sampling: Choice | None = None
    learning_rate: Choice | None = None

    @pydantic.field_validator("learning_rate")
    @classmethod
    def _fractions(cls, choice: Choice | None) -> Choice | None:
        if choice is None or choice.values is not None:
            return choice
        return choice.model_copy(update={"min": float(choice.min or 0), "max": float(choice.max or 0)})


class ModelSpace(Section):
    """Settings of `model` that may be searched; `arguments` by name."""

    preset: Choice | None = None
    arguments: dict[str, Choice] = {}


class SpaceSpec(Section):
    """The settings that are searched, where they stand in the configuration."""

    train: TrainSpace = TrainSpace()
    model: ModelSpace = ModelSpace()

    @property
    def choices(self) -> dict[str, Choice]:
        """The settings by name, such as `train.learning_rate` and `model.arguments.filters`."""
        found = {f"train.{key}": getattr(self.train, key) for key in TrainSpace.model_fields}
        found["model.preset"] = self.model.preset
        found.update({f"model.arguments.{key}": choice for key, choice in self.model.arguments.items()})
        return {name: choice for name, choice in found.items() if choice is not None}

    def corners(self) -> Iterator[dict[str, Any]]:
        """Yields every pair of settings' extreme values; what is wrong with a configuration is so with one or two."""
        choices = self.choices
        for names in itertools.combinations(choices, min(2, len(choices))):
            for values in itertools.product(*(choices[name].extremes for name in names)):
                yield dict(zip(names, values))

    @pydantic.model_validator(mode="after")
    def _something(self) -> "SpaceSpec":
        if not self.choices:
            raise ValueError("expected settings of train or model, received none")
        return self


class TuneSpec(Section):
    """A search for the settings with the lowest val loss, before the training that uses them.

    Args:
        space: What is searched.
        trials: How many trainings there are at most; fewer where `space` holds no more.
        minutes: No trial begins when those before it took so long together.
        steps: Optimizer steps of a trial, one whole cycle of the learning rate; as many as `train.steps` unless given.
        algorithm: `random`; or `bayesian`: after some random trials, wherever a Gaussian process over the val losses so
            far promises most.
        stop_early: Whether a trial ends at an evaluation where its lowest val loss is above the median of those that
            other trials had reached by then.
    """

    space: SpaceSpec
    trials: int | None = pydantic.Field(default=None, ge=1, le=MOST_TRIALS)
    minutes: float | None = pydantic.Field(default=None, gt=0)
    steps: int | None = pydantic.Field(default=None, ge=1)
    algorithm: Literal["random", "bayesian"] = "bayesian"
    stop_early: bool = True

    @pydantic.model_validator(mode="after")
    def _bounded(self) -> "TuneSpec":
        if self.trials is None and self.minutes is None:
            raise ValueError("expected trials, minutes or both, received none")
        return self

    def of_trials(self, train: dict[str, Any]) -> dict[str, Any]:
        """Returns the values of the `train` section that all trials share, of those that the training itself has."""
        steps = self.steps or train["steps"]
        return {**train, "steps": steps, "eval_every": min(train["eval_every"], -(-steps // _EVALUATIONS))}


def with_values(sections: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Returns sections of a configuration with some settings replaced.

    Args:
        sections: Plain values, by section and key.
        values: By setting, such as `{"train.learning_rate": 0.01}`.
    """
    replaced = dict(sections)
    for name, value in values.items():
        key, _, rest = name.partition(".")
        replaced[key] = with_values(replaced.get(key) or {}, {rest: value}) if rest else value
    return replaced


def as_hyperparameter(values: tuple[Any, ...]) -> list[Any]:
    """Returns values as KerasTuner takes a choice: numbers of one type as they are, all others as JSON."""
    if {type(value) for value in values} in ({int}, {float}):
        return list(values)
    return [json.dumps(value) for value in values]


def read_values(hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """Returns the values of settings, by name, from the configuration of KerasTuner's HyperParameters."""
    return {
        name: json.loads(value) if isinstance(value, str) else value
        for name, value in hyperparameters["values"].items()
    }
