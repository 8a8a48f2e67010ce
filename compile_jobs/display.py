"""How a compile run looks in a terminal, and as plain lines where there is none."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from compile_jobs.tasks import Progress, TargetResult, TargetStarted

_STYLES = {"waiting": "dim", "compiling": "cyan", "built": "green", "cached": "green", "failed": "red"}


@contextmanager
def progress_of(console: Console, name: str, socs: Sequence[str]) -> Iterator[Progress]:
    """A progress callback for `compile_targets`: a live table on a terminal, a line per event elsewhere.

    Args:
        console: where to.
        name: the recipe's name.
        socs: the targets, in the order to show them.
    """
    states = dict.fromkeys(socs, "waiting")
    since: dict[str, float] = {}
    seconds: dict[str, float] = {}

    def note(event: TargetStarted | TargetResult) -> None:
        if isinstance(event, TargetStarted):
            states[event.soc] = "compiling"
            since[event.soc] = time.monotonic()
        else:
            states[event.soc] = event.outcome
            seconds[event.soc] = event.seconds
        if not console.is_terminal:
            took = f" in {seconds[event.soc]:.1f} s" if event.soc in seconds else ""
            console.print(f"{name}@{event.soc}: {states[event.soc]}{took}", soft_wrap=True, highlight=False)

    def table() -> Table:
        rows = Table(box=None, show_header=False)
        now = time.monotonic()
        for soc, state in states.items():
            elapsed = seconds.get(soc, now - since[soc] if soc in since else None)
            took = "" if elapsed is None else f"{elapsed:.1f} s"
            rows.add_row(f"{name}@{soc}", f"[{_STYLES[state]}]{state}[/]", took)
        return rows

    if not console.is_terminal:
        yield note
        return
    # Transient: the summary that follows says the same, and more.
    with Live(get_renderable=table, console=console, refresh_per_second=8, transient=True):
        yield note


def show_results(console: Console, results: Sequence[TargetResult]) -> None:
    """Print one row per target: result, seconds, size, and the path or the cause."""
    rows: list[tuple[str, str, str, str, str]] = [
        (
            f"{result.name}@{result.soc}",
            result.outcome,
            f"{result.seconds:.1f} s",
            _size(result),
            str(result.artifact.path) if result.artifact else (result.cause or ""),
        )
        for result in results
    ]
    header = ("target", "result", "time", "size", "path or cause")
    if console.is_terminal:
        table = Table(*header, box=None, padding=(0, 2, 0, 0))
        table.columns[-1].overflow = "fold"
        for row in rows:
            table.add_row(row[0], f"[{_STYLES[row[1]]}]{row[1]}[/]", *row[2:4], row[4].replace("[", r"\["))
        console.print(table)
        return
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(4)]
    for row in (header, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        console.print("  ".join([*cells, row[4]]), soft_wrap=True, highlight=False, markup=False)


def _size(result: TargetResult) -> str:
    manifest = result.artifact.manifest if result.artifact else None
    return f"{manifest.size_bytes / 2**20:.2f} MiB" if manifest else ""
