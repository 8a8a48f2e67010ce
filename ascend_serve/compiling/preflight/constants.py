"""Sizes that an exporter wrote into a graph as constants: why a model runs at one batch size and not at another.

Nothing is guessed from how a graph looks: a constant is blamed only when the shapes at some gear do not fit, or when
an output keeps its rows whatever the batch (facts: ATC §1.6).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ascend_serve.compiling.onnx_model import OnnxModel
from ascend_serve.compiling.preflight.findings import Finding, error, warning
from ascend_serve.compiling.preflight.fit import misfits
from ascend_serve.compiling.preflight.inputs import Trial
from ascend_serve.compiling.preflight.operators import dependents
from ascend_serve.compiling.preflight.shapes import Fault, Inferred, Skeleton, infer
from ascend_serve.spec.recipe import CompileRecipe

_TARGET_OF = {"Reshape": 1, "Expand": 1, "Tile": 1, "ConstantOfShape": 0, "Resize": 3}
"""Which input of an operator says what shape it makes."""
_EXPORT = (
    "export the network again with this axis dynamic (torch.onnx.export: dynamic_shapes or dynamic_axes; in the code, "
    "x.shape[0] or -1 in place of the number)"
)


@dataclass(frozen=True, slots=True)
class Tried:
    """What inference made of one trial."""

    trial: Trial
    inferred: Inferred
    faults: tuple[Fault, ...]


def try_all(ready: Skeleton, trials: Sequence[Trial]) -> list[Tried]:
    """Infer the shapes at each gear."""
    tried = []
    for trial in trials:
        inferred = infer(ready, trial.shapes)
        order = {node.name: place for place, node in enumerate(ready.graph.node)}
        faults = {fault.node.name: fault for fault in (*misfits(ready.graph, inferred), *inferred.faults)}
        tried.append(Tried(trial, inferred, tuple(sorted(faults.values(), key=lambda f: order[f.node.name]))))
    return tried


def check_sizes(
    model: OnnxModel, ready: Skeleton, recipe: CompileRecipe, tried: Sequence[Tried]
) -> Iterator[Finding]:
    """Name what does not fit at a gear, and the constant that is the cause of it."""
    failed = [each for each in tried if each.faults]
    if failed:
        fault = failed[0].faults[0]
        where = _gears_of(failed, recipe)
        blamed = _Search(model, ready).blame(fault.node)
        named = {node.name for node in model.nodes}
        said = _described(fault.node, named)
        if blamed is None:
            yield error(
                f"{said} cannot take its inputs{where}: {fault.why}; correct `inputs`, or export for these sizes",
                "E14001",
                fault.node.name if fault.node.name in named else None,
            )
        else:
            node, what = blamed
            then = "" if node is fault.node else f", so that {said} fails"
            yield error(
                f"{_described(node, named)} has {what} as a constant of the graph{then}{where}: {fault.why}; {_EXPORT}",
                "E14001",
                node.name if node.name in named else None,
            )
        return
    if recipe.gears:
        kept = list(_outputs_without_rows(model, ready, recipe, tried))
        yield from kept or _merged_rows(model, ready, recipe, tried)


def _outputs_without_rows(
    model: OnnxModel, ready: Skeleton, recipe: CompileRecipe, tried: Sequence[Tried]
) -> Iterator[Finding]:
    makers = {name: node for node in ready.graph.node for name in node.output}
    for name in output_names(model, recipe):
        for each in tried:
            (rows,) = each.trial.gear
            shape = each.inferred.shapes.get(name)
            if shape is None or (shape and shape[0] in (rows, None)):
                continue
            blamed = _Search(model, ready).blame(makers[name]) if name in makers else None
            cause = ""
            if blamed is not None:
                named = {node.name for node in model.nodes}
                cause = (
                    f"; {_described(blamed[0], named)} has {blamed[1]} as a constant of the graph: {_EXPORT}"
                )
            yield error(
                f"output '{name}' has shape {list(shape)} at batch {rows}: axis 0 has to count the rows of the batch"
                + (cause or "; leave the output out with out_nodes, or compile without gears"),
                node=blamed[0].name if blamed else None,
            )
            break


def _merged_rows(
    model: OnnxModel, ready: Skeleton, recipe: CompileRecipe, tried: Sequence[Tried]
) -> Iterator[Finding]:
    """Targets such as [1, -1], which put all rows of a batch into one."""
    if len(tried) < 2 or all(gear == 1 for gear in recipe.gears):
        return
    search = _Search(model, ready)
    if search.batch is None:
        return
    for node in ready.graph.node:
        if node.op_type == "Reshape" and search.target(node) is not None:
            before, after = (
                [each.inferred.shapes.get(name) for each in tried] for name in (node.input[0], node.output[0])
            )
            grows = None not in before and len(set(before)) > 1
            if grows and {shape[0] if shape else None for shape in after} == {search.batch}:
                yield warning(
                    f"{_described(node, {n.name for n in model.nodes})} has {search.target(node)} as a constant of the "
                    f"graph, which puts all rows of a batch into one: if they mix, requests see each other; {_EXPORT}",
                    node=node.name,
                )
                return


class _Search:
    """Looks upwards in a graph for the constant that decided a size."""

    def __init__(self, model: OnnxModel, ready: Skeleton) -> None:
        self._ready = ready
        self._makers = {name: node for node in ready.graph.node for name in node.output}
        self._fed = dependents(model)
        self._weights = {tensor.name: tuple(tensor.dims) for tensor in ready.graph.initializer} | {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in ready.graph.input
            if value.name in model.weight_names
        }
        leading = {value.dims[0] for value in model.inputs if value.dims}
        fixed = {dim for dim in leading if isinstance(dim, int)}
        self.batch: int | None = min(fixed) if len(leading) == 1 and fixed else None
        """The batch size the graph was exported with, when it is fixed."""

    def blame(self, start: onnx.NodeProto) -> tuple[onnx.NodeProto, str] | None:
        """The nearest node, from `start` upwards, that takes a size from a constant; with that constant in words."""
        seen = {start.name}
        queue = deque([start])
        while queue:
            node = queue.popleft()
            if (what := self.target(node)) is not None:
                return node, what
            for name in node.input:
                maker = self._makers.get(name)
                if maker is not None and maker.name not in seen:
                    seen.add(maker.name)
                    queue.append(maker)
        for name in start.input if start.op_type in ("Concat", "Add", "Mul", "Sub", "Div") else ():
            dims = self._weights.get(name)
            if dims and dims[0] == (self.batch or 1):
                return start, f"'{name}' of shape {list(dims)}"
        return None

    def target(self, node: onnx.NodeProto) -> str | None:
        """The constant shape a node makes, in words, if it fixes what may be the batch."""
        place = _TARGET_OF.get(node.op_type)
        if place is None or len(node.input) <= place or node.domain:
            return None
        value = self._ready.constants.get(node.input[place])
        if value is None or value.ndim != 1 or not value.size or value.dtype != np.int64:
            return None
        if node.op_type == "Reshape" and node.input[0] not in self._fed:
            return None
        first = int(value[0])
        if node.op_type == "Tile":
            return f"the repeats {value.tolist()}" if first > 1 else None
        if first < 1 or (self.batch is not None and first != self.batch):
            return None
        return f"the shape {value.tolist()}"


def output_names(model: OnnxModel, recipe: CompileRecipe) -> list[str]:
    """The tensors that the compiled model gives, which `out_nodes` may choose."""
    if not recipe.out_nodes:
        return [value.name for value in model.outputs]
    by_node = {node.name: node for node in model.proto.graph.node}
    names = []
    for item in recipe.out_nodes:
        stem, colon, index = item.rpartition(":")
        node = by_node.get(stem) if colon and index.isdigit() else None
        names.append(node.output[int(index)] if node and int(index) < len(node.output) else item)
    return names


def _described(node: onnx.NodeProto, named: set[str]) -> str:
    """A node in words; by its first output if the name is one that the file does not hold."""
    if node.name in named and node.name:
        return f"node '{node.name}' ({node.op_type})"
    return f"the {node.op_type} that makes '{next(iter(node.output), '')}'"


def _gears_of(failed: Sequence[Tried], recipe: CompileRecipe) -> str:
    if not recipe.gear_kind:
        shapes = ", ".join(f"{name} {list(shape)}" for name, shape in failed[0].trial.shapes.items())
        return f" with {shapes}" if shapes else ""
    kind = {"batch": "batch", "image": "image size", "dims": "dims"}[recipe.gear_kind]
    return f" at {kind} " + ", ".join("x".join(map(str, each.trial.gear)) for each in failed)
