"""Shows the progress of a conversion in the terminal, and formats its manifest."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from framecast.clips.convert import left_out
from framecast.clips.convert.pipeline import read_progress
from framecast.clips.records import MANIFEST

_INTERVAL = 0.5  # Seconds between updates.
_SHOWN = 5


@contextlib.contextmanager
def progress_bar(directory: str, quiet: bool) -> Iterator[None]:
    """Shows the progress of the conversion into `directory` until the block ends."""
    console = Console(file=sys.stderr, quiet=quiet)
    columns = (
        TextColumn("converting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    done = threading.Event()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, note="")

        def follow() -> None:
            began, before = time.monotonic(), None
            while not done.wait(_INTERVAL):
                progress = read_progress(directory)
                before = progress.clips if before is None else before
                speed = (progress.clips - before) / (time.monotonic() - began)
                note = f"{progress.clips} clips, {speed:.0f} a second"
                bar.update(task, total=progress.all_sources or None, completed=progress.sources, note=note)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def describe(directory: str, manifest: dict[str, Any]) -> str:
    """Formats a manifest, with the matching sections of a configuration."""
    lines = [
        f"{manifest['clips']} clips of {manifest['recordings']} recordings, {manifest['frames']} frames in "
        f"{len(manifest['shards'])} files, {manifest['bytes'] / 1e6:.1f} MB ({manifest['frames_read']} frames read)"
    ]
    lines += [f"  {line}" for line in left_out.explain(manifest["left_out"])]
    lines += [_values(unit, values) for unit, values in manifest["values"].items()]
    if "found_range" in manifest:
        low, high, dtype = manifest["found_range"]
        options = f"--range {low:.12g} {high:.12g} --dtype {dtype}"
        lines.append(f"  range of the values: {low:.12g} to {high:.12g}; to scale other files alike, add {options}")
    if manifest["classes"]:
        lines.append("  classes: " + ", ".join(f"{number} {name}" for number, name in enumerate(manifest["classes"])))
    for title, names in (("bad sources, skipped", manifest["bad"]), ("files of another kind", manifest["ignored"])):
        if names:
            lines.append(f"{len(names)} {title}:")
            lines += [f"  {name}" for name in names[:_SHOWN]]
    suffix = "*.tfrecord.gz" if manifest["shards"][0]["file"].endswith(".gz") else "*.tfrecord"
    section = {"data": {"train": f"{directory}/{suffix}"}, "clip": manifest["clip"]}
    lines += [f"manifest: {directory}/{MANIFEST}", "for the configuration:"]
    lines += yaml.safe_dump(section, sort_keys=False, default_flow_style=None, width=120).splitlines()
    return "\n".join(lines)


def _values(unit: str, values: dict[str, Any]) -> str:
    """Formats the statistics of a physical field, in which a lost scale or unit is visible."""
    unit = "(no unit)" if unit == "1" else unit
    if values["min"] is None:
        seen = f"values in {unit}: none known"
    else:
        seen = f"values: {values['min']:.6g} to {values['max']:.6g} {unit}, mean {values['mean']:.6g} {unit}"
    undetected = f", {values['undetected']:.2%} nothing detected" if values["undetected"] else ""
    return f"  {seen}, {values['missing']:.2%} missing{undetected}"
