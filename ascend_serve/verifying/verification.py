"""Runs a compiled model and its source on the same inputs, at each gear, and holds what comes against a tolerance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ascend_serve.artifacts.store import Store
from ascend_serve.compiling.build import compile_target
from ascend_serve.compiling.scratch import scratch
from ascend_serve.errors import ConfigError, VerificationFailed
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.trial import Gear, Trial
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.shapes import OPEN
from ascend_serve.spec.verification import Tolerance
from ascend_serve.verifying import feeds
from ascend_serve.verifying.comparison import OutputReport, compare, departures
from ascend_serve.verifying.onnx_graph import OnnxGraph
from ascend_serve.verifying.preprocessing import check_preprocessing, for_source, open_axes
from ascend_serve.verifying.reference import Reference, onnx_source

_SHOWN_FAILURES = 5


@dataclass(frozen=True, slots=True)
class GearReport:
    """What was found at one gear.

    Attributes:
        gear: its sizes; empty for a model compiled at fixed shapes.
        outputs: each output, in the compiled model's order.
    """

    gear: Gear
    outputs: tuple[OutputReport, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """A comparison of a compiled model with its source.

    Attributes:
        name: the recipe's name.
        soc: SoC of the device it ran on.
        runtime: vendor and version of that device's `acl`.
        inputs: where the inputs came from.
        notes: what was done to inputs and outputs so that they could be compared.
        tolerance: the bounds.
        gears: each gear, in the order it ran.
        failures: what passed a bound, in words; nothing when all is well.
    """

    name: str
    soc: str
    runtime: str
    inputs: str
    notes: tuple[str, ...]
    tolerance: Tolerance
    gears: tuple[GearReport, ...]
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every output at every gear is within the tolerance."""
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        """The report as plain values; an infinite error is null."""
        return {
            "name": self.name,
            "passed": self.passed,
            "soc": self.soc,
            "runtime": self.runtime,
            "inputs": self.inputs,
            "notes": list(self.notes),
            "tolerance": self.tolerance.model_dump(mode="json", exclude={"inputs"}),
            "gears": [
                {"gear": list(report.gear), "outputs": [plain(output) for output in report.outputs]}
                for report in self.gears
            ],
            "failures": list(self.failures),
        }


def plain(report: OutputReport) -> dict[str, Any]:
    """A report as plain values; an infinite error is null."""
    return {
        field: None if isinstance(value, float) and not math.isfinite(value) else value
        for field, value in (asdict(report) | {"shape": list(report.shape)}).items()
    }


def gear_words(gear: Gear) -> str:
    """A gear as people write it: `8`, or `224,224`; `static` when there is none."""
    return ",".join(map(str, gear)) or "static"


def verify(
    recipe: CompileRecipe,
    om: Path,
    *,
    tolerance: Tolerance | None = None,
    inputs: Path | None = None,
    gears: Sequence[Gear] = (),
) -> Verification:
    """Run a compiled model and its source on the same inputs and compare what they give.

    Uses device 0 of those this process sees, on the calling thread. Outputs are compared as `comparison` says.

    Args:
        recipe: what it was compiled from, with absolute paths.
        om: the compiled model.
        tolerance: the bounds; the recipe's `verify` when None, else those of `Tolerance`.
        inputs: an `.npz` file with an array for each input; the tolerance's `inputs` when None, else random values
            (see `feeds`). Rows and other sizes that gears decide are cut or repeated.
        gears: those to run at; all when empty.

    Raises:
        ConfigError: onnxruntime is missing, the source cannot be run by it, the inputs do not fit, or no such gear.
        CompileError: a SavedModel cannot be converted to ONNX.
        ArtifactError: the file is none, is another SoC's, or has open shapes or AIPP set for each run.
        DeviceError: no device, or it failed.
    """
    check_preprocessing(recipe)
    bounds = tolerance or recipe.verify or Tolerance()
    data = inputs or (Path(bounds.inputs) if bounds.inputs else None)
    with scratch() as folder:
        graph = OnnxGraph(onnx_source(recipe, folder))
        with Device.open() as device, Trial.open(device, om, order=recipe.input_names) as trial:
            reports, notes = _run(recipe, graph, trial, data, gears)
            soc, runtime = device.soc_name, str(device.toolchain)
    failures = tuple(
        f"gear {gear_words(report.gear)}, output '{output.name}': {words}"
        for report in reports
        for output in report.outputs
        for words in departures(output, bounds)
    )
    source = str(data) if data else "random values"
    return Verification(recipe.name, soc, runtime, source, notes, bounds, reports, failures)


def soc_here() -> str:
    """SoC of device 0 of those this process sees; raises as `Device.open`."""
    with Device.open() as device:
        return device.soc_name


def verify_target(
    recipe: CompileRecipe,
    soc: str,
    store: Store,
    *,
    tolerance: Tolerance | None = None,
    inputs: Path | None = None,
    gears: Sequence[Gear] = (),
    atc: str | Path | None = None,
) -> Verification:
    """Verify the artifact of a recipe for one SoC: from the store, or built and put there.

    What a recipe's own `verify` refuses is compared all the same, and not put into the store.

    Args:
        recipe: what to compile, with absolute paths.
        soc: the target, which is to be the device's.
        store: where artifacts are.
        tolerance: as for `verify`.
        inputs: as for `verify`.
        gears: as for `verify`.
        atc: the program to compile with; None looks for it.

    Raises:
        AscendServeError: as `compiling.build.compile_target` and `verify`.
    """
    found: list[Verification] = []

    def compare_then_gate(recipe: CompileRecipe, om: Path) -> dict[str, Any]:
        found.append(verify(recipe, om, tolerance=tolerance, inputs=inputs, gears=gears))
        return gate(recipe, om)

    try:
        # What the gate refused earlier is kept as a failure, and here it is asked to be seen.
        artifact = compile_target(recipe, soc, store, atc=atc, retry_failed=True, gate=compare_then_gate)
    except VerificationFailed:
        if not found:
            raise
        return found[0]
    if found:
        return found[0]
    return verify(recipe, artifact.fetch(), tolerance=tolerance, inputs=inputs, gears=gears)


def check(verification: Verification) -> None:
    """Let a comparison pass, or not.

    Raises:
        VerificationFailed: a bound was passed; the message names gear, output, value and bound.
    """
    if verification.passed:
        return
    shown = verification.failures[:_SHOWN_FAILURES]
    more = len(verification.failures) - len(shown)
    raise VerificationFailed(
        f"{verification.name}@{verification.soc} computes something else than its source: "
        + "; ".join(shown)
        + (f"; and {more} more" if more else "")
        + ". `precision: mixed` or `precision: fp32` keeps more of the source's precision"
    )


def gate(recipe: CompileRecipe, om: Path) -> dict[str, Any]:
    """The gate between building and publishing: the report to keep, or a refusal.

    Args:
        recipe: with `verify`, and absolute paths.
        om: what was built.

    Returns:
        The report as plain values (`Verification.to_json`).

    Raises:
        VerificationFailed: the model is not to be published.
        AscendServeError: as `verify`.
    """
    found = verify(recipe, om)
    check(found)
    return found.to_json()


def _run(
    recipe: CompileRecipe, graph: OnnxGraph, trial: Trial, data: Path | None, gears: Sequence[Gear]
) -> tuple[tuple[GearReport, ...], tuple[str, ...]]:
    chosen = _chosen(recipe, trial, gears)
    dtypes = {name: port.dtype.numpy for name, port in trial.inputs.items()}
    given = feeds.read_inputs(data, dtypes) if data else None
    limits, free = graph.id_limits(), _open_axes(recipe, trial)
    reports = []
    with Reference(graph, list(trial.outputs), _network_dims(recipe, trial)) as reference:
        notes = list(reference.notes)
        for gear, key in chosen:
            wanted = trial.shapes_at(key)
            if given is None:
                arrays = feeds.random_inputs(wanted, dtypes, limits)
            else:
                arrays, done = feeds.fitted(given, wanted, free)
                notes += [f"gear {gear_words(gear)}: {words}" for words in done]
            shapes = {**wanted, **_network_shapes(recipe, gear)}
            expected = reference.run(for_source(recipe, arrays, shapes, reference.dtypes))
            got = trial.run(arrays, key)
            outputs = tuple(compare(name, expected[name], got[name]) for name in trial.outputs)
            reports.append(GearReport(gear, outputs))
    return tuple(reports), tuple(notes)


def _network_dims(recipe: CompileRecipe, trial: Trial) -> dict[str, tuple[int, ...]]:
    """Dims of the network's inputs, -1 where gears decide: the recipe's, else those the device tells."""
    told = {
        name: tuple(dim if isinstance(dim, int) else OPEN for dim in shape)
        for name, shape in recipe.inputs.items()
    }
    return {name: told.get(name, port.dims) for name, port in trial.inputs.items()}


def _network_shapes(recipe: CompileRecipe, gear: Gear) -> dict[str, tuple[int, ...]]:
    """Shapes of the network's inputs at a gear, as far as the recipe tells."""
    pairs = zip(recipe.gear_sizes or ((),), recipe.gear_shapes(), strict=True)
    return next((shapes for sizes, shapes in pairs if sizes == gear), {})


def _chosen(recipe: CompileRecipe, trial: Trial, asked: Sequence[Gear]) -> list[tuple[Gear, Gear | None]]:
    """The gears to run at, each as people know it and as the compiled model does."""
    if trial.gears:
        known: list[tuple[Gear, Gear | None]] = [(gear, gear) for gear in trial.gears]
    else:
        # A single gear is compiled as a static shape.
        known = [(recipe.gear_sizes[0] if len(recipe.gear_sizes) == 1 else (), None)]
    names = [gear for gear, _ in known]
    if unknown := [gear for gear in asked if gear not in names]:
        raise ConfigError(
            f"gear {gear_words(unknown[0])}: the model was compiled for "
            f"{', '.join(map(gear_words, names)) if names != [()] else 'one fixed shape'}"
        )
    return [pair for pair in known if not asked or pair[0] in asked]


def _open_axes(recipe: CompileRecipe, trial: Trial) -> dict[str, set[int]]:
    """The axes of each input whose sizes gears decide, also where a single gear was compiled as a fixed shape."""
    told = {
        name: {axis for axis, dim in enumerate(shape) if dim == OPEN} for name, shape in recipe.inputs.items()
    }
    found = {
        name: {axis for axis, dim in enumerate(port.dims) if dim == OPEN} or told.get(name, set())
        for name, port in trial.inputs.items()
    }
    return found | open_axes(recipe)
