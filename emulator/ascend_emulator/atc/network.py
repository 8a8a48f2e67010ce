"""The ONNX model on its way into an `.om`: read, checked against the options, given its shapes and outputs.

What ATC's parser and graph preparation refuse is refused here with the same codes (facts/atc_om_soc.md §1.4,
§2.4). The result is one self-contained network that the ONNX runtime runs: weights inside, no local
functions, constants among the weights, the inputs and outputs of the `.om` in its order.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]  # has no stubs

from ascend_emulator.atc.errors import AtcError, not_emulated
from ascend_emulator.atc.request import Request
from ascend_emulator.atc.shapes import Shapes
from ascend_emulator.dtypes import BY_ONNX, DType

LARGEST_MODEL = (1 << 31) - 1
"""Bytes: a protobuf message cannot be larger."""

_BATCH_NAME = "ascend_batch"
_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the network: its shape has -1 where the gear goes."""

    name: str
    dtype: DType
    dims: tuple[int, ...]

    def at(self, gear: int) -> tuple[int, ...]:
        """The shape at a gear."""
        return tuple(gear if dim < 0 else dim for dim in self.dims)

    def bytes_at(self, gear: int) -> int:
        """Size in bytes at a gear."""
        return math.prod(self.at(gear)) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Output:
    """One output: the tensor in the network and its name in the `.om`, `node:index:tensor`."""

    tensor: str
    name: str


def load(path: Path) -> onnx.ModelProto:
    """Read a model and what it keeps in files beside it; local functions are inlined.

    Raises:
        AtcError: E13001 the file, or one it names, cannot be read; E13005 no ONNX; E13015 empty; E16004 no
            graph.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AtcError("E13001", path, f"[Error {error.errno}] {error.strerror}") from error
    if not 0 < len(data) <= LARGEST_MODEL:
        raise AtcError("E13015", path, len(data), LARGEST_MODEL)
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise AtcError(
            "E13005", path, cause=f"The file is no ONNX model, or not a whole one: {error}."
        ) from error
    if not model.HasField("graph"):
        raise AtcError("E16004")
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        reason = " ".join(str(error).split()).removesuffix(".")
        solution = "Keep the external data where the model says, beside the model."
        raise AtcError("E13001", path, reason, solution=solution) from error
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    _name_nodes(model)
    return model


def _name_nodes(model: onnx.ModelProto) -> None:
    """Name the nodes that have no name: ONNX does not need it, a graph of GE and a report do."""
    taken = {node.name for node in model.graph.node}
    for number, node in enumerate(model.graph.node):
        if not node.name:
            name = f"{node.op_type}_{number}"
            while name in taken:
                name += "_"
            taken.add(name)
            node.name = name


def check_graph(model: onnx.ModelProto) -> None:
    """What ATC's parser requires of a graph.

    Raises:
        AtcError: E16001 no input or no output; E16002 an operator no standard opset has.
    """
    if not real_inputs(model):
        raise AtcError("E16001", "input")
    if not model.graph.output:
        raise AtcError("E16001", "output")
    versions = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    unknown: list[str] = []
    graphs = [model.graph]
    while graphs:
        for node in graphs.pop().node:
            domain = node.domain or "ai.onnx"
            version = versions.get(domain, 0)
            if domain != "ai.onnx" or not onnx.defs.has(node.op_type, version):
                optype = f"{domain}::{version}::{node.op_type}"
                if optype not in unknown:
                    unknown.append(optype)
            for attribute in node.attribute:
                graphs += [attribute.g] if attribute.HasField("g") else []
                graphs += attribute.graphs
    if unknown:
        follow = tuple(AtcError("E16002", optype).message for optype in unknown[1:])
        raise AtcError("E16002", unknown[0], trace=follow)


def opset(model: onnx.ModelProto) -> int:
    """Version of the standard operators; 0 when the model names none."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def real_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs a caller feeds: old models list their weights among the inputs too."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _declared(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """The shape an input declares, -1 for what it leaves open; None where even the rank is open."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.WhichOneof("value") == "dim_value" and dim.dim_value >= 0 else -1
        for dim in tensor.shape.dim
    )


def _dtype(value: onnx.ValueInfoProto) -> DType:
    kind = value.type.WhichOneof("value")
    number = value.type.tensor_type.elem_type if kind == "tensor_type" else 0
    if number not in BY_ONNX:
        what = onnx.TensorProto.DataType.Name(number) if kind == "tensor_type" else str(kind)
        raise not_emulated(f"input '{value.name}' of type {what}")
    return BY_ONNX[number]


def _check_names(model: onnx.ModelProto, names: Shapes, option: str) -> None:
    inputs = {value.name for value in real_inputs(model)}
    inner = {name for node in model.graph.node for name in (node.name, *node.output)} - {""}
    inner |= {tensor.name for tensor in model.graph.initializer}
    for name in names:
        if name not in inputs:
            solution = f"The inputs are {', '.join(sorted(inputs))}."
            raise AtcError("E10017" if name in inner else "E10016", name, option, solution=solution)


def set_inputs(model: onnx.ModelProto, request: Request) -> tuple[Input, ...]:
    """Give every input its shape, and make FP16 what `--input_fp16_nodes` names.

    Weights leave the list of inputs, and shapes recorded for inner tensors and outputs go, since they may be
    those of another batch.

    Raises:
        AtcError: E10016/E10017 a name that is no input; E10049 another rank; E10001 a shape that stays open.
    """
    _check_names(model, request.shapes, "input_shape")
    _check_names(model, dict.fromkeys(request.fp16_inputs, ()), "input_fp16_nodes")
    values = real_inputs(model)
    inputs = []
    for value in values:
        dtype, declared = _dtype(value), _declared(value)
        dims = request.shapes.get(value.name, declared)
        if dims is not None and declared is not None and len(dims) != len(declared):
            raise AtcError(
                "E10049", len(dims), len(declared), cause=f"Input '{value.name}' is of another rank."
            )
        if dims is None or (value.name not in request.shapes and -1 in dims):
            told = "unknown" if dims is None else ",".join(map(str, dims))
            reason = f"the shape of input '{value.name}' contains -1. Set --input_shape to specify its shape."
            raise AtcError("E10001", told, "--input_shape", reason)
        if value.name in request.fp16_inputs:
            if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
                raise not_emulated(f"--input_fp16_nodes for input '{value.name}' of type {dtype.name}")
            _feed_half(model.graph, value)
            dtype = _dtype(value)
        shape = value.type.tensor_type.shape
        shape.ClearField("dim")
        for dim in dims:
            if dim < 0:
                shape.dim.add().dim_param = _BATCH_NAME
            else:
                shape.dim.add().dim_value = dim
        # A scalar's shape has no dims, yet must be there: without it the rank would be open.
        value.type.tensor_type.shape.SetInParent()
        inputs.append(Input(value.name, dtype, dims))
    kept = list(values)
    del model.graph.input[:]
    model.graph.input.extend(kept)
    del model.graph.value_info[:]
    return tuple(inputs)


def _rename_reads(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                _rename_reads(inner, old, new)


def _feed_half(graph: onnx.GraphProto, value: onnx.ValueInfoProto) -> None:
    """Make an input FP16; the network goes on in float32, as it was written."""
    wide = f"{value.name}__float"
    _rename_reads(graph, value.name, wide)
    graph.node.insert(
        0, onnx.helper.make_node("Cast", [value.name], [wide], name=wide, to=onnx.TensorProto.FLOAT)
    )
    value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16


def _producers(model: onnx.ModelProto) -> dict[str, tuple[str, int]]:
    """Tensor to the node that makes it and the place among that node's outputs."""
    found = {name: (name, 0) for name in [value.name for value in real_inputs(model)]}
    found |= {tensor.name: (tensor.name, 0) for tensor in model.graph.initializer}
    for node in model.graph.node:
        found |= {name: (node.name, place) for place, name in enumerate(node.output) if name}
    return found


def set_outputs(model: onnx.ModelProto, out_nodes: tuple[str, ...]) -> tuple[Output, ...]:
    """Choose the outputs: the model's own, or those of `--out_nodes` in its order.

    An item is `node:index` or the name of a tensor (facts §1.7). Output types and shapes are left to
    inference.

    Raises:
        AtcError: E10016 no such node or tensor; E10001 both styles in one list.
    """
    producers = _producers(model)
    by_node = {place: tensor for tensor, place in producers.items()}
    tensors = [value.name for value in model.graph.output]
    if out_nodes:
        tensors, styles = [], set()
        for item in out_nodes:
            node, _, index = item.rpartition(":")
            named = (node, int(index)) if re.fullmatch("[0-9]{1,9}", index) else None
            if named in by_node:
                tensors.append(by_node[named])
            elif item in producers:
                tensors.append(item)
            else:
                raise AtcError("E10016", item, "out_nodes")
            styles.add(named in by_node)
        if len(styles) > 1:
            reason = "Nodes with an index and names of tensors cannot be mixed."
            raise AtcError("E10001", ";".join(out_nodes), "--out_nodes", reason)
    for tensor in tensors:
        if tensor not in producers:
            raise AtcError("E16001", tensor, cause="The graph names an output that no node makes.")
    del model.graph.output[:]
    for tensor in tensors:
        model.graph.output.add().name = tensor
    return tuple(
        Output(tensor, f"{producers[tensor][0]}:{producers[tensor][1]}:{tensor}") for tensor in tensors
    )


def lift_constants(model: onnx.ModelProto) -> None:
    """Turn `Constant` nodes into weights, which is what GE makes of them."""
    nodes = []
    for node in model.graph.node:
        attribute = node.attribute[0] if node.op_type == "Constant" and len(node.attribute) == 1 else None
        array = None if attribute is None else _constant(attribute)
        if array is None:
            nodes.append(node)
        else:
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, node.output[0]))
    kept = list(nodes)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _constant(attribute: onnx.AttributeProto) -> np.ndarray[Any, Any] | None:
    match attribute.name:
        case "value":
            return onnx.numpy_helper.to_array(attribute.t)
        case "value_float":
            return np.array(attribute.f, np.float32)
        case "value_floats":
            return np.array(attribute.floats, np.float32)
        case "value_int":
            return np.array(attribute.i, np.int64)
        case "value_ints":
            return np.array(attribute.ints, np.int64)
    # Sparse and string constants stay nodes.
    return None


def cast_outputs(model: onnx.ModelProto, outputs: tuple[Output, ...], output_type: str) -> tuple[Output, ...]:
    """Cast every output to FP32 or FP16 (`--output_type`); their names in the `.om` stay.

    Raises:
        AtcError: E10055 an output that is not of floating point.
    """
    if not output_type:
        return outputs
    target = onnx.TensorProto.FLOAT16 if output_type == "FP16" else onnx.TensorProto.FLOAT
    inferred = onnx.shape_inference.infer_shapes(model).graph.output
    types = {value.name: value.type.tensor_type.elem_type for value in inferred}
    cast = []
    for output in outputs:
        if types[output.tensor] not in _FLOATS:
            kind = onnx.TensorProto.DataType.Name(types[output.tensor])
            raise not_emulated(f"--output_type={output_type} for output '{output.tensor}' of type {kind}")
        tensor = f"{output.tensor}__{output_type.lower()}"
        model.graph.node.append(
            onnx.helper.make_node("Cast", [output.tensor], [tensor], name=tensor, to=target)
        )
        cast.append(Output(tensor, output.name))
    del model.graph.output[:]
    for output in cast:
        model.graph.output.add().name = output.tensor
    return tuple(cast)


def serialize(model: onnx.ModelProto, path: Path) -> bytes:
    """The network's bytes, the same for the same network.

    Raises:
        AtcError: E13015 more than a protobuf message can hold.
    """
    try:
        data: bytes = model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise AtcError(
            "E13015", path, "more", LARGEST_MODEL, cause=f"With its weights inside: {error}."
        ) from error
    return data
