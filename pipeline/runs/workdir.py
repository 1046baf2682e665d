"""Checks the path of a work directory."""

import pathlib

from framecast.pipeline.config.config import ConfigError


def check_workdir(workdir: pathlib.Path) -> None:
    """Rejects a path that cannot be a work directory.

    Raises:
        ConfigError: If the path is a file, or has a character that TFX and Beam take for a wildcard.
    """
    if workdir.exists() and not workdir.is_dir():
        raise ConfigError(f"--workdir: expected a folder, received the file {workdir}")
    if found := [character for character in "*?[]" if character in str(workdir)]:
        raise ConfigError(
            f"--workdir: expected a path without wildcards, because TFX reads artifacts by patterns, "
            f"received {workdir} with {' '.join(found)}"
        )
