"""`framecast runs`: lists, shows and compares the runs of a work directory, and removes old ones."""

import dataclasses
import json
import pathlib
from typing import Annotated

import typer

from framecast.pipeline.cli.options import AsJson

runs = typer.Typer(no_args_is_help=True, help="List, show and compare past runs; remove old ones.")

Workdir = Annotated[str, typer.Option(help="Work directory of framecast run.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, its beginning, or latest.")]


@runs.command("list")
def list_runs(workdir: Workdir = "work", as_json: AsJson = False) -> None:
    """List the runs, newest first."""
    from framecast.pipeline.runs import formatting, records

    found = records.read_runs(workdir)
    print(json.dumps([formatting.summary(run) for run in found]) if as_json else formatting.listing(found))


@runs.command()
def show(run: RunName, workdir: Workdir = "work", as_json: AsJson = False) -> None:
    """Show a run: verdict, figures, components, data, code, lineage and report."""
    from framecast.pipeline.runs import formatting, records

    found = records.find_run(workdir, run)
    if as_json:
        print(json.dumps({**dataclasses.asdict(found), "folder": str(found.folder)}))
    else:
        print(formatting.description(found))


@runs.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="Name of a run, its beginning, or latest.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Name of another run.")],
    workdir: Workdir = "work",
    as_json: AsJson = False,
) -> None:
    """Compare two runs: figures with their differences, and differing configuration and packages."""
    from framecast.pipeline.runs import formatting, records

    found = formatting.comparison(records.find_run(workdir, a), records.find_run(workdir, b))
    print(json.dumps(found) if as_json else formatting.compared(found))


@runs.command()
def gc(
    workdir: Annotated[str, typer.Argument(metavar="WORKDIR", help="Work directory of framecast run.")],
    keep: Annotated[int, typer.Option(min=1, help="Number of newest runs to keep, with their artifacts.")],
    versions: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Number of newest versions to keep in push.directory, in addition to the serving ones and those that "
            "a rollback needs; default: all.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only print the plan.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove old runs with their artifacts and checkpoints and, with --versions, old model versions."""
    from framecast.clips.files import exclusive
    from framecast.pipeline.config.config import ConfigError
    from framecast.pipeline.runs import formatting
    from framecast.pipeline.runs import gc as cleanup

    base = pathlib.Path(workdir).resolve()
    if not (base / "runs").is_dir():
        raise ConfigError(f"WORKDIR: expected a work directory of framecast run, found no runs in {base}")
    with exclusive(base, "run"):
        plan = cleanup.make_plan(base, keep, versions)
        if yes:
            cleanup.remove(base, plan)
    if as_json:
        items = [dataclasses.asdict(item) for item in plan.items]
        print(json.dumps({"removed": yes, "kept": plan.kept, "items": items, "bytes": plan.bytes}))
    else:
        print(formatting.cleaned(plan, yes))
