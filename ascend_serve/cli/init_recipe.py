"""`ascend-serve init-recipe`: a first recipe for a model."""

from __future__ import annotations

from pathlib import Path

import click

from ascend_serve.cli.output import check_free, is_folder, write_files
from ascend_serve.compiling.init_recipe import model_name, propose


@click.command(name="init-recipe")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--soc",
    "socs",
    multiple=True,
    metavar="SOC",
    help="Target to compile for, such as Ascend310P3; may be given several times. [default: those of the cluster]",
)
@click.option(
    "--output",
    type=click.Path(),
    help="File to write; NAME.yaml in it, where it is a folder or ends with a slash. [default: standard output]",
)
@click.option("--name", metavar="NAME", help="Name of the model. [default: that of its file]")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def command(model: Path, socs: tuple[str, ...], output: str | None, name: str | None, force: bool) -> None:
    """Propose a recipe for MODEL: inputs, gears and targets, with a line on each.

    MODEL is an ONNX file, a frozen TensorFlow graph (.pb), the folder of a SavedModel, a Caffe network (.prototxt)
    or a MindSpore model (.air). Gears of an ONNX model are proposed only if `preflight` finds
    nothing against them.
    """
    if output is None:
        click.echo(propose(model, socs, name=name).text, nl=False)
        return
    file = Path(output) / f"{name or model_name(model)}.yaml" if is_folder(output) else Path(output)
    check_free([file], force=force)
    proposal = propose(model, socs, folder=file.absolute().parent, name=name)
    write_files({file: proposal.text}, force=force)
    click.echo(f"wrote {file}: read it, then `ascend-serve preflight {file}`", err=True)
