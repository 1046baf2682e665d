"""`framecast run --span`: which span a run takes, and whether it was run before.

take_span(config, "latest")  # The configuration with `data.newest_span`, None where no span is whole.
run_of_span(config, workdir)  # The run that ended with it.
"""

import pathlib

from framecast.clips import spans
from framecast.pipeline.config.config import Config, ConfigError, unresolved_patterns
from framecast.pipeline.runs import records

LATEST = "latest"


def take_span(config: Config, span: str) -> tuple[Config | None, str]:
    """Returns the configuration of a run whose newest span is a given one.

    Args:
        config: The run's contract.
        span: A number, or `latest`: the newest span that is whole (`framecast.clips.spans.newest_whole`).

    Returns:
        `(config, why_not)`: None when no span is whole; and why spans above it are not.

    Raises:
        ConfigError: When `data.train` has no `{SPAN}`, there is no such span, or `span` is no number.
    """
    if spans.SPAN not in config.data.train:
        raise ConfigError(f"--span {span}: expected {spans.SPAN} in data.train, received {config.data.train}")
    if span != LATEST and not (span.isascii() and span.isdigit()):
        raise ConfigError(f"--span: expected {LATEST} or a number, received {span}")
    given = {f"data.{key}": pattern for key, pattern in unresolved_patterns(config).items()}
    try:
        there = spans.find_spans(config.data.train)
        number, why_not = spans.newest_whole(given, config.data.span_done) if span == LATEST else (int(span), "")
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if number is None:
        return None, why_not
    if number not in there:
        known = ", ".join(map(str, there)) or "none"
        raise ConfigError(f"--span: expected a span of {config.data.train} ({known}), received {span}")
    return config.model_copy(update={"data": config.data.model_copy(update={"newest_span": number})}), why_not


def run_of_span(config: Config, workdir: pathlib.Path) -> records.RunRecord | None:
    """Returns the newest run that ended with `data.newest_span` of the same `data.train`; None when there is none."""
    for folder in records.folders(workdir):
        run = records.read(folder)
        of_span = records.newest_span(run) == config.data.newest_span
        if of_span and records.ended(run) and run.config.get("data.train") == config.data.train:
            return run
    return None
