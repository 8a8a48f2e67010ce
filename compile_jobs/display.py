"""How a compile run looks in a terminal, as plain lines where there is none, and as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from ascend_serve.errors import BuildFailed
from ascend_serve.spec.text import shown_size
from compile_jobs.jobs import Job, JobStep, Progress, TargetResult

_STYLES = {
    "queued": "dim",
    "requeued": "yellow",
    "starting": "cyan",
    "waiting": "dim",
    "tuning": "cyan",
    "compiling": "cyan",
    "verifying": "cyan",
    "built": "green",
    "cached": "green",
    "failed": "red",
}


class _Row:
    """What is known of one job."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.state = "queued"
        self.began: float | None = None
        self.seconds: float | None = None

    def note(self, event: JobStep | TargetResult) -> None:
        if isinstance(event, JobStep):
            self.state = event.step
            if event.step == "starting":
                self.began = time.monotonic()
            if event.step == "requeued":
                self.began = None
        else:
            self.state = event.outcome
            self.seconds = event.seconds

    @property
    def is_running(self) -> bool:
        return self.began is not None and self.seconds is None

    def took(self) -> str:
        if self.seconds is not None:
            return f"{self.seconds:.1f} s"
        return "" if self.began is None else f"{time.monotonic() - self.began:.1f} s"


@contextmanager
def progress_on(console: Console) -> Iterator[Progress]:
    """A progress callback for `compile_recipes`: a live table on a terminal, a line per event elsewhere."""
    rows: dict[int, _Row] = {}

    def note(job: Job, event: JobStep | TargetResult) -> None:
        row = rows.setdefault(id(job), _Row(job.label))
        row.note(event)
        if not console.is_terminal and row.state not in ("queued", "starting"):
            took = f" in {row.took()}" if row.seconds is not None else ""
            console.print(f"{row.label}: {row.state}{took}", soft_wrap=True, highlight=False)

    def table() -> Group:
        everything = list(rows.values())
        waiting = sum(row.state in ("queued", "requeued") for row in everything)
        done = sum(row.seconds is not None for row in everything)
        # Of more builds than the terminal has lines, those are told that run, for the others are all alike.
        room = console.height - 2
        told = everything if len(everything) <= room else [row for row in everything if row.is_running][:room]
        shown = Table(box=None, show_header=False)
        for row in told:
            shown.add_row(row.label, f"[{_STYLES[row.state]}]{row.state}[/]", row.took())
        return Group(shown, f"{done} of {len(everything)} done, {waiting} queued")

    if not console.is_terminal:
        yield note
        return
    # Transient: the summary that follows says the same, and more.
    with Live(get_renderable=table, console=console, refresh_per_second=8, transient=True):
        yield note


def show_results(console: Console, results: Sequence[TargetResult]) -> None:
    """Print one row per target (result, seconds, size, place), and what is known of each failure below."""
    rows: list[tuple[str, ...]] = [
        (
            result.job.label,
            result.outcome,
            f"{result.seconds:.1f} s",
            _size(result),
            result.artifact.location if result.artifact else _code(result),
        )
        for result in results
    ]
    header = ("target", "result", "time", "size", "where")
    if console.is_terminal:
        table = Table(*header, box=None, padding=(0, 2, 0, 0))
        table.columns[-1].overflow = "fold"
        for row in rows:
            table.add_row(row[0], f"[{_STYLES[row[1]]}]{row[1]}[/]", *row[2:4], row[4].replace("[", r"\["))
        console.print(table)
    else:
        widths = [max(len(row[column]) for row in (header, *rows)) for column in range(4)]
        for row in (header, *rows):
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            _line(console, "  ".join([*cells, row[4]]))
    for result in results:
        if result.error is not None:
            _line(console, "")
            for line in explained(result):
                _line(console, line)


def explained(result: TargetResult) -> list[str]:
    """A failure in lines: what is wrong, where, what to do, where it is documented, and the whole output."""
    error = result.error
    label = result.job.label
    if not isinstance(error, BuildFailed):
        return [f"{label}: {str(error).removeprefix(label + ': ')}"]
    lines = [f"{label}: {error.code + ': ' if error.code else ''}{error.cause}"]
    about = [part for part in (error.operator, error.node and f"node {error.node}") if part]
    for title, text in (
        ("operator", ", ".join(about)),
        ("what to do", error.hint),
        ("documented", error.reference),
        ("full output", error.log_path),
    ):
        if text:
            lines.append(f"  {title + ':':<13}{text}")
    return lines


def as_json(results: Sequence[TargetResult]) -> list[dict[str, Any]]:
    """The results as JSON values."""
    return [
        {
            "name": result.name,
            "soc": result.soc,
            "outcome": result.outcome,
            "seconds": round(result.seconds, 3),
            "key": result.artifact.manifest.key if result.artifact and result.artifact.manifest else None,
            "location": result.artifact.location if result.artifact else None,
            "cause": result.cause,
            **{
                part: getattr(result.error, part, None)
                for part in ("code", "operator", "node", "hint", "reference", "log_path")
            },
        }
        for result in results
    ]


def _line(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def _code(result: TargetResult) -> str:
    return getattr(result.error, "code", None) or "see below"


def _size(result: TargetResult) -> str:
    manifest = result.artifact.manifest if result.artifact else None
    return shown_size(manifest.size_bytes) if manifest else ""
