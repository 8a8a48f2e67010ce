"""What would go wrong with a recipe, seen before ATC runs: no toolchain and no card is needed.

It rests on the model's file, ONNX's own inference, and what documents and sources say of ATC (facts: ATC §1.3–1.9,
§2.4, §4). An error is a thing that cannot be built, or not served; anything less sure is a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from ascend_serve.compiling.onnx_model import OnnxModel, read_onnx
from ascend_serve.compiling.preflight.constants import check_sizes, output_names, try_all
from ascend_serve.compiling.preflight.files import check_external_data, check_option_files, check_source
from ascend_serve.compiling.preflight.findings import SLOTS, Finding, GearShapes, Preflight, error
from ascend_serve.compiling.preflight.images import check_images, check_images_for
from ascend_serve.compiling.preflight.inputs import check_inputs, check_rows, trials
from ascend_serve.compiling.preflight.memory import check_memory, device_bytes, gear_shapes, weight_bytes
from ascend_serve.compiling.preflight.operators import check_operators, check_signature
from ascend_serve.compiling.preflight.shapes import skeleton
from ascend_serve.compiling.preflight.targets import check_target
from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import Soc
from ascend_serve.spec.text import nearest

__all__ = ["SLOTS", "Finding", "GearShapes", "Preflight", "preflight", "preflight_targets"]


_HARMLESS = (
    "No Op registered for",  # a parser of a custom package may know it, and it has its warning
    "is higher than the checker's",  # of the IR version, which has its warning
    "Field 'shape' of 'type' is required",  # exporters leave out shapes they do not know, and ATC infers its own
)
"""What ONNX's checker refuses and ATC need not."""


def preflight(recipe: CompileRecipe, soc: Soc | None = None) -> Preflight:
    """See what would go wrong.

    Args:
        recipe: with absolute paths.
        soc: the target; None leaves out what only a target can tell.
    """
    found = _look(recipe)
    return found if soc is None else _for_target(found, recipe, soc)


def preflight_targets(recipe: CompileRecipe, socs: Sequence[Soc]) -> dict[str, Preflight]:
    """The same for several targets, by name; the model is looked at once."""
    found = _look(recipe)
    return {soc.name: _for_target(found, recipe, soc) for soc in socs}


def _for_target(found: Preflight, recipe: CompileRecipe, soc: Soc) -> Preflight:
    findings = (
        *check_target(recipe, soc),
        *check_images_for(recipe, soc),
        *check_memory(found.weight_bytes, found.gears, soc),
    )
    return replace(found, findings=(*found.findings, *findings))


def _look(recipe: CompileRecipe) -> Preflight:
    findings = [*check_option_files(recipe), *check_source(recipe)]
    nothing = Preflight(tuple(findings), (), 0, None)
    if recipe.framework_of() != "onnx" or any(finding.code != "E10410" for finding in findings):
        return nothing
    try:
        model = read_onnx(Path(recipe.source))
    except ConfigError as reason:
        return replace(nothing, findings=(*findings, error(str(reason), "E13005")))
    weights = weight_bytes(model, recipe)
    broken = list(check_external_data(model)) or _check_format(model)
    findings += [*broken, *check_signature(model), *check_operators(model, recipe)]
    findings += _check_outputs(model, recipe)
    findings += check_images(model, recipe)
    wrong_inputs = list(check_inputs(model, recipe))
    findings += wrong_inputs
    if broken or any(finding.severity == "error" for finding in wrong_inputs):
        return Preflight(tuple(findings), (), weights, None)
    findings += check_rows(model, recipe)
    try:
        ready = skeleton(model)
        tried = try_all(ready, trials(model, recipe))
    except ConfigError as reason:
        return Preflight((*findings, error(str(reason), "E13005")), (), weights, None)
    findings += check_sizes(model, ready, recipe, tried)
    gears = tuple(gear_shapes(model, ready, recipe, each) for each in tried)
    return Preflight(tuple(findings), gears, weights, device_bytes(weights, gears))


def _check_format(model: OnnxModel) -> list[Finding]:
    """ONNX's own checker, by path, so that external data and large models are checked too."""
    try:
        onnx.checker.check_model(str(model.path))
    except onnx.checker.ValidationError as reason:
        if any(harmless in str(reason) for harmless in _HARMLESS):
            return []
        return [error(f"onnx.checker: {' '.join(str(reason).split())}", "E13005")]
    except UnicodeDecodeError:  # its message would hold a name that is no text
        return [error(f"source {model.path} holds a name that is no text: fetch it again", "E13005")]
    return []


def _check_outputs(model: OnnxModel, recipe: CompileRecipe) -> list[Finding]:
    made = {name for node in model.proto.graph.node for name in node.output}
    nodes = [node.name for node in model.proto.graph.node if node.name]
    wrong = [
        item
        for item, name in zip(recipe.out_nodes, output_names(model, recipe), strict=False)
        if name not in made
    ]
    return [
        error(
            f"out_nodes: '{item}' is neither `node:index` nor a tensor of the graph"
            + nearest(item.rpartition(":")[0] or item, nodes),
            "E10016",
        )
        for item in wrong
    ]
