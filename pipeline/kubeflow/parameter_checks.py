"""Checks the values of a compiled pipeline's parameters before a run: `framecast kubeflow submit` and `run-local`."""

import json
from collections.abc import Mapping
from typing import Any

from framecast.components import run_parameters
from framecast.pipeline.config.config import ConfigError


def check_parameters(values: Mapping[str, Any], volumes: str | None) -> None:
    """Checks the values, if Framecast compiled the pipeline.

    Args:
        values: Value by parameter.
        volumes: The constant `volumes` of InputFiles; None if the pipeline has none, because others compiled it.

    Raises:
        ConfigError: If a value cannot work; the message names the parameter.
    """
    if volumes is None:
        return
    try:
        run_parameters.check(values, json.loads(volumes))
    except ValueError as error:
        raise ConfigError(f"--parameter {error}") from error
