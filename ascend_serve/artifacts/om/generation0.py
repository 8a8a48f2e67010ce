"""Models of the DDK of 2018/19, which follow the header as one protobuf message, without a partition table.

The message is `domi.ModelDef`, another schema than the later `ge.proto.ModelDef` (facts: ATC §3.10; fields of
tensor descriptors confirmed on a real file, whose element types and formats are numbered as in ACL).
"""

from __future__ import annotations

from ascend_serve.artifacts.om.attributes import Attrs, add_attr
from ascend_serve.artifacts.om.graph import ModelDef
from ascend_serve.artifacts.om.inout import InOut, OmTensor, format_name
from ascend_serve.artifacts.om.wire import WireError, fields, int64s, message, number, text

_NUMBERS = {10: "memory_size", 11: "stream_num", 12: "event_num", 13: "weight_size", 15: "label_num"}
"""Fields of the model that later generations hold as attributes."""


def read_generation0(data: memoryview) -> tuple[ModelDef, InOut]:
    """The model's name and attributes, and its inputs and outputs.

    Args:
        data: the file behind its header.

    Raises:
        WireError: it is no such message, or one without an operator.
    """
    name = ""
    attrs: Attrs = {}
    inputs: list[OmTensor] = []
    outputs: list[OmTensor] = []
    operators = 0
    for tag, _, value in fields(data):
        if tag == 1:
            name = text(value)
        elif tag == 20:
            operators += 1
            _read_op(message(value), inputs, outputs)
        elif tag == 23:
            attrs["target_type"] = text(value)
        elif tag == 30:
            add_attr(attrs, message(value))
        elif tag in _NUMBERS:
            attrs[_NUMBERS[tag]] = number(value)
    if not operators:
        raise WireError("no operator in it")
    return ModelDef(name, attrs, ()), InOut(tuple(inputs), tuple(outputs), (), "", {})


def _read_op(op: memoryview, inputs: list[OmTensor], outputs: list[OmTensor]) -> None:
    """Add the tensors of a `Data` or `NetOutput` operator; pass over every other."""
    name, kind = "", ""
    sources: list[str] = []
    indexes: list[int] = []
    tensors: dict[int, list[OmTensor]] = {12: [], 13: []}
    for tag, _, value in fields(op):
        if tag == 1:
            name = text(value)
        elif tag == 2:
            kind = text(value)
            if kind not in ("Data", "NetOutput"):
                return
        elif tag == 8:
            sources.append(text(value))
        elif tag == 9:
            indexes.extend(int64s(value))
        elif tag in tensors:
            tensors[tag].append(_tensor(message(value)))
    if kind == "Data":
        inputs.extend(_named(name, tensor) for tensor in tensors[12][:1])
    elif kind == "NetOutput":
        names = [f"{source}:{index}" for source, index in zip(sources, indexes, strict=False)]
        for position, tensor in enumerate(tensors[13] or tensors[12]):
            outputs.append(_named(names[position] if position < len(names) else f"output:{position}", tensor))


def _named(name: str, tensor: OmTensor) -> OmTensor:
    return OmTensor(name, tensor.dtype, tensor.dims, tensor.format, tensor.size)


def _tensor(data: memoryview) -> OmTensor:
    layout, dtype, size = 0, 0, 0
    dims: list[int] = []
    for tag, _, value in fields(data):
        if tag == 1:
            layout = number(value)
        elif tag == 2:
            dtype = number(value)
        elif tag == 3:
            dims.extend(int64s(value))
        elif tag == 4:
            size = number(value)
    return OmTensor("", dtype, tuple(dims), format_name(layout), size)
