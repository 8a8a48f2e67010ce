"""`ascend-serve init-recipe`: a first recipe for a model."""

from __future__ import annotations

from pathlib import Path

import click

from ascend_serve.compiling.init_recipe import propose
from ascend_serve.errors import ConfigError


@click.command(name="init-recipe")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--soc", "socs", multiple=True, help="Target to compile for; default those of the cluster. Repeatable."
)
@click.option("--output", type=click.Path(path_type=Path), help="File to write; default standard output.")
@click.option("--name", help="Name of the model; default that of its file.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
def command(model: Path, socs: tuple[str, ...], output: Path | None, name: str | None, force: bool) -> None:
    """Propose a recipe for MODEL: inputs, gears and targets, each explained; `preflight` has been through it."""
    if output is not None and output.exists() and not force:
        raise ConfigError(f"{output} exists: choose another --output, or overwrite it with --force")
    proposal = propose(model, socs, folder=None if output is None else output.absolute().parent, name=name)
    if output is None:
        click.echo(proposal.text, nl=False)
        return
    output.write_text(proposal.text, encoding="utf-8")
    click.echo(f"wrote {output}: read it, then `ascend-serve preflight {output}`", err=True)
