"""Rows of text: a table in a terminal, aligned plain lines where there is none."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their header, each in one line where there is no terminal."""
    console = Console()
    if console.is_terminal:
        table = Table(*header, box=None, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
        return
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        console.print("  ".join(cells).rstrip(), soft_wrap=True, highlight=False, markup=False)
