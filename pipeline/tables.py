"""Formats tables as plain text for the terminal."""

import io
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_WIDTH = 100_000  # Wider than any table: lines are never wrapped or cut.


def cell(value: Any) -> str:
    """Formats a value for a table cell, a float with four significant digits."""
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Formats rows of equal length as aligned columns; columns of numbers are right-aligned.

    Args:
        rows: Header, then the rows.
    """
    header, *body = rows
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for place, title in enumerate(header):
        numeric = any(row[place] for row in body) and all(_is_number(row[place]) for row in body)
        table.add_column(title, justify="right" if numeric else "left", no_wrap=True)
    for row in body:
        table.add_row(*row)
    text = io.StringIO()
    Console(file=text, width=_WIDTH, color_system=None, markup=False, emoji=False, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in ("", "none")
    return True
