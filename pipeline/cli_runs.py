"""`framecast runs`: past runs of a work directory, read from their records within a second."""

import dataclasses
import json
from typing import Annotated

import typer

from framecast.pipeline.cli_data import AsJson

runs = typer.Typer(no_args_is_help=True, help="Look at past runs: their verdicts, figures and what made them.")

Workdir = Annotated[str, typer.Option(help="Work directory of framecast run.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's name, its beginning, or latest.")]


@runs.command("list")
def list_runs(workdir: Workdir = "work", as_json: AsJson = False) -> None:
    """List the runs, the newest first."""
    from framecast.pipeline import records, run_texts

    found = records.read_runs(workdir)
    print(json.dumps([run_texts.summary(run) for run in found]) if as_json else run_texts.listing(found))


@runs.command()
def show(run: RunName, workdir: Workdir = "work", as_json: AsJson = False) -> None:
    """Show what became of a run, what it was made from, and where its report is."""
    from framecast.pipeline import records, run_texts

    found = records.find_run(workdir, run)
    if as_json:
        print(json.dumps({**dataclasses.asdict(found), "folder": str(found.folder)}))
    else:
        print(run_texts.description(found))


@runs.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A run's name, its beginning, or latest.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another's.")],
    workdir: Workdir = "work",
    as_json: AsJson = False,
) -> None:
    """Set two runs side by side: figures with their differences, and what differs in what made them."""
    from framecast.pipeline import records, run_texts

    found = run_texts.comparison(records.find_run(workdir, a), records.find_run(workdir, b))
    print(json.dumps(found) if as_json else run_texts.compared(found))
