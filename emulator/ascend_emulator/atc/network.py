"""The ONNX model on its way into an `.om`: read, checked against the options, given its shapes and outputs.

What ATC's parser and graph preparation refuse is refused here with the same codes (facts/atc_om_soc.md §1.4,
§2.4). The result is one self-contained network that the ONNX runtime runs: weights inside, no local
functions, constants among the weights, the inputs and outputs of the `.om` in its order.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]  # has no stubs

from ascend_emulator.atc.errors import AtcError, not_emulated
from ascend_emulator.atc.paths import reason_of
from ascend_emulator.atc.request import Request
from ascend_emulator.atc.shape_ranges import LOWEST, Range, Ranges
from ascend_emulator.atc.shapes import Shapes
from ascend_emulator.dtypes import BY_ONNX, DType
from ascend_emulator.gears import GearKind

LARGEST_MODEL = (1 << 31) - 1
"""Bytes: a protobuf message cannot be larger."""

_BATCH_NAME = "ascend_batch"
_IMAGE_NAMES = ("ascend_height", "ascend_width")


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the network.

    Attributes:
        name: in the model.
        dtype: of its elements in memory.
        dims: its shape in memory, -1 where a gear or a range leaves it open.
        ranges: lowest and highest size of each axis of an input of truly dynamic shape; () of every other.
        image: with AIPP the image's n, h, w and c, which is the shape a caller is told first; () without.
    """

    name: str
    dtype: DType
    dims: tuple[int, ...]
    ranges: tuple[Range, ...] = ()
    image: tuple[int, ...] = ()


def read(path: Path) -> bytes:
    """A model file's bytes.

    Raises:
        AtcError: E13001 it cannot be read; E13015 empty, or larger than a protobuf message can be.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AtcError("E13001", path, reason_of(error)) from error
    if not 0 < len(data) <= LARGEST_MODEL:
        raise AtcError("E13015", path, len(data), LARGEST_MODEL)
    return data


def load(path: Path) -> onnx.ModelProto:
    """Read a model and what it keeps in files beside it; local functions are inlined.

    Raises:
        AtcError: E13001 the file, or one it names, cannot be read; E13005 no ONNX; E13015 empty; E16004 no
            graph.
    """
    data = read(path)
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
    """What ATC's parser requires of a graph, its operators apart.

    Raises:
        AtcError: E16001 no input or no output.
    """
    if not real_inputs(model):
        raise AtcError("E16001", "input")
    if not model.graph.output:
        raise AtcError("E16001", "output")


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


def _inner_names(model: onnx.ModelProto) -> set[str]:
    """What a user may take for the name of an input: the nodes and what they make, and the weights."""
    inner = {name for node in model.graph.node for name in (node.name, *node.output)} - {""}
    return inner | {tensor.name for tensor in model.graph.initializer}


def check_names(inputs: Set[str], inner: Set[str], request: Request) -> None:
    """Check the names of inputs that the options give.

    Args:
        inputs: names of the model's inputs.
        inner: names of what else is in it.
        request: what was asked for.

    Raises:
        AtcError: E10016 a name that is nowhere; E10017 one of something else.
    """
    ranges = request.ranges
    _check_names(inputs, inner, request.shapes if ranges is None else ranges.by_name, "input_shape")
    _check_names(inputs, inner, request.fp16_inputs, "input_fp16_nodes")


def _check_names(inputs: Set[str], inner: Set[str], names: Iterable[str], option: str) -> None:
    for name in names:
        if name not in inputs:
            solution = f"The inputs are {', '.join(sorted(inputs))}."
            raise AtcError("E10017" if name in inner else "E10016", name, option, solution=solution)


def _check_rank(given: int, declared: tuple[int, ...] | None, name: str) -> None:
    if declared is not None and given != len(declared):
        raise AtcError("E10049", given, len(declared), cause=f"Input '{name}' is of another rank.")


def _fixed_dims(name: str, declared: tuple[int, ...] | None, shapes: Shapes) -> tuple[int, ...]:
    """The shape that the options or the model give; -1 only where the options put one for the gears."""
    dims = shapes.get(name, declared)
    if dims is not None:
        _check_rank(len(dims), declared, name)
    if dims is None or (name not in shapes and -1 in dims):
        told = "unknown" if dims is None else ",".join(map(str, dims))
        reason = f"the shape of input '{name}' contains -1. Set --input_shape to specify its shape."
        raise AtcError("E10001", told, "--input_shape", reason)
    return dims


def _ranges_of(name: str, place: int, declared: tuple[int, ...] | None, ranges: Ranges) -> tuple[Range, ...]:
    """The ranges that the options give an input, or that its open axes leave."""
    given = ranges.by_name.get(name)
    if given is None and ranges.by_place:
        if place >= len(ranges.by_place):
            reason = f"input {place} has no shape, --input_shape gives {len(ranges.by_place)}"
            raise AtcError("E13025", reason)
        given = ranges.by_place[place]
    if given is None:
        if declared is None:
            reason = f"the rank of input '{name}' is unknown. Set --input_shape to specify its shape."
            raise AtcError("E10001", "unknown", "--input_shape", reason)
        return tuple((LOWEST, -1) if dim < 0 else (dim, dim) for dim in declared)
    _check_rank(len(given), declared, name)
    for dim, (lowest, highest) in zip(declared or (), given, strict=False):
        if dim >= 0 and (dim < lowest or -1 < highest < dim):
            raise AtcError(
                "E10050", dim, lowest, highest, cause=f"Input '{name}' has that size in the model."
            )
    return given


def dims_of(
    name: str, place: int, declared: tuple[int, ...] | None, request: Request
) -> tuple[tuple[int, ...], tuple[Range, ...]]:
    """The shape of an input, -1 at open axes, and the ranges of its axes where the options give ranges.

    Args:
        name: of the input.
        place: among the inputs.
        declared: what the model says of its shape, -1 for what it leaves open; None for an open rank.
        request: what was asked for.

    Raises:
        AtcError: E10049 another rank; E10050 a size outside its range; E10001 a shape that stays open; E13025
            an input without ranges.
    """
    if request.ranges is None:
        return _fixed_dims(name, declared, request.shapes), ()
    spans = _ranges_of(name, place, declared, request.ranges)
    return tuple(low if low == high else -1 for low, high in spans), spans


def set_inputs(model: onnx.ModelProto, request: Request) -> tuple[Input, ...]:
    """Give every input its shape, and make FP16 what `--input_fp16_nodes` names.

    Weights leave the list of inputs, and shapes recorded for inner tensors and outputs go, since they may be
    those of another batch.

    Raises:
        AtcError: E10016/E10017 a name that is no input; E10049 another rank; E10050 a size outside its range;
            E10001 a shape that stays open; E13025 an input without ranges; E10005 or E10055 an input in a
            layout of the hardware.
    """
    values = real_inputs(model)
    check_names({value.name for value in values}, _inner_names(model), request)
    check_layouts(request.hw_inputs, "is_input_adjust_hw_layout")
    inputs = []
    for place, value in enumerate(values):
        dtype = _dtype(value)
        dims, spans = dims_of(value.name, place, _declared(value), request)
        if value.name in request.fp16_inputs:
            if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
                raise not_emulated(f"--input_fp16_nodes for input '{value.name}' of type {dtype.name}")
            _feed_half(model.graph, value)
            dtype = _dtype(value)
        _write_dims(value, dims, request.gear_kind)
        inputs.append(Input(value.name, dtype, dims, spans if -1 in dims else ()))
    kept = list(values)
    del model.graph.input[:]
    model.graph.input.extend(kept)
    del model.graph.value_info[:]
    return tuple(inputs)


def check_layouts(text: str, option: str) -> None:
    """Check an option that puts tensors into the layout of the hardware.

    Raises:
        AtcError: E10005 neither true nor false; E10055 true, which is not emulated.
    """
    for value in map(str.strip, text.split(",") if text else ()):
        if value not in ("true", "false"):
            raise AtcError("E10005", value, option)
        if value == "true":
            raise not_emulated(f"--{option}={text}", "Leave the tensors in the layout of the model.")


def _write_dims(value: onnx.ValueInfoProto, dims: tuple[int, ...], kind: GearKind | None) -> None:
    """Write a shape into the network: open axes get a name, the same where a gear makes them the same."""
    shape = value.type.tensor_type.shape
    shape.ClearField("dim")
    images = iter(_IMAGE_NAMES)
    for axis, dim in enumerate(dims):
        if dim >= 0:
            shape.dim.add().dim_value = dim
        elif kind is GearKind.BATCH:
            shape.dim.add().dim_param = _BATCH_NAME
        elif kind is GearKind.IMAGE_SIZE:
            shape.dim.add().dim_param = next(images)
        else:
            shape.dim.add().dim_param = f"{value.name}_{axis}"
    # A scalar's shape has no dims, yet must be there: without it the rank would be open.
    shape.SetInParent()


def rename_reads(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Let every node, those of subgraphs too, read another tensor in place of one."""
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                rename_reads(inner, old, new)


def _feed_half(graph: onnx.GraphProto, value: onnx.ValueInfoProto) -> None:
    """Make an input FP16; the network goes on in float32, as it was written."""
    wide = f"{value.name}__float"
    rename_reads(graph, value.name, wide)
    graph.node.insert(
        0, onnx.helper.make_node("Cast", [value.name], [wide], name=wide, to=onnx.TensorProto.FLOAT)
    )
    value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16


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
