"""`ascend-serve verify`: does the compiled model compute what its source does, and if not, since which operator?"""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from ascend_serve import env
from ascend_serve.artifacts.store import Store
from ascend_serve.cli.options import atc_option, set_option, store_option
from ascend_serve.cli.rows import print_rows
from ascend_serve.compiling.parameters import read_settings
from ascend_serve.compiling.recipes import load_recipe
from ascend_serve.runtime.trial import Gear
from ascend_serve.spec.closed import parse_closed
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.verification import Tolerance
from ascend_serve.verifying.comparison import OutputReport, departures
from ascend_serve.verifying.departure import Departure, NoDeparture, find_departure, where_to_look
from ascend_serve.verifying.verification import (
    Verification,
    gear_words,
    soc_here,
    verify,
    verify_target,
)

_FAILED = 1


def _gear(text: str) -> Gear:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is no gear: write 8, or 224,224") from None


@click.command(name="verify")
@click.argument("recipe", type=click.Path(path_type=Path))
@set_option
@click.option("--soc", metavar="SOC", help="SoC to compile for. [default: the device's own]")
@store_option
@click.option("--om", type=click.Path(path_type=Path), help="Compare this file, and compile nothing.")
@atc_option
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    help="An .npz file with an array for each input. [default: the recipe's, else random values]",
)
@click.option(
    "--gear",
    "gears",
    type=_gear,
    metavar="GEAR",
    multiple=True,
    help="Run at this gear, such as 8 or 224,224; may be given several times. [default: all]",
)
@click.option(
    "--min-cosine",
    type=float,
    metavar="COSINE",
    help="Least cosine similarity. [default: the recipe's, else 0.99]",
)
@click.option(
    "--max-abs-error", type=float, metavar="ERROR", help="Largest absolute error. [default: the recipe's]"
)
@click.option(
    "--max-rel-error", type=float, metavar="ERROR", help="Largest relative error. [default: the recipe's]"
)
@click.option(
    "--min-top1",
    type=float,
    metavar="SHARE",
    help="Least share of rows with the same top 1. [default: the recipe's]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--bisect",
    is_flag=True,
    help="When a bound is passed, look for the first operator whose results depart; each step is a build.",
)
def command(
    recipe: Path,
    settings: tuple[str, ...],
    soc: str | None,
    store: str | None,
    om: Path | None,
    atc: str | None,
    inputs: Path | None,
    gears: tuple[Gear, ...],
    as_json: bool,
    bisect: bool,
    **bounds: float | None,
) -> None:
    """Compare what the model of RECIPE computes, compiled, with what its source computes, at each gear.

    Runs on device 0 of this machine, and the source with onnxruntime on the CPU. What is not in the store is compiled
    first. The exit status is 0 when all is within the bounds, and 1 when not.

    The relative error is |a - b| / max(|a|, rms(a)), a being the source's output.
    """
    wanted = load_recipe(recipe, read_settings(settings))
    tolerance = _tolerance(wanted, bounds)
    target = soc or soc_here()
    if om is not None:
        found = verify(wanted, om, tolerance=tolerance, inputs=inputs, gears=gears)
    else:
        place = Store.lasting(store or env.store_url())
        found = verify_target(wanted, target, place, tolerance=tolerance, inputs=inputs, gears=gears, atc=atc)
    if not as_json:
        _show(found)
    departure = None
    if bisect and not found.passed:
        output, gear = where_to_look(found)
        departure = find_departure(
            wanted, target, output, gear, tolerance=tolerance, inputs=inputs, atc=atc, say=_note
        )
    if as_json:
        told = found.to_json() | ({"departure": departure.to_json()} if departure else {})
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2))
    elif departure:
        _show_departure(departure, tolerance)
    raise SystemExit(0 if found.passed else _FAILED)


def _tolerance(recipe: CompileRecipe, bounds: dict[str, float | None]) -> Tolerance:
    given = {name: value for name, value in bounds.items() if value is not None}
    known = (recipe.verify or Tolerance()).model_dump()
    return parse_closed(Tolerance, known | given, "verify")


def _note(words: str) -> None:
    click.echo(words, err=True)


def _show(found: Verification) -> None:
    for note in found.notes:
        _note(f"note: {note}")
    rows = [
        (gear_words(report.gear), *_cells(output, found.tolerance))
        for report in found.gears
        for output in report.outputs
    ]
    print_rows(("gear", "output", "shape", "abs error", "rel error", "cosine", "top 1", ""), rows)
    verdict = "within the bounds" if found.passed else "departs from its source"
    click.echo(f"{found.name}@{found.soc} on {found.runtime}, {found.inputs}: {verdict}")


def _cells(output: OutputReport, tolerance: Tolerance) -> tuple[str, ...]:
    figures = (
        (output.max_abs_error, ".3g"),
        (output.max_rel_error, ".3g"),
        (output.cosine, ".6f"),
        (output.top1, ".4g"),
    )
    return (
        output.name,
        ",".join(map(str, output.shape)) or "scalar",
        *("-" if value is None else format(value, form) for value, form in figures),
        "; ".join(departures(output, tolerance)) or "ok",
    )


def _show_departure(found: Departure | NoDeparture, tolerance: Tolerance) -> None:
    if isinstance(found, NoDeparture):
        click.echo(f"no operator can be named after {_builds(found.builds)}: {found.reason}")
        return
    name = f"{found.op_type} '{found.node}'" if found.node else f"an unnamed {found.op_type}"
    click.echo(
        f"first to depart, at gear {gear_words(found.gear)}: {name} (found with {_builds(found.builds)})"
    )
    rows = [("reads", *_cells(report, tolerance)) for report in found.inputs]
    rows += [("gives", *_cells(report, tolerance)) for report in found.outputs]
    print_rows(("", "tensor", "shape", "abs error", "rel error", "cosine", "top 1", ""), rows)
    if found.unseen:
        click.echo(f"could not be looked at, so it may have begun there: {', '.join(found.unseen)}")
    click.echo("Giving tensors out can change what ATC fuses, and so the figures.")


def _builds(count: int) -> str:
    return f"{count} build{'' if count == 1 else 's'}"
