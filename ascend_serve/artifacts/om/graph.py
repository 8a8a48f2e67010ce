"""The model definition inside an `.om`: its attributes, and the nodes for inputs, outputs and outer weights.

Rests on the public schema `ge_ir.proto` (facts: ATC §3.5) and the attributes that hold the gears (§3.7).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ascend_serve.artifacts.om.attributes import (
    AttrNames,
    Attrs,
    add_attr,
    int_of,
    ints_of,
    strings_of,
    text_of,
)
from ascend_serve.artifacts.om.inout import InOut, OmTensor, gear_output_dims
from ascend_serve.artifacts.om.wire import fields, int64s, message, number, text
from ascend_serve.errors import NotAnOm

FILE_CONSTANT = "FileConstant"
"""Type of an operator whose value is in a file beside the model (`--external_weight`)."""

_INPUT_TYPES = {"Data", "RefData", "AippData", "AnnData"}
_MAIN_TYPES = {*_INPUT_TYPES, "NetOutput", "Case"}
_PASSIVE_TYPES = {*_INPUT_TYPES, "NetOutput", "Const", "Constant", FILE_CONSTANT, "Send", "Recv"}
_GEAR_KINDS = {1: "batch", 2: "image", 3: "dims"}
_ACL_NUMBER = {1: 0, 2: 1, 3: 2, 4: 4, 5: 6, 6: 7, 7: 3, 8: 9, 9: 8, 10: 10, 11: 12, 12: 11, 27: 27}
"""ACL's number of an element type by the number the graph gives it."""


@dataclass(slots=True)
class Node:
    """One operator of the graph, as far as it is of interest."""

    name: str = ""
    kind: str = ""
    attrs: Attrs = field(default_factory=dict)
    input_descs: list[OmTensor] = field(default_factory=list)
    sources: list[tuple[str, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Operators:
    """The operators of all graphs of a model, the bodies of its gears included.

    Attributes:
        types: operator type → how many.
        dtypes: element type as ACL numbers it → how many operators that compute have it as their first output's.
    """

    types: dict[str, int]
    dtypes: dict[int, int]


@dataclass(frozen=True, slots=True)
class ModelDef:
    """A model definition.

    Attributes:
        name: of the model, uncut.
        attrs: its own attributes.
        nodes: of the main graph those for inputs and outputs, of all graphs the constants in files.
        operators: counts of all operators; None unless asked for.
    """

    name: str
    attrs: Attrs
    nodes: tuple[Node, ...]
    operators: Operators | None = None


def read_model_def(partition: memoryview, *, deep: bool = False) -> ModelDef:
    """Read the MODEL_DEF partition.

    Args:
        partition: its bytes.
        deep: whether to count all operators, which reads the whole graph.

    Raises:
        WireError: it is no protobuf message.
        NotAnOm: a coded attribute name that its dictionary lacks.
    """
    name = ""
    attrs: Attrs = {}
    graphs: list[memoryview] = []
    for tag, _, value in fields(partition):
        if tag == 1:
            name = text(value)
        elif tag == 7:
            graphs.append(message(value))
        elif tag == 11:
            add_attr(attrs, message(value))
    names = AttrNames(attrs)
    nodes: list[Node] = []
    types: Counter[str] = Counter()
    dtypes: Counter[int] = Counter()
    for place, graph in enumerate(graphs):
        wanted = _MAIN_TYPES | {FILE_CONSTANT} if place == 0 else {FILE_CONSTANT}
        for kind, op in _operators(graph):
            if kind in wanted:
                nodes.append(_node(kind, op, names))
            if deep:
                types[kind] += 1
                dtype = None if kind in _PASSIVE_TYPES else _first_output_dtype(op)
                if dtype is not None:
                    dtypes[dtype] += 1
    counted = Operators(dict(types.most_common()), dict(dtypes.most_common())) if deep else None
    return ModelDef(name, attrs, tuple(nodes), counted)


def _operators(graph: memoryview) -> Iterator[tuple[str, memoryview]]:
    """Type and bytes of each operator of a graph."""
    for tag, _, value in fields(graph):
        if tag == 6:
            op = message(value)
            yield next((text(content) for inner, _, content in fields(op) if inner == 2), ""), op


def _first_output_dtype(op: memoryview) -> int | None:
    for tag, _, value in fields(op):
        if tag == 34:
            for inner, _, content in fields(message(value)):
                if inner == 2:
                    return _acl_number(number(content))
    return None


def _acl_number(dtype: int) -> int:
    return _ACL_NUMBER.get(dtype, -dtype)


def inout_of(model: ModelDef) -> InOut:
    """Inputs, outputs and gears as the graph tells them, for files without a summary.

    Raises:
        NotAnOm: the graph's gears are incomplete.
    """
    outputs: list[OmTensor] = []
    dims: dict[tuple[int, int], tuple[int, ...]] = {}
    net_output = next((node for node in model.nodes if node.kind == "NetOutput"), None)
    if net_output is not None:
        names = strings_of(model.attrs, "attr_model_out_nodes_name")
        for position, desc in enumerate(net_output.input_descs):
            name = _output_name(names, net_output, position)
            outputs.append(OmTensor(name, desc.dtype, desc.dims, desc.format, desc.size, (), desc.ranges))
        dims = gear_output_dims(strings_of(net_output.attrs, "_dynamic_output_dims"))

    gears: tuple[tuple[int, ...], ...] = ()
    kind = ""
    order: tuple[str, ...] = ()
    for node in model.nodes:
        if node.kind == "Case" and "_batch_num" in node.attrs:
            gears = _gears(node)
            kind = _GEAR_KINDS.get(int_of(node.attrs, "mbatch_dynamic_type"), "")
            order = tuple(strings_of(node.attrs, "user_designate_shape_order"))
    return InOut(tuple(_input(node) for node in input_nodes(model)), tuple(outputs), gears, kind, dims, order)


def input_nodes(model: ModelDef) -> list[Node]:
    """The nodes of the model's inputs, in their order."""
    data = [node for node in model.nodes if node.kind in _INPUT_TYPES]
    order = {id(node): int_of(node.attrs, "index", position) for position, node in enumerate(data)}
    return sorted(data, key=lambda node: order[id(node)])


def _gears(case: Node) -> tuple[tuple[int, ...], ...]:
    count = int_of(case.attrs, "_batch_num")
    listed = sum(key.startswith("_pred_value_") for key in case.attrs)
    # Compared first: a damaged count must not be counted to.
    gears = tuple(ints_of(case.attrs, f"_pred_value_{gear}") for gear in range(min(count, listed)))
    if len(gears) != count or not all(gears):
        raise NotAnOm(f"node '{case.name}' names {count} gears and describes {sum(map(bool, gears))}")
    return gears


def _input(node: Node) -> OmTensor:
    desc = node.input_descs[0] if node.input_descs else OmTensor(node.name, 0, ())
    dims = ints_of(node.attrs, "_mbatch_origin_input_dims") or desc.dims
    memory_dims = ints_of(node.attrs, "input_dims")
    return OmTensor(
        node.name,
        desc.dtype,
        dims,
        desc.format,
        desc.size,
        () if memory_dims == dims else memory_dims,
        desc.ranges,
    )


def _output_name(names: list[str], net_output: Node, position: int) -> str:
    if position < len(names):
        return names[position]
    if position < len(net_output.sources):
        node, index = net_output.sources[position]
        return f"{node}:{index}"
    return f"output:{position}"


def _node(kind: str, data: memoryview, names: AttrNames) -> Node:
    node = Node(kind=kind)
    coded: Attrs = {}
    source_names: list[str] = []
    source_indexes: list[int] = []
    for tag, _, value in fields(data):
        if tag == 1:
            node.name = text(value)
        elif tag == 10:
            add_attr(coded, message(value))
        elif tag == 24:
            source_names.append(text(value))
        elif tag == 25:
            source_indexes.extend(int64s(value))
        elif tag == 33:
            node.input_descs.append(_tensor(message(value), names))
    node.attrs = names.decode(coded)
    node.sources = list(zip(source_names, source_indexes, strict=False))
    return node


def _tensor(data: memoryview, names: AttrNames) -> OmTensor:
    name, layout, dtype, size = "", "", 0, 0
    dims: list[int] = []
    coded: Attrs = {}
    for tag, _, value in fields(data):
        if tag == 1:
            name = text(value)
        elif tag == 2:
            dtype = number(value)
        elif tag == 3:
            for inner, _, dim in fields(message(value)):
                if inner == 1:
                    dims.extend(int64s(dim))
        elif tag == 4:
            layout = text(value)
        elif tag == 5:
            add_attr(coded, message(value))
        elif tag == 10:
            size = number(value)
    return OmTensor(name, _acl_number(dtype), tuple(dims), layout, size, (), _ranges(names.decode(coded)))


def _ranges(attrs: Attrs) -> tuple[tuple[int, int], ...]:
    pairs = attrs.get("shape_range")
    if not isinstance(pairs, list):
        return ()
    return tuple((pair[0], pair[1]) for pair in pairs if isinstance(pair, list) and len(pair) == 2)


def constant_files(model: ModelDef) -> tuple[str, ...]:
    """Names of the files that hold constants of the model, each once, as the graph names them.

    A file is named relative to the `.om`, or by the key under which a caller hands it over (GE:
    base/common/file_constant_utils/file_constant_utils.cc).
    """
    files = (
        next(
            filter(None, (text_of(node.attrs, key) for key in ("location", "file_path", "file_id"))),
            node.name,
        )
        for node in model.nodes
        if node.kind == FILE_CONSTANT
    )
    return tuple(dict.fromkeys(files))
