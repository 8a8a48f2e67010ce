"""`ascend-serve preflight`: what would go wrong with a recipe, before ATC runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from ascend_serve.cli.options import set_option
from ascend_serve.cli.rows import print_rows
from ascend_serve.compiling.parameters import read_settings
from ascend_serve.compiling.preflight import (
    SLOTS,
    Finding,
    GearShapes,
    Preflight,
    preflight,
    preflight_targets,
)
from ascend_serve.compiling.recipes import load_recipe
from ascend_serve.spec.soc import resolve_soc

_MIB = 1 << 20
_HEADER = ("GEAR", "INPUTS", "OUTPUTS", "IN MIB", "OUT MIB", "ACTIVATIONS MIB")


@click.command(name="preflight")
@click.argument("recipe", type=click.Path(path_type=Path))
@set_option
@click.option(
    "--soc",
    "socs",
    multiple=True,
    metavar="SOC",
    help="SoC to look at it for, such as Ascend310P3; may be given several times. [default: those the recipe lists]",
)
@click.option("--json", "as_json", is_flag=True, help="Print all that was found as JSON.")
def command(recipe: Path, settings: tuple[str, ...], socs: tuple[str, ...], as_json: bool) -> None:
    """See what would go wrong with RECIPE, its shapes at each gear, and the memory it takes; ATC is not run.

    The exit status is 0 when nothing stops a build, and 1 when something does.
    """
    wanted = load_recipe(recipe, read_settings(settings))
    if socs:
        wanted = wanted.model_copy(update={"targets": socs})
    targets = [resolve_soc(name) for name in wanted.targets]
    found = preflight_targets(wanted, targets) if targets else {"": preflight(wanted)}
    if as_json:
        click.echo(_json(found))
    else:
        _print(found)
    raise SystemExit(1 if any(each.errors for each in found.values()) else 0)


def _json(found: dict[str, Preflight]) -> str:
    common, own = _shared(found)
    any_one = next(iter(found.values()))
    content = asdict(any_one) | {
        "findings": [asdict(finding) for finding in common],
        "targets": {soc: [asdict(finding) for finding in findings] for soc, findings in own.items() if soc},
    }
    return json.dumps(content, indent=2)


def _print(found: dict[str, Preflight]) -> None:
    any_one = next(iter(found.values()))
    common, own = _shared(found)
    if any_one.gears:
        print_rows(_HEADER, [_row(gear) for gear in any_one.gears])
    if any_one.weight_bytes:
        click.echo(f"weights: {_mib(any_one.weight_bytes)} MiB")
    if any_one.device_bytes is not None:
        click.echo(
            f"on the card: about {_mib(any_one.device_bytes)} MiB (weights, activations of the largest gear, and "
            f"{SLOTS} times its inputs and outputs)"
        )
    lines = [_finding(finding) for finding in common]
    lines += [f"{soc}: {_finding(finding)}" for soc, findings in own.items() for finding in findings]
    click.echo("\n".join(lines or ["nothing stands in the way"]))


def _shared(found: dict[str, Preflight]) -> tuple[list[Finding], dict[str, list[Finding]]]:
    """The findings that hold for all targets, and the rest by target."""
    first = next(iter(found.values())).findings
    common = [finding for finding in first if all(finding in each.findings for each in found.values())]
    return common, {
        soc: [finding for finding in each.findings if finding not in common] for soc, each in found.items()
    }


def _row(gear: GearShapes) -> list[str]:
    sizes = (gear.input_bytes, gear.output_bytes, gear.activation_bytes)
    name = "x".join(map(str, gear.gear)) or "static"
    return [name, _shapes(gear.inputs), _shapes(gear.outputs), *map(_mib, sizes)]


def _shapes(shapes: dict[str, tuple[int, ...]] | dict[str, tuple[int | None, ...]]) -> str:
    return ", ".join(
        f"{name} [{', '.join('?' if dim is None else str(dim) for dim in shape)}]"
        for name, shape in shapes.items()
    )


def _mib(size: int | None) -> str:
    return "?" if size is None else f"{size / _MIB:,.2f}"


def _finding(finding: Finding) -> str:
    return f"{finding.severity}: {finding.code + ': ' if finding.code else ''}{finding.text}"
