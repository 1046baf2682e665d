"""`framecast runs`: past runs of a work directory, read from their records within a second, and what can go of them."""

import dataclasses
import json
import pathlib
from typing import Annotated

import typer

from framecast.pipeline.cli.data import AsJson

runs = typer.Typer(
    no_args_is_help=True, help="Look at past runs: their verdicts, figures and what made them; remove old ones."
)

Workdir = Annotated[str, typer.Option(help="Work directory of framecast run.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's name, its beginning, or latest.")]


@runs.command("list")
def list_runs(workdir: Workdir = "work", as_json: AsJson = False) -> None:
    """List the runs, the newest first."""
    from framecast.pipeline.runs import formatting, records

    found = records.read_runs(workdir)
    print(json.dumps([formatting.summary(run) for run in found]) if as_json else formatting.listing(found))


@runs.command()
def show(run: RunName, workdir: Workdir = "work", as_json: AsJson = False) -> None:
    """Show what became of a run, what it was made from, and where its report is."""
    from framecast.pipeline.runs import formatting, records

    found = records.find_run(workdir, run)
    if as_json:
        print(json.dumps({**dataclasses.asdict(found), "folder": str(found.folder)}))
    else:
        print(formatting.description(found))


@runs.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A run's name, its beginning, or latest.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another's.")],
    workdir: Workdir = "work",
    as_json: AsJson = False,
) -> None:
    """Set two runs side by side: figures with their differences, and what differs in what made them."""
    from framecast.pipeline.runs import formatting, records

    found = formatting.comparison(records.find_run(workdir, a), records.find_run(workdir, b))
    print(json.dumps(found) if as_json else formatting.compared(found))


@runs.command()
def gc(
    workdir: Annotated[str, typer.Argument(metavar="WORKDIR", help="Work directory of framecast run.")],
    keep: Annotated[int, typer.Option(min=1, help="Keep the newest so many runs, with all that they were made from.")],
    versions: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Keep the newest so many versions in push.directory, besides those that serve or could be rolled back "
            "to; all unless given.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without, say only what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove old runs with their artifacts, checkpoints that no kept run used and, if asked, old versions."""
    from framecast.pipeline.config.config import ConfigError
    from framecast.pipeline.runs import formatting
    from framecast.pipeline.runs import gc as cleanup
    from framecast.pipeline.runs.lock import exclusive

    base = pathlib.Path(workdir).resolve()
    if not (base / "runs").is_dir():
        raise ConfigError(f"WORKDIR: expected a work directory of framecast run, found no runs in {base}")
    with exclusive(base):
        plan = cleanup.make_plan(base, keep, versions)
        if yes:
            cleanup.remove(base, plan)
    if as_json:
        items = [dataclasses.asdict(item) for item in plan.items]
        print(json.dumps({"removed": yes, "kept": plan.kept, "items": items, "bytes": plan.bytes}))
    else:
        print(formatting.cleaned(plan, yes))
