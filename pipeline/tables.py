"""Tables of text, as commands print them."""

from collections.abc import Sequence
from typing import Any


def cell(value: Any) -> str:
    """Returns a value as it stands in a table, a float to four digits."""
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows of equally many cells, each column as wide as its widest cell."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows)
