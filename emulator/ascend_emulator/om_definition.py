"""MODEL_DEF, the graph partition: protobuf `ge.proto.ModelDef` (facts/atc_om_soc.md §3.5-3.7).

The compute itself is in the weights partition, as ONNX. The graph therefore holds what tools look for in a
real one: a `Data` op per input, a `FileConstant` per weight outside the file, one op that stands for the
network (a `Case` for a model with gears, as GE makes it), and `NetOutput`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from ascend_emulator.dtypes import BY_ACL, BY_PROTO
from ascend_emulator.gears import Gears, dims_at, largest_of
from ascend_emulator.om_attributes import Attribute, DataType, Scalar, put_attributes, put_entry
from ascend_emulator.om_compression import Compressor, Expander
from ascend_emulator.om_container import IR_VERSION
from ascend_emulator.om_inout import InOut, TensorInfo
from ascend_emulator.protobuf import Message, fields

FORMAT_NAMES = {0: "NCHW", 1: "NHWC", 2: "ND", 27: "NDHWC", 30: "NCDHW"}
"""ACL format number to the text used in the graph, for the formats an input or output may have."""

SHAPE_INPUT = "ascend_mbatch_shape_data"
"""The input that a model with gears has in addition, last: int32 [k], the gear (facts/pyacl.md §12.1)."""

_ND = 2
_CASE = "ascend_mbatch_shape_case"
_GEARS_INPUTS = "_all_origin_gears_inputs"
_AIPP = "aipp"
_INPUT_TYPES = ("Data", "RefData", "AippData", "AnnData")
_FILE_CONSTANT = "FileConstant"

_AIPP_NUMBERS: dict[str, tuple[str, ...]] = {
    "aipp_mode": ("undefined", "static", "dynamic"),
    "input_format": (
        *("UNDEFINED", "YUV420SP_U8", "XRGB8888_U8", "RGB888_U8", "YUV400_U8", "NC1HWC0DI_FP16"),
        *("NC1HWC0DI_S8", "ARGB8888_U8", "YUYV_U8", "YUV422SP_U8", "AYUV444_U8", "RAW10", "RAW12", "RAW16"),
        *("RAW24", "RGB16", "RGB20", "RGB24", "RGB8_IR", "RGB16_IR", "RGB24_IR"),
    ),
}
"""Fields of `aipp_op` that the configuration names and the graph numbers (GE: insert_op.proto)."""

Settings = tuple[tuple[str, int | float | str | bool], ...]
"""The fields of an `aipp_op` block."""

GearDims = Sequence[Sequence[Sequence[int]]]
"""`[gear][input without the hidden one]` -> dims in memory."""


@dataclass(frozen=True, slots=True)
class DataOp:
    """What the graph tells of an input that MODEL_INOUT_INFO does not.

    Attributes:
        gear_dims: the dims in memory at each gear; empty for an input that has the same at all.
        aipp: the fields of its static AIPP; None without.
    """

    gear_dims: tuple[tuple[int, ...], ...]
    aipp: Settings | None


@dataclass(frozen=True, slots=True)
class FileConstant:
    """A weight in a file beside the model (GE: file_constant_utils.cc ConvertToFileConstants).

    Attributes:
        name: of the op: the weight's, `_` and the hash of its bytes.
        dtype: ACL number of its elements' type.
        dims: its shape.
        file: name of the file, which lies in the folder of the weights.
        offset: where its bytes begin in the file.
        length: how many they are.
    """

    name: str
    dtype: int
    dims: tuple[int, ...]
    file: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Definition:
    """What is read of the partition.

    Attributes:
        name: of the model.
        attributes: of the model.
        data_ops: by the index of the input.
        file_constants: the weights outside the file, in the order of the graph.
    """

    name: str
    attributes: dict[str, Attribute]
    data_ops: dict[int, DataOp]
    file_constants: tuple[FileConstant, ...]


# --- writing --------------------------------------------------------------------------------------


@dataclass
class _Tensor:
    info: TensorInfo
    dims: Sequence[int]

    def message(self, compressor: Compressor | None) -> Message:
        message = (
            Message()
            .data(1, self.info.name)
            .integer(2, BY_ACL[self.info.dtype].proto)
            .data(3, Message().packed(1, self.dims))
            .data(4, FORMAT_NAMES[self.info.format])
        )
        if self.info.ranges:
            _put(message, 5, {"shape_range": list(self.info.ranges)}, compressor)
        return message.integer(10, self.info.size)


@dataclass
class _Op:
    name: str
    kind: str
    number: int
    sources: Sequence[tuple[str, int]] = ()
    inputs: Sequence[_Tensor] = ()
    outputs: Sequence[_Tensor] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    def message(self, compressor: Compressor | None) -> Message:
        op = Message().data(1, self.name).data(2, self.kind)
        for name, index in self.sources:
            op.data(5, f"{name}:{index}")
        _put(op, 10, self.attributes, compressor)
        op.integer(20, 1).integer(21, self.number)
        for name, _ in self.sources:
            op.data(24, name)
        op.packed(25, [index for _, index in self.sources])
        for tensor in self.inputs:
            op.data(33, tensor.message(compressor))
        for tensor in self.outputs:
            op.data(34, tensor.message(compressor))
        return op


def _put(
    message: Message, number: int, attributes: Mapping[str, Attribute], compressor: Compressor | None
) -> None:
    put_attributes(message, number, compressor.code(attributes) if compressor else attributes)


def _aipp_attribute(settings: Settings) -> dict[str, Scalar]:
    attribute: dict[str, Scalar] = {}
    for name, value in settings:
        numbered = isinstance(value, str) and name in _AIPP_NUMBERS
        attribute[name] = _AIPP_NUMBERS[name].index(str(value)) if numbered else value
    return attribute


def _gear_text(tensor: TensorInfo, dims: Sequence[int]) -> str:
    """One gear of an input as GE writes it: `format:dtype:name:bytes:rank:d0,d1,...`."""
    dtype = BY_ACL[tensor.dtype]
    numbers = ",".join(map(str, dims))
    size = prod(dims) * dtype.itemsize
    return f"{FORMAT_NAMES[tensor.format]}:{dtype.name}:{tensor.name}:{size}:{len(dims)}:{numbers}"


def _data_op(
    number: int, tensor: TensorInfo, gears: Gears | None, gear_dims: GearDims, aipp: Settings | None
) -> _Op:
    attributes: dict[str, Attribute] = {"index": number}
    dims = tensor.dims
    if gears is not None and tensor.name == SHAPE_INPUT:
        attributes |= {"_is_multi_batch_shape_data": True, "mbatch-inserted-node": True}
    elif gears is not None and -1 in tensor.physical_dims:
        attributes["_mbatch_origin_input_dims"] = tensor.dims
        attributes[_GEARS_INPUTS] = [_gear_text(tensor, inputs[number]) for inputs in gear_dims]
        # With AIPP the shape in the graph is the image's, which only batch and image sizes can set.
        largest = gears.values[gears.largest]
        logical = dims_at([tensor.dims], gears.kind, largest)[0] if tensor.dims_v2 else None
        dims = logical or tuple(largest_of([inputs[number] for inputs in gear_dims]))
    if aipp is not None:
        attributes |= {"_data_related_aipp_mode": "static_aipp", _AIPP: _aipp_attribute(aipp)}
    if tensor.dims_v2:
        attributes["input_dims"] = tensor.dims_v2
    description = _Tensor(tensor, dims)
    return _Op(tensor.name, "Data", number, (), [description], [description], attributes)


def _file_constant_op(number: int, constant: FileConstant) -> _Op:
    size = constant.length
    output = _Tensor(TensorInfo(constant.name, constant.dtype, _ND, constant.dims, size), constant.dims)
    attributes: dict[str, Attribute] = {
        "location": constant.file,
        "offset": constant.offset,
        "length": constant.length,
        "dtype": DataType(BY_ACL[constant.dtype].proto),
    }
    if constant.dims:
        attributes |= {"shape": constant.dims, "original_shape": constant.dims}
    return _Op(constant.name, _FILE_CONSTANT, number, outputs=[output], attributes=attributes)


def _network_op(name: str, number: int, gears: Gears | None, input_order: Sequence[str]) -> _Op:
    if gears is None:
        return _Op(f"{name}_network", "EmulatedNetwork", number)
    marks: dict[str, Attribute] = {"mbatch-inserted-node": True, "_batch_num": len(gears.values)}
    marks |= {f"_pred_value_{place}": value for place, value in enumerate(gears.values)}
    marks["mbatch_dynamic_type"] = int(gears.kind)
    if input_order:
        marks["user_designate_shape_order"] = list(input_order)
    return _Op(_CASE, "Case", number, attributes=marks)


def encode_definition(
    name: str,
    info: InOut,
    gear_dims: GearDims,
    aipps: Mapping[int, Settings],
    attributes: Mapping[str, Attribute],
    file_constants: Sequence[FileConstant],
    *,
    compress: bool,
) -> bytes:
    """MODEL_DEF of a model.

    Args:
        name: the model's name.
        info: what MODEL_INOUT_INFO says of it.
        gear_dims: the inputs' dims in memory at each gear; empty without gears.
        aipps: fields of the static AIPP, by the index of the input.
        attributes: the model's own, such as soc_version.
        file_constants: the weights outside the file.
        compress: whether to code the names of the ops' and tensors' attributes.

    Raises:
        ValueError: an `aipp_mode` or `input_format` that there is not, or dims that no gear fits.
        OverflowError: a number of an AIPP is past float32.
    """
    ops = [
        _data_op(number, tensor, info.gears, gear_dims, aipps.get(number))
        for number, tensor in enumerate(info.inputs)
    ]
    ops += [_file_constant_op(number, each) for number, each in enumerate(file_constants, len(ops))]
    network = _network_op(name, len(ops), info.gears, info.input_order)
    network.sources = [(op.name, 0) for op in ops]
    network.inputs = [op.outputs[0] for op in ops]
    network.outputs = [_Tensor(tensor, tensor.dims) for tensor in info.outputs]
    ops.append(network)
    ops.append(
        _Op(
            "Node_Output",
            "NetOutput",
            len(ops),
            [(network.name, place) for place in range(len(info.outputs))],
            network.outputs,
            (),
            {"_dynamic_output_dims": list(info.output_shapes)} if info.output_shapes else {},
        )
    )
    compressor = Compressor() if compress else None
    graph = Message().data(1, name)
    for op in ops:
        graph.data(6, op.message(compressor))
    model = Message().data(1, name).integer(2, 2).data(3, IR_VERSION).data(7, graph)
    put_attributes(model, 11, {**attributes, **(compressor.dictionary() if compressor else {})})
    return bytes(model)


# --- reading --------------------------------------------------------------------------------------


def _read_op(op: memoryview, expander: Expander) -> tuple[str, str, dict[str, Attribute]]:
    """Name, type and attributes of an op; no attributes of one that is neither an input nor a file constant."""
    name = kind = ""
    coded: dict[str, Attribute] = {}
    for number, value in fields(op):
        if not isinstance(value, memoryview):
            continue
        if number == 1:
            name = str(value, "utf-8", "replace")
        elif number == 2:
            kind = str(value, "utf-8", "replace")
            if kind not in (*_INPUT_TYPES, _FILE_CONSTANT):
                return name, kind, {}
        elif number == 10:
            put_entry(coded, value)
    return name, kind, expander.expand(coded)


def _read_settings(value: Attribute | None) -> Settings | None:
    if not isinstance(value, Mapping):
        return None
    settings = []
    for name, item in value.items():
        numbers = _AIPP_NUMBERS.get(name, ())
        if isinstance(item, bytes):
            raise ValueError(f"AIPP field {name!r} holds bytes")
        named = isinstance(item, int) and 0 <= item < len(numbers)
        settings.append((name, numbers[int(item)] if named else item))
    return tuple(settings)


def _read_gear_dims(value: Attribute | None) -> tuple[tuple[int, ...], ...]:
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        return ()
    # A name may itself hold colons, the rest of the text not.
    listed = [str(text).rpartition(":")[2] for text in value]
    return tuple(tuple(map(int, filter(None, dims.split(",")))) for dims in listed)


def _read_data_op(attributes: Mapping[str, Attribute], default: int) -> tuple[int, DataOp]:
    index = attributes.get("index", default)
    if not isinstance(index, int):
        raise ValueError(f"an input's index is {index!r}")
    settings = _read_settings(attributes.get(_AIPP))
    return index, DataOp(_read_gear_dims(attributes.get(_GEARS_INPUTS)), settings)


def _read_file_constant(name: str, attributes: Mapping[str, Attribute]) -> FileConstant:
    """One of any generation; what it does not tell is empty, 0 or, of its type, -1."""
    file, kind, shape = (attributes.get(key) for key in ("location", "dtype", "shape"))
    offset, length = attributes.get("offset"), attributes.get("length")
    dtype = BY_PROTO.get(kind.number) if isinstance(kind, DataType) else None
    dims = shape if isinstance(shape, Sequence) and not isinstance(shape, (str, bytes)) else ()
    return FileConstant(
        name,
        dtype.acl if dtype else -1,
        tuple(dim for dim in dims if isinstance(dim, int)),
        file if isinstance(file, str) else "",
        offset if isinstance(offset, int) else 0,
        length if isinstance(length, int) else 0,
    )


def _read_ops(graph: memoryview, expander: Expander) -> tuple[dict[int, DataOp], tuple[FileConstant, ...]]:
    inputs: dict[int, DataOp] = {}
    constants = []
    for number, value in fields(graph):
        if number != 6 or not isinstance(value, memoryview):
            continue
        name, kind, attributes = _read_op(value, expander)
        if kind in _INPUT_TYPES:
            index, op = _read_data_op(attributes, len(inputs))
            inputs[index] = op
        elif kind == _FILE_CONSTANT:
            constants.append(_read_file_constant(name, attributes))
    return inputs, tuple(constants)


def decode_definition(data: memoryview) -> Definition:
    """Read the partition: the model's attributes, and its inputs as far as MODEL_INOUT_INFO leaves them open.

    Raises:
        ValueError: the bytes are no protobuf message (`WireError`), or its parts do not fit each other.
    """
    name, graph = "", data[:0]
    attributes: dict[str, Attribute] = {}
    for number, value in fields(data):
        if not isinstance(value, memoryview):
            continue
        if number == 1:
            name = str(value, "utf-8", "replace")
        elif number == 7 and not graph:
            graph = value
        elif number == 11:
            put_entry(attributes, value)
    return Definition(name, attributes, *_read_ops(graph, Expander(attributes)))
