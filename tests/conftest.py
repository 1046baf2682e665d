"""The command line in this process, so that TFX is imported once for all tests."""

import dataclasses
import sys

import pytest


@dataclasses.dataclass
class Answer:
    """What a command ended with and printed."""

    code: int
    text: str


@pytest.fixture
def framecast(capfd, monkeypatch):
    """Runs `framecast ARGUMENTS` as a shell would."""
    from framecast.pipeline import cli  # Here: the benchmarks' peers environment, which has no typer, reads this file.

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["framecast", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capfd.readouterr()
        return Answer(caught.value.code, out + err)

    return run
