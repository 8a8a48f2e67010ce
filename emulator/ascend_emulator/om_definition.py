"""MODEL_DEF, the graph partition: protobuf `ge.proto.ModelDef` (facts/atc_om_soc.md §3.5, §3.7).

The compute itself is in the weights partition, as ONNX. The graph therefore holds what tools look for in a
real one: a `Data` op per input, one op that stands for the network (a `Case` for a model with gears, as GE
makes it), and `NetOutput`. Attribute names are written plain; GE's compression of them (§3.6) is an option of
its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ascend_emulator.dtypes import BY_ACL
from ascend_emulator.om_inout import TensorInfo
from ascend_emulator.protobuf import Message, fields, signed, varints

Attribute = bool | int | str | bytes | Sequence[int] | Sequence[str]
"""Values an attribute may have here."""

IR_VERSION = "1.11.z.0"
"""The IR version text that every real file carries, in the header and in MODEL_DEF (§3.2, §3.5)."""

FORMAT_NAMES = {0: "NCHW", 2: "ND", 30: "NCDHW"}
"""ACL format number to the text used in the graph, for the formats an ONNX input may have."""

SHAPE_INPUT = "ascend_mbatch_shape_data"
"""The input that a model with gears has in addition, last: int32 [1], the gear (facts/pyacl.md §12.1)."""

_CASE = "ascend_mbatch_shape_case"
_DYNAMIC_BATCH = 1
_VAL_STRING, _VAL_INT = 1, 2


def _attribute(value: Attribute) -> Message:
    message = Message()
    if isinstance(value, bool):
        return message.integer(5, value)
    if isinstance(value, int):
        return message.integer(3, value)
    if isinstance(value, str):
        return message.data(2, value)
    if isinstance(value, bytes):
        return message.data(7, value)
    items = Message()
    if value and isinstance(value[0], str):
        for item in value:
            items.data(2, str(item))
        items.integer(20, _VAL_STRING)
    else:
        items.packed(3, [int(item) for item in value]).integer(20, _VAL_INT)
    return message.data(1, items)


def _put_attributes(message: Message, number: int, attributes: Mapping[str, Attribute]) -> None:
    for key, value in attributes.items():
        message.data(number, Message().data(1, key).data(2, _attribute(value)))


def _descriptor(tensor: TensorInfo, dims: Iterable[int]) -> Message:
    return (
        Message()
        .data(1, tensor.name)
        .integer(2, BY_ACL[tensor.dtype].proto)
        .data(3, Message().packed(1, dims))
        .data(4, FORMAT_NAMES[tensor.format])
        .integer(10, tensor.size)
    )


@dataclass
class _Op:
    name: str
    kind: str
    number: int
    sources: Sequence[tuple[str, int]] = ()
    inputs: Sequence[Message] = ()
    outputs: Sequence[Message] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    def message(self) -> Message:
        op = Message().data(1, self.name).data(2, self.kind)
        for name, index in self.sources:
            op.data(5, f"{name}:{index}")
        _put_attributes(op, 10, self.attributes)
        op.integer(20, 1).integer(21, self.number)
        for name, _ in self.sources:
            op.data(24, name)
        op.packed(25, [index for _, index in self.sources])
        for description in self.inputs:
            op.data(33, description)
        for description in self.outputs:
            op.data(34, description)
        return op


def _at_gear(dims: Sequence[int], gear: int) -> tuple[int, ...]:
    return tuple(gear if dim < 0 else dim for dim in dims)


def _data_op(number: int, tensor: TensorInfo, gears: Sequence[int]) -> _Op:
    attributes: dict[str, Attribute] = {"index": number}
    dims = tensor.dims
    if tensor.name == SHAPE_INPUT and gears:
        attributes |= {"_is_multi_batch_shape_data": True, "mbatch-inserted-node": True}
    elif -1 in dims:
        dtype = BY_ACL[tensor.dtype]
        listed = []
        for gear in gears:
            shape = _at_gear(dims, gear)
            size = dtype.itemsize
            for dim in shape:
                size *= dim
            listed.append(
                f"{FORMAT_NAMES[tensor.format]}:{dtype.name}:{tensor.name}:{size}:{len(shape)}:"
                + ",".join(map(str, shape))
            )
        attributes |= {"_mbatch_origin_input_dims": dims, "_all_origin_gears_inputs": listed}
        dims = _at_gear(dims, max(gears))
    description = _descriptor(tensor, dims)
    return _Op(tensor.name, "Data", number, (), [description], [description], attributes)


def encode_definition(
    name: str,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    batch_gears: Sequence[int],
    output_shapes: Sequence[str],
    input_order: Sequence[str],
    attributes: Mapping[str, Attribute],
) -> bytes:
    """MODEL_DEF of a model.

    Args:
        name: the model's name.
        inputs: in order, the hidden `SHAPE_INPUT` last when there are gears.
        outputs: in order, named `node:index:tensor`.
        batch_gears: batch sizes in the user's order, empty for a static model.
        output_shapes: `gear,output,dims` texts, empty for a static model.
        input_order: names of the inputs as the user gave them in `--input_shape`.
        attributes: the model's own, such as soc_version.
    """
    ops = [_data_op(number, tensor, batch_gears) for number, tensor in enumerate(inputs)]
    network = _Op(f"{name}_network", "EmulatedNetwork", len(ops))
    if batch_gears:
        network.name, network.kind = _CASE, "Case"
        marks: dict[str, Attribute] = {"mbatch-inserted-node": True, "_batch_num": len(batch_gears)}
        marks |= {f"_pred_value_{place}": [gear] for place, gear in enumerate(batch_gears)}
        marks |= {"mbatch_dynamic_type": _DYNAMIC_BATCH, "user_designate_shape_order": list(input_order)}
        network.attributes = marks
    network.sources = [(op.name, 0) for op in ops]
    network.inputs = [op.outputs[0] for op in ops]
    network.outputs = [_descriptor(tensor, tensor.dims) for tensor in outputs]
    ops.append(network)
    ops.append(
        _Op(
            "Node_Output",
            "NetOutput",
            len(ops),
            [(network.name, place) for place in range(len(outputs))],
            network.outputs,
            (),
            {"_dynamic_output_dims": list(output_shapes)} if output_shapes else {},
        )
    )
    graph = Message().data(1, name)
    for op in ops:
        graph.data(6, op.message())
    model = Message().data(1, name).integer(2, 2).data(3, IR_VERSION).data(7, graph)
    _put_attributes(model, 11, attributes)
    return bytes(model)


def _read_attribute(data: memoryview) -> Attribute | None:
    for number, value in fields(data):
        if isinstance(value, memoryview):
            if number == 2:
                # GE writes binary into string attributes too; those are not asked for here.
                return str(value, "utf-8", "replace")
            if number == 7:
                return bytes(value)
            if number == 1:
                return _read_list(value)
        elif number in (3, 5):
            return bool(value) if number == 5 else signed(value)
    return None


def _read_list(data: memoryview) -> Attribute:
    texts: list[str] = []
    integers: list[int] = []
    for number, value in fields(data):
        if number == 2 and isinstance(value, memoryview):
            texts.append(str(value, "utf-8", "replace"))
        elif number == 3:
            # Old writers did not pack.
            integers += map(signed, varints(value) if isinstance(value, memoryview) else [value])
    return texts or integers


def decode_definition(data: memoryview) -> tuple[str, dict[str, Attribute]]:
    """Name and attributes of the model; the graph is skipped, since MODEL_INOUT_INFO says it shorter.

    Raises:
        WireError: the bytes are no protobuf message.
    """
    name = ""
    attributes: dict[str, Attribute] = {}
    for number, value in fields(data):
        if not isinstance(value, memoryview):
            continue
        if number == 1:
            name = str(value, "utf-8", "replace")
        elif number == 11:
            entry = dict(fields(value))
            key, content = entry.get(1), entry.get(2)
            if isinstance(key, memoryview) and isinstance(content, memoryview):
                attribute = _read_attribute(content)
                if attribute is not None:
                    attributes[str(key, "utf-8", "replace")] = attribute
    return name, attributes
