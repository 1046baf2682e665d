"""Finds the files, spans and initial weights that a run reads: once, before the run starts.

inputs = find_inputs(load("configs/radar.yaml"))
inputs.files["train"], inputs.spans, inputs.bytes, inputs.initial_model
"""

import dataclasses

from framecast.clips import filesystem, spans
from framecast.clips.spans import Patterns
from framecast.pipeline.config.config import Config, ConfigError
from framecast.serving import versions

LATEST = "latest"


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The input files of a run, by the keys `train` and, with `data.eval`, `eval`.

    Args:
        patterns: The glob pattern; with `{SPAN}`, the pattern of each span, lowest first.
        files: Paths, sorted, span by span.
        spans: Numbers of the spans of `data.train`, lowest first; empty without `{SPAN}`.
        bytes: Total size of the files.
        initial_model: Folder of the exported model that `train.init_from` names; None without one.
    """

    patterns: dict[str, Patterns]
    files: dict[str, list[str]]
    spans: list[int]
    bytes: int
    initial_model: str | None = None


def find_inputs(config: Config) -> Inputs:
    """Finds the input files of `data.train` and `data.eval`, and the model of `train.init_from`.

    Raises:
        ConfigError: If there is no span, a span is written in two ways, `data.eval` lacks a span of `data.train`, or a
            pattern matches no file. With `on_bad_clip: fail` also if a local file cannot be read. If `train.init_from`
            has no model.
    """
    try:
        resolved = spans.resolve(_named_patterns(config), config.data.spans, config.data.newest_span)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    patterns = {key.removeprefix("data."): pattern for key, pattern in resolved.items()}
    files, size = {}, 0
    for key, pattern in patterns.items():
        try:
            found = [
                file
                for part in ([pattern] if isinstance(pattern, str) else pattern.values())
                for file in filesystem.list_files(part)
            ]
        except OSError as error:
            raise ConfigError(f"data.{key}: {error}") from error
        if not found:
            raise ConfigError(f"data.{key}: {filesystem.no_match(str(pattern))}")
        files[key] = [file.path for file in found]
        size += sum(file.size for file in found)
        if config.data.on_bad_clip == "fail":
            _check_readable(key, files[key])
    train = patterns["train"]
    spans_read = [] if isinstance(train, str) else list(train)
    return Inputs(patterns, files, spans_read, size, _find_initial_model(config.train.init_from))


def select_span(config: Config, span: str) -> tuple[Config | None, str]:
    """Returns the configuration of a run that ends with the given span (`data.newest_span`).

    Args:
        config: The configuration; `data.train` has `{SPAN}`.
        span: A number, or `latest`: the newest complete span (`framecast.clips.spans.newest_complete`).

    Returns:
        `(config, skipped)`: the configuration, None if no span is complete; and why newer spans are incomplete, empty
        if there are none.

    Raises:
        ConfigError: If `data.train` has no `{SPAN}`, `span` is neither `latest` nor a number, or there is no such span.
    """
    train = config.data.train
    if spans.SPAN not in train:
        raise ConfigError(f"--span {span}: expected {spans.SPAN} in data.train, received {train}")
    if span != LATEST and not (span.isascii() and span.isdigit()):
        raise ConfigError(f"--span: expected {LATEST} or a number, received {span}")
    known: dict[int, str] | None = None
    skipped = ""
    try:
        if span == LATEST:
            number, skipped = spans.newest_complete(_named_patterns(config), config.data.span_done)
        else:
            number, known = int(span), spans.find_spans(train)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if number is None:
        return None, skipped
    if known is not None and number not in known:
        listed = ", ".join(map(str, known)) or "none"
        raise ConfigError(f"--span: expected a span of {train} ({listed}), received {span}")
    return config.model_copy(update={"data": config.data.model_copy(update={"newest_span": number})}), skipped


def _named_patterns(config: Config) -> dict[str, str]:
    """Returns the patterns by the keys that error messages name."""
    return {f"data.{key}": pattern for key, pattern in config.data.patterns.items()}


def _find_initial_model(path: str | None) -> str | None:
    """Returns the folder of an exported model, given the folder itself or a push directory."""
    if path is None:
        return None
    try:
        if versions.is_model(path):
            return path
        version = versions.newest(path)
    except OSError as error:
        raise ConfigError(f"train.init_from: {error}") from error
    if version is None:
        raise ConfigError(f"train.init_from: expected an exported model or a folder of versions, found none at {path}")
    return versions.path(path, version)


def _check_readable(key: str, paths: list[str]) -> None:
    for path in paths:
        if filesystem.is_remote(path):
            continue
        try:
            open(path, "rb").close()
        except OSError as error:
            raise ConfigError(f"data.{key}: expected readable files, received {path}: {error.strerror}") from error
