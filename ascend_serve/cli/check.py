"""`ascend-serve check`: is this Serve file what its author meant?"""

from __future__ import annotations

from pathlib import Path

import click

from ascend_serve.serving.serve_file import check_serve_file, read_serve_file


@click.command(name="check")
@click.argument("file", type=click.Path(path_type=Path))
def command(file: Path) -> None:
    """Validate the whole Serve FILE; unknown keys anywhere are errors."""
    raise SystemExit(check_file(file))


def check_file(path: Path) -> int:
    """Print every error and note; the exit status is 1 if there is an error, else 0.

    Raises:
        ConfigError: the file cannot be read as a mapping.
    """
    findings = check_serve_file(read_serve_file(path), Path.cwd())
    for error in findings.errors:
        click.echo(f"{path}: error: {error}", err=True)
    for note in findings.notes:
        click.echo(f"{path}: note: {note}", err=True)
    if not findings.errors:
        click.echo(f"{path}: ok")
    return 1 if findings.errors else 0
