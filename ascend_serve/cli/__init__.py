"""The command `ascend-serve`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from ascend_serve.errors import AscendServeError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ascend-serve")
def main() -> None:
    """Serve models on Huawei Ascend NPUs with Ray Serve."""


# The verbs import Ray, which takes seconds; `--help` and a mistyped verb must not wait for it.


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Validate the whole Serve FILE; unknown keys anywhere are errors."""
    from ascend_serve.cli.check import check_file

    _one_line_on_error(lambda: check_file(file))


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(1, 65535), help="HTTP port; default that of FILE, else 8000.")
def run(file: Path, port: int | None) -> None:
    """Serve FILE on this machine, on loopback, over Serve's fast data path, until Ctrl-C."""
    from ascend_serve.cli.run import run_file

    _one_line_on_error(lambda: run_file(file, port))


def _one_line_on_error(verb: Callable[[], int]) -> None:
    try:
        status = verb()
    except AscendServeError as error:
        click.echo(f"ascend-serve: {error}", err=True)
        status = 2
    raise SystemExit(status)
