"""`ascend-serve inspect`: what is this compiled model, where does it run, and how do two differ?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from ascend_serve.artifacts.om.file import read_om_file
from ascend_serve.artifacts.om.fitness import fitness
from ascend_serve.artifacts.om.reading import Om
from ascend_serve.artifacts.om.report import differences, report
from ascend_serve.artifacts.om.text import difference_lines, sections
from ascend_serve.errors import ConfigError, NotAnOm


@click.command(name="inspect")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path), required=False)
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, with the keys of ascend_serve.artifacts.om.report."
)
@click.option("--soc", metavar="SOC", help="Say whether FILE runs on this SoC, such as Ascend310P3.")
@click.option("--deep", is_flag=True, help="Count the operators too, which reads the whole graph.")
def command(file: Path, other: Path | None, as_json: bool, soc: str | None, deep: bool) -> None:
    """Show what the compiled model FILE is; with OTHER, only how the two differ.

    With OTHER the exit status is 0 when they are the same in everything that is shown, and 1 when not.
    """
    if other is None:
        inspect_file(file, as_json=as_json, soc=soc, deep=deep)
    elif soc is not None:
        raise click.UsageError("--soc is about one file; leave OTHER out")
    else:
        raise SystemExit(compare_files(file, other, as_json=as_json, deep=deep))


def inspect_file(path: Path, *, as_json: bool, soc: str | None, deep: bool) -> None:
    """Print what a model is.

    Raises:
        NotAnOm: it is no offline model; the message names the file.
        ConfigError: `soc` is no known SoC, or the file cannot be read.
    """
    om = _read(path, deep)
    told = report(om)
    judged = fitness(om, soc) if soc is not None else None
    if as_json:
        verdict = {"fitness": {"soc": soc, **asdict(judged)}} if judged else {}
        click.echo(json.dumps(told | verdict, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    for section in sections(told):
        console.print(Text(section.title, style="bold"))
        width = max(len(label) for label, _ in section.rows)
        for label, value in section.rows:
            console.print(Text.assemble("  ", (label.ljust(width), "cyan"), "  ", value))
    if judged:
        console.print(Text.assemble(("On " + str(soc), "bold"), f": {judged.verdict}: {judged.reason}"))


def compare_files(path: Path, other: Path, *, as_json: bool, deep: bool) -> int:
    """Print in what two models differ; 1 when they do, 0 when not.

    Raises:
        NotAnOm: one is no offline model; the message names it.
        ConfigError: one cannot be read.
    """
    found = differences(_read(path, deep), _read(other, deep))
    if as_json:
        click.echo(json.dumps([asdict(item) for item in found], indent=2, ensure_ascii=False))
    else:
        for line in difference_lines(found) or ["the same in everything that is shown"]:
            click.echo(line)
    return 1 if found else 0


def _read(path: Path, deep: bool) -> Om:
    try:
        return read_om_file(path, deep=deep)
    except NotAnOm as error:
        raise NotAnOm(f"{path}: {error}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}: give the path of an .om file") from error
