"""Sets and serialises the settings that a Tuner searches; a setting is a key in the configuration.

    with_values({"train": {"steps": 100}}, {"train.steps": 200})  # {"train": {"steps": 200}}

Imports no TensorFlow and no Keras.
"""

import json
from typing import Any


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


def as_choices(values: tuple[Any, ...]) -> list[Any]:
    """Returns values as KerasTuner accepts choices: numbers of one type unchanged, all others as JSON."""
    if {type(value) for value in values} in ({int}, {float}):
        return list(values)
    return [json.dumps(value) for value in values]


def read_values(hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """Returns the value of each setting from the configuration of KerasTuner's `HyperParameters`."""
    return {
        name: json.loads(value) if isinstance(value, str) else value
        for name, value in hyperparameters["values"].items()
    }
