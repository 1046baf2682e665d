"""Defines `framecast models`: list pushed versions, promote one, roll back."""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from framecast.pipeline import quiet
from framecast.pipeline.cli.options import AsJson

if TYPE_CHECKING:
    from framecast.serving.releases.releases import ServerSync
    from framecast.serving.releases.version_folder import PushedVersion

models = typer.Typer(no_args_is_help=True, help="List pushed versions, promote one, or roll back.")

Directory = Annotated[str, typer.Argument(metavar="DIR", help="Folder of numbered versions (push.directory).")]
Addresses = Annotated[
    list[str] | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="A server of this folder to ask and wait for; may be repeated.",
    ),
]


@models.command("list")
def list_models(directory: Directory, address: Addresses = None, as_json: AsJson = False) -> None:
    """List the versions, newest first, with state, labels and figures."""
    from framecast.serving.releases import version_folder

    found = version_folder.read_versions(directory)
    live: dict[str, Any] = {}
    if address:
        with _connect(address) as servers:
            live = servers.states()
    if as_json:
        print(json.dumps([{**dataclasses.asdict(version), "servers": _live(live, version)} for version in found]))
    else:
        print(_listing(found, live))


@models.command()
def promote(
    directory: Directory,
    version: Annotated[int | None, typer.Argument(metavar="[VERSION]", help="By default the canary.")] = None,
    address: Addresses = None,
    as_json: AsJson = False,
) -> None:
    """Make a version stable, also a withdrawn one, and withdraw the versions above it.

    The same command finishes a promote that was killed.
    """
    from framecast.serving.releases import releases

    with _servers(address) as servers:
        _print(releases.promote(directory, version, servers), as_json)


@models.command()
def rollback(directory: Directory, address: Addresses = None, as_json: AsJson = False) -> None:
    """Make the previous stable version stable again, and withdraw the versions above it.

    The same command finishes a rollback that was killed.
    """
    from framecast.serving.releases import releases

    with _servers(address) as servers:
        _print(releases.rollback(directory, servers), as_json)


@contextlib.contextmanager
def _servers(addresses: Sequence[str] | None) -> Iterator["ServerSync"]:
    from framecast.serving.releases import releases

    if addresses:
        with _connect(addresses) as servers:
            yield servers
    else:
        yield releases.FixedWait(lambda text: print(text, file=sys.stderr, flush=True))


def _connect(addresses: Sequence[str]) -> Any:
    with quiet.heavy_imports():
        from framecast.serving.releases.server_sync import ModelServers
    return ModelServers(addresses)


def _print(entry: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(entry))
        return
    withdrawn = ", ".join(map(str, entry["withdrawn"]))
    print(
        f"{entry['action']}: version {entry['version']} is stable" + (f"; withdrawn: {withdrawn}" if withdrawn else "")
    )


def _live(live: dict[str, Any], version: "PushedVersion") -> dict[str, str]:
    """Returns the state of a version on each server."""
    by_address = {}
    for address, states in live.items():
        state, error = states.get(version.number, ("not seen", ""))
        by_address[address] = f"{state}: {error}" if error else state
    return by_address


def _listing(found: "Sequence[PushedVersion]", live: dict[str, Any]) -> str:
    from framecast.pipeline.tables import cell, columns

    rows = [["version", "pushed", "state", "labels", "figures", "MiB", "by", *live]]
    for version in found:
        figures = ", ".join(f"{name} {cell(value)}" for name, value in version.figures.items())
        row = [str(version.number), version.pushed[:19].replace("T", " "), version.state, ", ".join(version.labels)]
        row += [figures, f"{version.bytes / 2**20:.1f}", version.by or "", *_live(live, version).values()]
        rows.append(row)
    return columns(rows)
