"""Shapes of all tensors of a graph for given inputs, and where they do not fit.

ONNX's own inference walks the graph. What it leaves open because a shape is computed inside the graph (Shape, Where,
Expand) is computed here with ONNX's reference operators, which need no weights, and inferred again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx.reference

from ascend_serve.compiling.onnx_model import SMALL_ELEMENTS, OnnxModel, graphs
from ascend_serve.errors import ConfigError

Shape = tuple[int | None, ...]
Array = np.ndarray[Any, np.dtype[Any]]

_FAULT = re.compile(r"\(op_type:(?P<op>[^,\n]*), node name: (?P<node>.*?)\): (?:\[\w+\] )?(?P<why>.*)")
_BRANCHING = ("If", "Loop", "Scan")
_COMPUTABLE = frozenset(
    {
        "Abs", "Add", "And", "Cast", "Ceil", "Concat", "ConstantOfShape", "Div", "Equal",
        "Expand", "Flatten", "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity", "Less",
        "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Range", "ReduceMax",
        "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "ScatterND", "Sign", "Slice",
        "Split", "Sqrt", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip
"""Operators that exporters compute shapes with."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A node that cannot take its inputs."""

    node: onnx.NodeProto
    why: str


@dataclass(frozen=True, slots=True)
class Inferred:
    """Shapes for one set of input shapes.

    Attributes:
        shapes: of each tensor of the outer graph whose rank is known.
        types: element types, as ONNX numbers them.
        faults: in the graph's order.
    """

    shapes: dict[str, Shape]
    types: dict[str, int]
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A graph made ready to be inferred again and again.

    Attributes:
        proto: functions expanded, nodes named, recorded shapes left out, since they may be of another batch.
        constants: small weights and constants, by tensor name.
    """

    proto: onnx.ModelProto
    constants: dict[str, Array]

    @property
    def graph(self) -> onnx.GraphProto:
        """The outer graph."""
        return self.proto.graph


def skeleton(model: OnnxModel) -> Skeleton:
    """Make a graph ready.

    Raises:
        ConfigError: a constant of it is damaged.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    taken = {node.name for graph in graphs(proto.graph) for node in graph.node}
    for graph in graphs(proto.graph):
        del graph.value_info[:]
        for output in graph.output:
            output.type.tensor_type.ClearField("shape")
        for place, node in enumerate(graph.node):
            if not node.name:
                node.name = f"{node.op_type}_{place}"
                while node.name in taken:
                    node.name += "_"
                taken.add(node.name)
    constants = {tensor.name: _array(tensor) for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute and (value := _constant(node)) is not None:
            constants[node.output[0]] = value
    return Skeleton(proto, constants)


def _constant(node: onnx.NodeProto) -> Array | None:
    attribute = node.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return _array(value)
    if attribute.name in ("value_int", "value_ints"):
        return np.asarray(value, np.int64)
    if attribute.name in ("value_float", "value_floats"):
        return np.asarray(value, np.float32)
    return None


def _array(tensor: onnx.TensorProto) -> Array:
    try:
        return onnx.numpy_helper.to_array(tensor)
    except (ValueError, KeyError) as reason:
        raise ConfigError(
            f"tensor '{tensor.name}' of the model is damaged ({reason}): export it again"
        ) from reason


def infer(ready: Skeleton, inputs: Mapping[str, Sequence[int]]) -> Inferred:
    """Infer the shapes of all tensors.

    Args:
        ready: the graph.
        inputs: shape of each of its inputs.

    Raises:
        ConfigError: ONNX's inference does not take the graph at all.
    """
    trial = onnx.ModelProto()
    trial.CopyFrom(ready.proto)
    for value in trial.graph.input:
        if value.name in inputs:
            shape = value.type.tensor_type.shape
            shape.ClearField("dim")
            for dim in inputs[value.name]:
                shape.dim.add().dim_value = dim
            value.type.tensor_type.shape.CopyFrom(shape)
    values = dict(ready.constants)
    complaints, shapes, types = _infer_once(trial)
    # What was computed may complete further shapes; each round takes nodes out of the graph, so that it ends.
    while _is_incomplete(trial.graph, shapes) and _compute(trial, shapes, values):
        complaints, shapes, types = _infer_once(trial)
    faults = [
        Fault(node, complaints[node.name])
        for node in trial.graph.node
        if node.name in complaints and _is_certain(node, shapes)
    ]
    return Inferred(shapes, types, tuple(faults))


def _infer_once(trial: onnx.ModelProto) -> tuple[dict[str, str], dict[str, Shape], dict[str, int]]:
    complaints: dict[str, str] = {}
    try:
        done = onnx.shape_inference.infer_shapes(trial, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        for match in _FAULT.finditer(str(error)):
            complaints.setdefault(match["node"], match["why"].strip())
        done = _lenient(trial)
    except ValueError:
        done = _lenient(trial)
    shapes: dict[str, Shape] = {}
    types: dict[str, int] = {}
    for value in (*done.graph.input, *done.graph.value_info, *done.graph.output):
        tensor = value.type.tensor_type
        types[value.name] = tensor.elem_type
        if tensor.HasField("shape"):
            shapes[value.name] = tuple(
                dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim
            )
    for weight in done.graph.initializer:
        types[weight.name] = weight.data_type
        shapes[weight.name] = tuple(weight.dims)
    return complaints, shapes, types


def _lenient(trial: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(trial, data_prop=True)
    except (ValueError, onnx.shape_inference.InferenceError) as reason:
        raise ConfigError(
            f"onnx.shape_inference: {' '.join(str(reason).split())}: export it again"
        ) from reason


def _is_certain(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> bool:
    """Whether a complaint about a node is about shapes that are known, not about those that are not."""
    return node.op_type not in _BRANCHING and all(
        name in shapes and None not in shapes[name] for name in node.input if name
    )


def _is_incomplete(graph: onnx.GraphProto, shapes: Mapping[str, Shape]) -> bool:
    return any(
        name and (name not in shapes or None in shapes[name]) for node in graph.node for name in node.output
    )


def _compute(trial: onnx.ModelProto, shapes: Mapping[str, Shape], values: dict[str, Array]) -> bool:
    """Compute what follows from shapes and constants and put it in place of the nodes; whether anything did."""
    graph = trial.graph
    opsets = {entry.domain: entry.version for entry in trial.opset_import}
    kept = []
    for node in graph.node:
        results = _results(node, shapes, values, opsets)
        if results is None:
            kept.append(node)
            continue
        for name, result in zip(node.output, results, strict=True):
            values[name] = result
            graph.initializer.append(
                onnx.numpy_helper.from_array(np.ascontiguousarray(result).reshape(result.shape), name)
            )
    changed = len(kept) < len(graph.node)
    if changed:
        copies = list(kept)
        del graph.node[:]
        graph.node.extend(copies)
    return changed


def _results(
    node: onnx.NodeProto, shapes: Mapping[str, Shape], values: Mapping[str, Array], opsets: Mapping[str, int]
) -> list[Array] | None:
    if node.op_type in ("Shape", "Size") and not node.domain:
        shape = shapes.get(node.input[0])
        if shape is None or None in shape:
            return None
        dims = [dim for dim in shape if dim is not None]
        if node.op_type == "Size":
            return [np.asarray(math.prod(dims), np.int64)]
        marks = {attribute.name: attribute.i for attribute in node.attribute}
        return [np.asarray(dims[marks.get("start", 0) : marks.get("end", len(dims))], np.int64)]
    names = [name for name in node.input if name]
    if node.domain or node.op_type not in _COMPUTABLE or any(name not in values for name in names):
        return None
    if any(not _is_small(shapes.get(name)) for name in node.output if name):
        return None
    try:
        # The operators of the reference are plain numpy: what they raise is what numpy raises.
        results = _reference(node, opsets, {name: values[name] for name in names})
    except (ValueError, TypeError, IndexError, RuntimeError, ArithmeticError):
        return None
    return results if all(result.size <= SMALL_ELEMENTS for result in results) else None


def _is_small(shape: Shape | None) -> bool:
    """Whether a result may be computed; one whose shape is not known is that of a few numbers, as shapes are."""
    return shape is None or None in shape or math.prod(dim or 0 for dim in shape) <= SMALL_ELEMENTS


def _reference(node: onnx.NodeProto, opsets: Mapping[str, int], feeds: dict[str, Array]) -> list[Array]:
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in feeds],
        [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in node.output if name],
    )
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    evaluator = onnx.reference.ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=imports))
    return [np.asarray(result) for result in evaluator.run(None, feeds)]
