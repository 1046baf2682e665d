"""Makes command-line options from the fields of a configuration section.

    @app.command()
    @options_of(ConvertSpec, "spec", panels={"read": "Reading"})
    def convert(to: str, spec: ConvertSpec) -> None: ...

A field becomes `--its-name`, with the field's default and description. A section without a description becomes the
options of its fields; a section with one, such as a frame range, becomes one option that takes all its values.
"""

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import pydantic
import typer

from framecast.pipeline.config.config import ConfigError
from framecast.schemas.section import Section

_Path = tuple[str, ...]


@dataclasses.dataclass
class _Option:
    """One option, and the paths of the fields that take its values in order."""

    name: str
    paths: list[_Path]
    types: list[Any]
    defaults: list[Any]
    help: str
    metavar: str | None
    panel: str | None

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    def parameter(self) -> inspect.Parameter:
        """Returns the parameter of the command's signature."""
        default: Any = self.defaults[0] if len(self.paths) == 1 else tuple(self.defaults)
        value_type = self.types[0] if len(self.paths) == 1 else tuple.__class_getitem__(tuple(self.types))
        if None in self.defaults:
            default, value_type = None, value_type | None
        names = (self.flag,) if default is False else ()  # A switch that is off has no --no- form.
        info = typer.Option(*names, help=self.help, metavar=self.metavar, rich_help_panel=self.panel)
        return inspect.Parameter(
            self.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[value_type, info]
        )


def options_of(
    spec: type[Section],
    parameter: str,
    panels: Mapping[str, str],
    defaults: Section | None = None,
    without: Collection[str] = (),
) -> Callable[..., Callable[..., None]]:
    """Returns a decorator that replaces `parameter` of a command by options for the fields of `spec`.

    Args:
        spec: The section. Its fields may set `option` and `metavar` in `json_schema_extra`; fields with the same
            `option` share one option.
        parameter: Name of the command's parameter that receives the validated section.
        panels: Help panel by the name of a nested section; the key "" is for the other fields.
        defaults: Values of the options that are not given; by default those of `spec`.
        without: Names of fields and nested sections that get no option.

    Raises:
        ConfigError: If the command runs with invalid values; the message has the option.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = _options(spec, panels, defaults or spec(), without)

        @functools.wraps(command)
        def wrapped(**arguments: Any) -> None:
            values = {option.name: arguments.pop(option.name) for option in options}
            command(**arguments, **{parameter: _validate(spec, options, values)})

        parameters: list[inspect.Parameter] = []
        for given in inspect.signature(command).parameters.values():
            replaced = [option.parameter() for option in options] if given.name == parameter else [given]
            parameters += [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in replaced]
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
        return wrapped

    return decorate


def _options(
    spec: type[Section], panels: Mapping[str, str], defaults: Section, without: Collection[str]
) -> list[_Option]:
    options: dict[str, _Option] = {}
    for path, field, info in _leaves(spec):
        if not set(path).isdisjoint(without):
            continue
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        name = str(extra.get("option") or path[-1]) if info is field else path[-2]
        option = options.get(name)
        if option is None:
            panel = panels.get(path[0] if len(path) > 1 else "")
            metavar = extra.get("metavar")
            options[name] = option = _Option(
                name, [], [], [], info.description or "", None if metavar is None else str(metavar), panel
            )
        option.paths.append(path)
        option.types.append(_option_type(field.annotation))
        option.defaults.append(_default(defaults, path))
    return list(options.values())


def _leaves(
    spec: type[Section], path: _Path = ()
) -> Iterator[tuple[_Path, pydantic.fields.FieldInfo, pydantic.fields.FieldInfo]]:
    """Yields path and field of each value, and the field that describes its option."""
    for name, field in spec.model_fields.items():
        nested = field.annotation
        if not (isinstance(nested, type) and issubclass(nested, Section)):
            yield (*path, name), field, field
        elif field.description is None:
            yield from _leaves(nested, (*path, name))
        else:
            for part, inner in nested.model_fields.items():
                yield (*path, name, part), inner, field


def _option_type(annotation: Any) -> Any:
    """Returns a type that Typer parses; pydantic checks the choices of a Literal, so that errors look alike."""
    if get_origin(annotation) is Literal:
        return str
    if get_origin(annotation) is tuple and get_args(annotation)[-1] is Ellipsis:
        return list[get_args(annotation)[0]]  # type: ignore[misc] # A repeatable option.
    if get_origin(annotation) is types.UnionType or type(None) in get_args(annotation):
        (inner,) = (each for each in get_args(annotation) if each is not type(None))
        return _option_type(inner)
    return annotation


def _default(section: Any, path: _Path) -> Any:
    return functools.reduce(getattr, path, section)


def _validate(spec: type[Section], options: list[_Option], values: Mapping[str, Any]) -> Section:
    nested: dict[str, Any] = {}
    for option in options:
        value = values[option.name]
        if value is None:
            continue
        for path, part in zip(option.paths, [value] if len(option.paths) == 1 else value, strict=True):
            section = nested
            for name in path[:-1]:
                section = section.setdefault(name, {})
            section[path[-1]] = part
    try:
        return spec.model_validate(nested)
    except pydantic.ValidationError as error:
        raise ConfigError("\n".join(_explain(problem, options) for problem in error.errors())) from error


def _explain(problem: Any, options: list[_Option]) -> str:
    """Returns a problem, prefixed with its option."""
    if problem["type"] == "value_error":
        text = str(problem["ctx"]["error"])
    else:
        text = f"{problem['msg']}, received {problem['input']!r}"
    place = tuple(part for part in problem["loc"] if isinstance(part, str))
    for option in options:
        of_section = place[-1:] == (option.name,) and place == option.paths[0][:-1]
        if place in option.paths or of_section:
            return f"{option.flag}: {text}"
    # A check of several fields names the option itself.
    name, colon, rest = text.partition(":")
    return f"--{name.replace('_', '-')}{colon}{rest}"
