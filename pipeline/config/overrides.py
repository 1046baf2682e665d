"""Applies `--set KEY=VALUE` to the values of a configuration file.

values = {"train": {"steps": 2000}}
apply_override(values, parse_override("train.steps=500"), Config)  # {"train": {"steps": 500}}
"""

import glob
import os
import pathlib
import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import pydantic
import yaml

_PATTERNS = (("data", "train"), ("data", "eval"), ("infer", "data"))
_FOLDERS = (("push", "directory"), ("infer", "to"), ("train", "init_from"))


class Override(NamedTuple):
    """A value for one key.

    Args:
        text: `KEY=VALUE` as typed.
        keys: The parts of the key, outermost first.
        value: The YAML value.
    """

    text: str
    keys: tuple[str, ...]
    value: Any


def parse_override(text: str) -> Override:
    """Parses `KEY=VALUE`, such as `train.steps=500`. Relative paths are resolved against the current folder.

    Raises:
        ValueError: If there is no key or no value, a part of the key is empty, or the value is not YAML.
    """
    key, _, value = text.partition("=")
    keys = tuple(key.split("."))
    if not value or not all(keys):
        raise ValueError(f"--set {text}: expected KEY=VALUE, such as train.steps=500 or tune=null")
    try:
        loaded = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(f"--set {text}: expected a YAML value, received {value}") from error
    nested = loaded
    for part in reversed(keys):
        nested = {part: nested}
    resolve_paths(nested, pathlib.Path.cwd())
    for part in keys:
        nested = nested[part]
    return Override(text, keys, nested)


def apply_override(values: dict[str, Any], override: Override, model: type[pydantic.BaseModel]) -> None:
    """Sets one key, in place. A mapping replaces the whole value of the key.

    `null` is set where the key accepts it. Elsewhere it removes the key, so that the default applies.

    Args:
        values: Values of the configuration, changed.
        override: The key and its value.
        model: The model of the configuration, which decides where `null` is a value.

    Raises:
        ValueError: If the key is below a value that is no mapping, or `null` removes an entry that does not exist.
    """
    *parents, last = keys = _matched(override.keys, values)
    place = values
    for depth, part in enumerate(parents, 1):
        if place.get(part) is None:
            place[part] = {}
        if not isinstance(place[part], dict):
            parent = ".".join(map(str, keys[:depth]))
            raise ValueError(f"--set {override.text}: expected a section at {parent}, received {place[part]!r}")
        place = place[part]
    names = tuple(map(str, keys))
    if override.value is not None or _accepts_null(model, names):
        place[last] = override.value
    elif last in place or _is_field(model, names):
        place.pop(last, None)
    else:
        existing = ", ".join(map(str, place)) or "none"
        raise ValueError(f"--set {override.text}: expected a key to remove ({existing}), received {last}")


def resolve_paths(values: dict[str, Any], folder: pathlib.Path) -> None:
    """Makes the relative paths of a configuration absolute, in place; brackets in the folder's name are no wildcards.

    Args:
        values: Values of the configuration, changed.
        folder: The folder that the paths are relative to.
    """
    for base, keys in ((glob.escape(str(folder)), _PATTERNS), (str(folder), _FOLDERS)):
        for section, key in keys:
            part = values.get(section)
            if isinstance(part, dict) and isinstance(part.get(key), str) and "://" not in part[key]:
                part[key] = os.path.normpath(os.path.join(base, part[key]))
    model = values.get("model")
    if isinstance(model, dict) and "builder" in model:
        model["builder"] = _of_file(model["builder"], folder)
    train = values.get("train")
    if isinstance(train, dict) and isinstance(train.get("loss"), dict):
        train["loss"] = {_of_file(name, folder): weight for name, weight in train["loss"].items()}
    elif isinstance(train, dict) and "loss" in train:
        train["loss"] = _of_file(train["loss"], folder)


def _of_file(reference: Any, folder: pathlib.Path) -> Any:
    """Makes the file of `file.py:function` absolute; returns any other value unchanged."""
    return os.path.normpath(folder / reference) if isinstance(reference, str) and ".py:" in reference else reference


def _matched(parts: tuple[str, ...], values: Any) -> list[Any]:
    """Returns the keys that the parts of a dotted key name.

    Existing keys win, because they may contain dots (`csi_0.5`) and YAML reads some, such as clip lengths, as numbers.
    """
    keys: list[Any] = []
    while parts:
        by_name = {str(key): key for key in values} if isinstance(values, dict) else {}
        lengths = range(len(parts), 0, -1)
        taken = next((length for length in lengths if ".".join(parts[:length]) in by_name), 1)
        name, parts = ".".join(parts[:taken]), parts[taken:]
        keys.append(by_name.get(name, name))
        values = values.get(keys[-1]) if isinstance(values, dict) else None
    return keys


def _accepts_null(model: type[pydantic.BaseModel], keys: Iterable[str]) -> bool:
    """Returns whether the model accepts None at a key; True for unknown keys, which the model itself rejects."""
    accepted = _types_at(model, keys)
    return not accepted or type(None) in accepted


def _is_field(model: type[pydantic.BaseModel], keys: tuple[str, ...]) -> bool:
    """Returns whether a key is a field of a section, not an entry of a mapping such as `evaluate.thresholds`."""
    return any(_is_section(parent) and keys[-1] in parent.model_fields for parent in _types_at(model, keys[:-1]))


def _types_at(model: type[pydantic.BaseModel], keys: Iterable[str]) -> list[Any]:
    """Returns the types that a model accepts at a key; none if it has no such key."""
    found: list[Any] = [model]
    for key in keys:
        found = [accepted for parent in found for accepted in _types_below(parent, key)]
    return found


def _types_below(parent: Any, key: str) -> Iterator[Any]:
    if _is_section(parent) and key in parent.model_fields:
        yield from _alternatives(parent.model_fields[key].annotation)
    elif get_origin(parent) is dict:
        yield from _alternatives(get_args(parent)[1])


def _alternatives(annotation: Any) -> Iterator[Any]:
    """Yields the members of a union, without annotations."""
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _alternatives(member)
    else:
        yield annotation


def _is_section(accepted: Any) -> bool:
    return isinstance(accepted, type) and issubclass(accepted, pydantic.BaseModel)
