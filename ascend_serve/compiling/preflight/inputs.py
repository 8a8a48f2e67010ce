"""The shapes that a recipe gives, against the inputs of its graph (facts: ATC §1.4, §1.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx

from ascend_serve.compiling.onnx_model import Dims, OnnxModel
from ascend_serve.compiling.preflight.findings import Finding, error, warning
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.shapes import OPEN, Shape, bounds, is_open
from ascend_serve.spec.text import nearest


@dataclass(frozen=True, slots=True)
class Trial:
    """The shapes of all inputs at one gear."""

    gear: tuple[int, ...]
    shapes: dict[str, tuple[int, ...]]


def check_inputs(model: OnnxModel, recipe: CompileRecipe) -> Iterator[Finding]:
    """Compare names, ranks and dims; say what stays open."""
    declared = {value.name: value.dims for value in model.inputs}
    for name, shape in recipe.inputs.items():
        if name not in declared:
            yield _unknown_name(name, model)
        elif (dims := declared[name]) is not None:
            yield from _dims(name, shape, dims, recipe)
    for name in recipe.input_fp16_nodes:
        if name not in declared:
            yield error(f"input_fp16_nodes: '{name}' is no input{nearest(name, declared)}", "E10016")
    for name, dims in declared.items():
        if name not in recipe.inputs and not recipe.input_shape_range:
            yield from _left_out(name, dims, recipe)
    if is_left_open(recipe):
        yield warning(
            "shapes stay open without gears: ATC compiles a model for one host system and processor, and models with "
            "open shapes are not served; give gears, image_gears or dims_gears"
        )


def is_left_open(recipe: CompileRecipe) -> bool:
    """Whether the recipe asks for a model whose shapes the caller decides."""
    opened = any(is_open(dim) for shape in recipe.inputs.values() for dim in shape)
    return bool(recipe.input_shape_range) or (opened and not recipe.gear_kind)


def trials(model: OnnxModel, recipe: CompileRecipe) -> list[Trial]:
    """The shapes of all inputs at each gear, in the recipe's order; one trial without gears.

    Only when `check_inputs` finds no error. Empty for open shapes.
    """
    if is_left_open(recipe):
        return []
    order = [value.name for value in model.inputs]
    rest = {
        value.name: tuple(dim for dim in value.dims if isinstance(dim, int))
        for value in model.inputs
        if value.name not in recipe.inputs and value.dims is not None
    }
    gears = recipe.gear_sizes or ((),)
    shapes: list[dict[str, tuple[int, ...]]] = list(recipe.gear_shapes()) if recipe.inputs else [{}]
    return [
        Trial(gear, {name: (rest | given)[name] for name in order})
        for gear, given in zip(gears, shapes, strict=True)
    ]


def _unknown_name(name: str, model: OnnxModel) -> Finding:
    names = [value.name for value in model.inputs]
    if name in model.weight_names:
        return error(f"inputs: '{name}' is a weight of the graph, not an input: leave it out", "E10016")
    if any(name == node.name for node in model.proto.graph.node):
        return error(
            f"inputs: '{name}' is an inner node of the graph; shapes are given for its inputs: {', '.join(names)}",
            "E10017",
        )
    return error(f"inputs: '{name}' is no input of the graph{nearest(name, names)}", "E10016")


def _dims(name: str, shape: Shape, dims: Dims, recipe: CompileRecipe) -> Iterator[Finding]:
    if len(shape) != len(dims):
        yield error(
            f"inputs: '{name}' is given {len(shape)} dims, {list(shape)}, and has {len(dims)} in the graph, "
            f"{shown(dims)}: give as many",
            "E10049",
        )
        return
    for axis, (given, fixed) in enumerate(zip(shape, dims, strict=True)):
        if not isinstance(fixed, int) or given == fixed:
            continue
        least, most = bounds(given)
        if isinstance(given, str) and not (least <= fixed and (most == OPEN or fixed <= most)):
            yield error(
                f"inputs: axis {axis} of '{name}' is {fixed} in the graph, outside of the range {given}: widen it, or "
                "export with a dynamic axis",
                "E10050",
            )
        elif given == OPEN and _gears_hold_only(fixed, name, axis, recipe):
            continue
        else:
            what = "gears" if given == OPEN and recipe.gear_kind else f"the recipe's {given}"
            yield warning(
                f"inputs: axis {axis} of '{name}' is fixed to {fixed} in the graph: ATC lets {what} override it, which "
                "works only if nothing inside the graph was computed from it; export with a dynamic axis to be sure"
            )


def _gears_hold_only(fixed: int, name: str, axis: int, recipe: CompileRecipe) -> bool:
    """Whether every gear gives an axis the size that the graph gives it."""
    return bool(recipe.gear_kind) and all(shapes[name][axis] == fixed for shapes in recipe.gear_shapes())


def _left_out(name: str, dims: Dims | None, recipe: CompileRecipe) -> Iterator[Finding]:
    if dims is None or not all(isinstance(dim, int) for dim in dims):
        told = "no rank" if dims is None else shown(dims)
        yield error(
            f"input '{name}' has {told} in the graph, and the recipe gives it no shape: add it to `inputs`, with -1 "
            "where gears decide",
            "E10001",
        )
    elif not dims and recipe.gear_kind:
        yield warning(
            f"input '{name}' is a scalar, which ATC wants listed when there are gears: add `{name}: []` to `inputs`"
        )


def check_rows(model: OnnxModel, recipe: CompileRecipe) -> Iterator[Finding]:
    """Whether every input has the batch axis that a recipe with `gears` promises."""
    if not recipe.gears:
        return
    for value in model.inputs:
        if recipe.inputs.get(value.name, ())[:1] != (OPEN,):
            yield error(
                f"input '{value.name}' has no -1 at axis 0: with gears each row of a batch belongs to another request, "
                "so every input needs a batch axis; use dims_gears if the input is one for the whole run"
            )


def shown(dims: Dims) -> str:
    """Dims in brackets, `?` where nothing is known."""
    return "[" + ", ".join("?" if dim is None else str(dim) for dim in dims) + "]"


def element_type(name: str, elem_type: int, recipe: CompileRecipe) -> int:
    """Element type of an input as a caller sends it, which `input_fp16_nodes` changes."""
    return int(onnx.TensorProto.FLOAT16) if name in recipe.input_fp16_nodes else elem_type
