"""ONNX models as compiling sees them: signature, graph and sizes, without their weights.

Weights are what makes a model large, and no shape depends on them, so they are replaced by their types and shapes;
only small tensors, which reshape and resize targets are, keep their values. External data is located, not read
(facts: ATC §1.3; GE's parser joins the model's folder and each tensor's `location`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # has no stubs

from ascend_serve.errors import ConfigError

SMALL_ELEMENTS = 1024
"""Tensors of at most so many elements keep their values: targets of Reshape, sizes of Resize, axes."""

_TYPES = frozenset(onnx.TensorProto.DataType.values())
_HALF_BYTES = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1)

Dims = tuple[int | str | None, ...]
"""Dims as a graph declares them: a number, a symbol's name, or None where it tells nothing."""


@dataclass(frozen=True, slots=True)
class Value:
    """One input or output of a graph.

    Attributes:
        name: its name.
        elem_type: element type as ONNX numbers it; 0 when it is no tensor.
        dims: shape, or None when the graph does not even tell the rank.
    """

    name: str
    elem_type: int
    dims: Dims | None


@dataclass(frozen=True, slots=True)
class External:
    """Where a tensor's data lies outside the model's file.

    Attributes:
        tensor: name of the tensor.
        location: the file as the model names it, relative to the model's folder.
        offset: first byte.
        size: bytes that have to be there.
    """

    tensor: str
    location: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A model without its weights.

    Attributes:
        path: the file it was read from.
        proto: the model; each large weight stands among the graph's inputs, with its type and shape.
        inputs: what a caller feeds, weights left out.
        outputs: what the graph gives.
        weights: element type and number of elements of each constant tensor, those in inner graphs included.
        weight_names: names of the graph's weights.
        external: tensors whose data is in other files.
    """

    path: Path
    proto: onnx.ModelProto
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    weights: tuple[tuple[int, int], ...]
    weight_names: frozenset[str]
    external: tuple[External, ...]

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """All nodes, those of inner graphs included."""
        return [node for graph in graphs(self.proto.graph) for node in graph.node]

    @property
    def opset(self) -> int:
        """Version of the standard operators; 0 when the model names none."""
        return next((e.version for e in self.proto.opset_import if e.domain in ("", "ai.onnx")), 0)


def read_onnx(path: Path) -> OnnxModel:
    """Read a model.

    Raises:
        ConfigError: the file is no ONNX model, or holds no graph; the message names it.
        OSError: the file cannot be read.
    """
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ConfigError(
            f"{path} is no ONNX model, or not a whole one ({error}): export it, or fetch it, again"
        ) from error
    if not proto.HasField("graph"):
        raise ConfigError(f"{path} is no ONNX model: it holds no graph; export it, or fetch it, again")
    # What a damaged file holds in place of a text, protobuf gives as bytes.
    if odd := next((text for text in _texts(proto) if not isinstance(text, str)), None):
        raise ConfigError(f"{path} is no whole ONNX model: the name {odd!r} is no text; fetch it again")
    weights = tuple((tensor.data_type, math.prod(tensor.dims)) for tensor in _tensors(proto.graph))
    external = tuple(
        _external(tensor)
        for tensor in _tensors(proto.graph)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    )
    names = frozenset(tensor.name for tensor in proto.graph.initializer)
    inputs = tuple(_value(value) for value in proto.graph.input if value.name not in names)
    outputs = tuple(map(_value, proto.graph.output))
    _load_small(proto.graph, path.parent)
    _leave_out_weights(proto.graph)
    return OnnxModel(path, proto, inputs, outputs, weights, names, external)


def itemsize(elem_type: int, elements: int) -> int:
    """Bytes of so many elements of an ONNX element type; 0 for text, whose size is not fixed, and unknown types."""
    if elem_type in _HALF_BYTES:
        return (elements + 1) // 2
    if elem_type in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING) or elem_type not in _TYPES:
        return 0
    return int(onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize) * elements


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those inside its nodes (branches, loop bodies), each before what is inside it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from graphs(inner)


def _texts(proto: onnx.ModelProto) -> Iterator[object]:
    yield from (entry.domain for entry in proto.opset_import)
    for graph in graphs(proto.graph):
        for value in (*graph.input, *graph.output):
            yield value.name
            yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
        yield from (tensor.name for tensor in graph.initializer)
        for node in graph.node:
            yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
            yield from (attribute.name for attribute in node.attribute)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    for inner in graphs(graph):
        yield from inner.initializer
        for node in inner.node:
            yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _value(value: onnx.ValueInfoProto) -> Value:
    if value.type.WhichOneof("value") != "tensor_type":
        return Value(value.name, 0, None)
    tensor = value.type.tensor_type
    elem_type = tensor.elem_type if tensor.elem_type in _TYPES else 0
    if not tensor.HasField("shape"):
        return Value(value.name, elem_type, None)
    dims = tuple(dim.dim_value if dim.dim_value > 0 else (dim.dim_param or None) for dim in tensor.shape.dim)
    return Value(value.name, elem_type, dims)


def _external(tensor: onnx.TensorProto) -> External:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    size = itemsize(tensor.data_type, math.prod(tensor.dims))
    try:
        offset, told = int(entries.get("offset", 0)), int(entries.get("length", size))
    except ValueError:
        raise ConfigError(
            f"tensor '{tensor.name}' has external data at {entries}, which is no place in a file: export again"
        ) from None
    return External(tensor.name, entries.get("location", ""), offset, max(size, told))


def _load_small(graph: onnx.GraphProto, folder: Path) -> None:
    for tensor in _tensors(graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL or math.prod(tensor.dims) > SMALL_ELEMENTS:
            continue
        place = _external(tensor)
        if not is_inside(folder, place.location) or not (file := folder / place.location).is_file():
            continue
        size = itemsize(tensor.data_type, math.prod(tensor.dims))
        with file.open("rb") as stream:
            stream.seek(place.offset)
            data = stream.read(size)
        if len(data) == size:  # else it stays outside, and is found to be too short
            tensor.raw_data = data
            tensor.data_location = onnx.TensorProto.DEFAULT
            tensor.ClearField("external_data")


def is_inside(folder: Path, location: str) -> bool:
    """Whether a tensor's `location` names something within the model's folder."""
    return bool(location) and (folder / location).resolve().is_relative_to(folder.resolve())


def _leave_out_weights(graph: onnx.GraphProto) -> None:
    """Put the types and shapes of large weights, and of what is not to be read, in place of their values."""
    given = {value.name for value in graph.input}
    kept = []
    for tensor in graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL and math.prod(tensor.dims) <= SMALL_ELEMENTS:
            kept.append(tensor)
        elif tensor.name not in given:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    nodes = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if node.op_type == "Constant" and a.name == "value"), None)
        if value is None or math.prod(value.dims) <= SMALL_ELEMENTS:
            nodes.append(node)
        else:
            graph.input.append(
                onnx.helper.make_tensor_value_info(node.output[0], value.data_type, value.dims)
            )
    _replace(graph.initializer, kept)
    _replace(graph.node, nodes)


def _replace(field: object, items: list[object]) -> None:
    copies = list(items)
    del field[:]  # type: ignore[attr-defined]  # a repeated field of protobuf, which has no stubs
    field.extend(copies)  # type: ignore[attr-defined]  # as above
