"""The model definition inside an `.om`: its attributes, and the nodes for inputs and outputs.

Rests on the public schema `ge_ir.proto` (facts: ATC §3.5), its attribute-name compression (§3.6) and the
attributes that hold the gears (§3.7).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from ascend_serve.artifacts.inout import InOut, OmTensor, gear_output_dims
from ascend_serve.artifacts.wire import FIXED32, fields, int64s, message, number, text
from ascend_serve.errors import NotAnOm

AttrValue = int | float | bool | str | list[int] | list[float] | list[bool] | list[str]
Attrs = dict[str, AttrValue]

_INPUT_TYPES = {"Data", "RefData", "AippData", "AnnData"}
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
class ModelDef:
    """A model definition: model attributes, and the nodes of the main graph that this room reads."""

    attrs: Attrs
    nodes: tuple[Node, ...]


def read_model_def(partition: memoryview) -> ModelDef:
    """Read the MODEL_DEF partition.

    Raises:
        WireError: it is no protobuf message.
        NotAnOm: a coded attribute name that its dictionary lacks.
    """
    attrs: Attrs = {}
    main: memoryview | None = None
    for tag, _, value in fields(partition):
        if tag == 7 and main is None:
            main = message(value)
        elif tag == 11:
            _add_attr(attrs, message(value))
    names = _Names(attrs)
    nodes = []
    for tag, _, value in fields(main or memoryview(b"")):
        if tag == 6 and (node := _node(message(value), names)) is not None:
            nodes.append(node)
    return ModelDef(attrs, tuple(nodes))


def inout_of(model: ModelDef) -> InOut:
    """Inputs, outputs and gears as the graph tells them, for files without a summary.

    Raises:
        NotAnOm: the graph's gears are incomplete.
    """
    data = [node for node in model.nodes if node.kind in _INPUT_TYPES]
    order = {id(node): _int(node.attrs, "index", position) for position, node in enumerate(data)}
    inputs = tuple(_input(node) for node in sorted(data, key=lambda node: order[id(node)]))

    outputs: list[OmTensor] = []
    dims: dict[tuple[int, int], tuple[int, ...]] = {}
    net_output = next((node for node in model.nodes if node.kind == "NetOutput"), None)
    if net_output is not None:
        names = _strings(model.attrs, "attr_model_out_nodes_name")
        for position, desc in enumerate(net_output.input_descs):
            outputs.append(OmTensor(_output_name(names, net_output, position), desc.dtype, desc.dims))
        dims = gear_output_dims(_strings(net_output.attrs, "_dynamic_output_dims"))

    gears: tuple[tuple[int, ...], ...] = ()
    kind = ""
    for node in model.nodes:
        if node.kind == "Case" and "_batch_num" in node.attrs:
            count = _int(node.attrs, "_batch_num", 0)
            gears = tuple(_ints(node.attrs, f"_pred_value_{gear}") for gear in range(count))
            if not all(gears):
                raise NotAnOm(f"node '{node.name}' names {count} gears and describes {sum(map(bool, gears))}")
            kind = _GEAR_KINDS.get(_int(node.attrs, "mbatch_dynamic_type", 0), "")
    return InOut(inputs, tuple(outputs), gears, kind, dims)


def _input(node: Node) -> OmTensor:
    desc = node.input_descs[0] if node.input_descs else OmTensor(node.name, 0, ())
    dims = _ints(node.attrs, "_mbatch_origin_input_dims") or desc.dims
    return OmTensor(node.name, desc.dtype, dims)


def _output_name(names: list[str], net_output: Node, position: int) -> str:
    if position < len(names):
        return names[position]
    if position < len(net_output.sources):
        node, index = net_output.sources[position]
        return f"{node}:{index}"
    return f"output:{position}"


def _node(data: memoryview, names: _Names) -> Node | None:
    """The node, or None when it is of no interest; only interesting ones are read past their type."""
    kind = next((text(value) for tag, _, value in fields(data) if tag == 2), "")
    if kind not in _INPUT_TYPES and kind not in ("NetOutput", "Case"):
        return None
    node = Node(kind=kind)
    coded: Attrs = {}
    source_names: list[str] = []
    source_indexes: list[int] = []
    for tag, _, value in fields(data):
        if tag == 1:
            node.name = text(value)
        elif tag == 10:
            _add_attr(coded, message(value))
        elif tag == 24:
            source_names.append(text(value))
        elif tag == 25:
            source_indexes.extend(int64s(value))
        elif tag == 33:
            node.input_descs.append(_tensor(message(value)))
    node.attrs = names.decode(coded)
    node.sources = list(zip(source_names, source_indexes, strict=False))
    return node


def _tensor(data: memoryview) -> OmTensor:
    name, dtype, dims = "", 0, []
    for tag, _, value in fields(data):
        if tag == 1:
            name = text(value)
        elif tag == 2:
            dtype = number(value)
        elif tag == 3:
            for inner, _, dim in fields(message(value)):
                if inner == 1:
                    dims.extend(int64s(dim))
    return OmTensor(name, _ACL_NUMBER.get(dtype, -dtype), tuple(dims))


def _add_attr(attrs: Attrs, entry: memoryview) -> None:
    """Read one map entry into `attrs`, unless its value is a tensor, a function or a blob."""
    key = ""
    for tag, _, value in fields(entry):
        if tag == 1:
            key = text(value)
        elif tag == 2:
            for inner, kind, content in fields(message(value)):
                parsed = _attr_value(inner, kind, content)
                if parsed is not None:
                    attrs[key] = parsed


def _attr_value(tag: int, kind: int, value: int | memoryview) -> AttrValue | None:
    if tag == 1:
        return _list(message(value))
    if tag == 2:
        return text(value)
    if tag == 3:
        return number(value)
    if tag == 4 and kind == FIXED32:
        return _float(number(value))
    if tag == 5:
        return bool(value)
    return None


def _list(data: memoryview) -> AttrValue:
    strings: list[str] = []
    ints: list[int] = []
    floats: list[float] = []
    for tag, kind, value in fields(data):
        if tag == 2:
            strings.append(text(value))
        elif tag in (3, 5):
            ints.extend(int64s(value))
        elif tag == 4:
            if kind == FIXED32:
                floats.append(_float(number(value)))
            else:
                floats.extend(item for (item,) in struct.iter_unpack("<f", message(value)))
    return strings or ints or floats or []


def _float(bits: int) -> float:
    (value,) = struct.unpack("<f", struct.pack("<I", bits))
    return float(value)


class _Names:
    """Undoes attribute-name compression: keys that begin with a zero byte are numbers into a dictionary."""

    def __init__(self, model_attrs: Attrs) -> None:
        self._names = _strings(model_attrs, "attr_name_enum")
        self._values = _strings(model_attrs, "attr_value_enum")
        self._uses_values = _ints(model_attrs, "attrs_use_string_value")

    def decode(self, attrs: Attrs) -> Attrs:
        return dict(self._entry(key, value) for key, value in attrs.items())

    def _entry(self, key: str, value: AttrValue) -> tuple[str, AttrValue]:
        if not key.startswith("\0"):
            return key, value
        # Digits of base 127, least significant first, each stored as digit + 1 so that no further zero byte occurs.
        code = sum((ord(digit) - 1) * 127**place for place, digit in enumerate(key[1:]))
        if not 0 <= code < len(self._names):
            raise NotAnOm(f"attribute name {code} is not in the file's dictionary of {len(self._names)}")
        if code < len(self._uses_values) and self._uses_values[code]:
            if isinstance(value, int):
                value = self._value(value)
            elif isinstance(value, list):
                value = [self._value(item) for item in value if isinstance(item, int)]
        return self._names[code], value

    def _value(self, code: int) -> str:
        if not 0 <= code < len(self._values):
            raise NotAnOm(f"attribute value {code} is not in the file's dictionary of {len(self._values)}")
        return self._values[code]


def _strings(attrs: Attrs, key: str) -> list[str]:
    value = attrs.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _ints(attrs: Attrs, key: str) -> tuple[int, ...]:
    value = attrs.get(key)
    return tuple(item for item in value if isinstance(item, int)) if isinstance(value, list) else ()


def _int(attrs: Attrs, key: str, default: int) -> int:
    value = attrs.get(key)
    return value if isinstance(value, int) else default
