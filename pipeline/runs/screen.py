"""Shows a run on the terminal: a line per component, a progress bar for training. Other output goes to the log."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import IO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.spinner import Spinner
from rich.text import Text

_MARKS = {"done": ("+", "green"), "cached": ("=", "cyan"), "failed": ("x", "red")}


@contextlib.contextmanager
def logged_to(path: str) -> Iterator[IO[str]]:
    """Redirects stdout and stderr, including the output of C++ libraries, to a file.

    Yields:
        A stream to the original stdout.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with open(path, "a", buffering=1) as log, os.fdopen(os.dup(1), "w", buffering=1) as screen:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        root = logging.getLogger()
        handler = logging.StreamHandler(log)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        try:
            yield screen
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            for descriptor in saved:
                os.close(descriptor)


class Screen(logging.Handler):
    """Prints components as they run, and the progress of training from the logger `framecast.train`."""

    def __init__(self, stream: IO[str], quiet: bool = False):
        super().__init__()
        self._console = Console(file=stream, quiet=quiet, highlight=False)
        self._bar = Progress(
            TextColumn("  training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
        )
        self._task = self._bar.add_task("training", total=None, note="", visible=False)
        self._live = Live(console=self._console, transient=True, refresh_per_second=4)
        self.current = ""  # Name of the running component.

    def __enter__(self) -> "Screen":
        self._live.start()
        logging.getLogger("framecast.train").addHandler(self)
        return self

    def __exit__(self, *exc: object) -> None:
        logging.getLogger("framecast.train").removeHandler(self)
        self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        """Prints a permanent line."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def running(self, name: str) -> None:
        """Shows that a component runs, until the next line is printed."""
        self.current = name
        self._bar.update(self._task, visible=False)
        self._live.update(Group(Spinner("dots", text=f" {name}"), self._bar))

    def done(self, name: str, state: str, seconds: float, note: str) -> None:
        """Prints the line of a finished component.

        Args:
            name: The component.
            state: `done`, `cached` or `failed`.
            seconds: Wall time.
            note: The component's result in a few words.
        """
        mark, style = _MARKS[state]
        line = Text.assemble((f"{mark} ", style), f"{name:<26}", f"{state:<7}", f"{seconds:7.1f} s  ", note)
        self._live.update("")
        self._console.print(line, soft_wrap=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Updates the progress bar of training."""
        progress = getattr(record, "progress", None)
        if progress is None:
            return
        note = f"loss {progress['loss']:.5f}"
        if progress.get("val_loss") is not None:
            note += f"  val {progress['val_loss']:.5f}"
        self._bar.update(self._task, total=progress["steps"], completed=progress["step"], note=note, visible=True)
