"""The container of an `.om`: written by the emulated `atc`, read by the card.

The layout is the real one (facts/atc_om_soc.md §3.1-3.5): a 256-byte header `IMOD` of version 2, the wide
partition table, then MODEL_INOUT_INFO, MODEL_DEF, WEIGHTS_DATA, TBE_KERNELS and TASK_INFO back to back. Two
things tell an emulated file from a real one: the header field `userdefineinfo`, zero in every real file,
names the emulator, and the weights partition is the network itself, as ONNX.

Reading follows §3.9 for every generation that has a partition table, far enough to say what a file is. What a
file of CANN computes cannot be read from it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ascend_emulator.om_definition import (
    IR_VERSION,
    SHAPE_INPUT,
    Attribute,
    decode_definition,
    encode_definition,
)
from ascend_emulator.om_inout import InOut, TensorInfo, decode_inout, encode_inout
from ascend_emulator.protobuf import Message, WireError
from ascend_emulator.soc import find_soc

__all__ = ["SHAPE_INPUT", "OmError", "OmFile", "TensorInfo", "read_om", "write_om"]

HEADER_SIZE = 256
MAGIC = 0x444F4D49
_V1, _V2 = 0x10000000, 0x20000000
_MODEL_DEF, _WEIGHTS, _TASK_INFO, _TBE_KERNELS, _INOUT_INFO = 0, 1, 2, 3, 8
_KERNEL_MAGIC = 0x5D776EFD
_NAME_BYTES = 31
_TOOLCHAIN_BYTES = 32
_OM_IR_VERSION = 2
_PLATFORM_MINI = 1
_MOST_PARTITIONS = 64
"""A model that is not a flow model has at most eight (§3.3); far more means that this is no table."""

_HEAD = struct.Struct("<III64xIBBBB32sI32sI")
_TAIL_V2 = struct.Struct("<I20sB3xQBB62x")


class OmError(ValueError):
    """The bytes are no whole offline model that can be read here."""


@dataclass(frozen=True, slots=True)
class OmFile:
    """A compiled model.

    Attributes:
        name: the model's name, the stem of the path it was compiled to.
        soc_version: full SoC name, such as `Ascend310P3`; empty in files older than CANN 5.
        atc_cmdline: the command line that made it, joined with single spaces.
        atc_version: version of the `atc` that made it.
        toolchain: `ascend-emulator <version>`; empty for CANN's files.
        inputs: in order; `ascend_mbatch_shape_data` (int32, [1]) is last when there are gears.
        outputs: in order; each name is `node:index:tensor`, dims are those of the largest gear.
        batch_gears: batch sizes in the order the user gave them; empty for a static model.
        gear_output_dims: `[gear][output]` -> dims, in the order of `batch_gears`; empty for a static model.
        memory_size: working memory the model asks for, in bytes.
        weight_size: weight memory the model asks for, in bytes.
        network: self-contained ONNX; its inputs are `inputs` without the hidden one, its outputs are
            `outputs`. For a file of CANN, the raw weights.
    """

    name: str
    soc_version: str
    atc_cmdline: str
    atc_version: str
    toolchain: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    batch_gears: tuple[int, ...]
    gear_output_dims: tuple[tuple[tuple[int, ...], ...], ...]
    memory_size: int
    weight_size: int
    network: bytes


# --- writing --------------------------------------------------------------------------------------


def _task_info(om: OmFile) -> bytes:
    # domi.ModelTaskDef without tasks: nothing here is split into hardware tasks.
    task = Message().data(1, IR_VERSION).integer(11, om.memory_size).integer(12, 1).integer(13, 0)
    return bytes(task.integer(14, om.weight_size).integer(18, len(om.batch_gears)))


def _kernels() -> bytes:
    # One record without code: what stands for the kernels is the ONNX runtime of the card.
    name = b"onnxruntime"
    return struct.pack("<III", _KERNEL_MAGIC, len(name), 0) + name


def write_om(om: OmFile, input_order: tuple[str, ...] = ()) -> bytes:
    """The file's bytes. `read_om` gives the same `OmFile` back.

    Args:
        om: the model; `toolchain` must be there and fit 32 bytes.
        input_order: the input names as the user ordered them in `--input_shape`.

    Raises:
        OmError: `toolchain` is empty or too long.
        KeyError: `soc_version` is no known SoC.
    """
    toolchain = om.toolchain.encode()
    if not 0 < len(toolchain) <= _TOOLCHAIN_BYTES:
        raise OmError(
            f"toolchain {om.toolchain!r} must take 1 to {_TOOLCHAIN_BYTES} bytes: the header field's room"
        )
    shapes = tuple(
        ",".join(map(str, (gear, output, *dims)))
        for output in range(len(om.outputs))
        for gear, outputs in enumerate(om.gear_output_dims)
        for dims in [outputs[output]]
    )
    kernels, tasks = _kernels(), _task_info(om)
    attributes: dict[str, Attribute] = {
        "atc_cmdline": om.atc_cmdline,
        "atc_version": om.atc_version,
        "opp_version": om.atc_version,
        "soc_version": om.soc_version,
        "arch_type": find_soc(om.soc_version).arch_type,
        "framework_type": "Onnx",
        "target_type": "MINI",
        "om_info_list": [len(om.network), len(kernels), 0, len(tasks), 0],
        "memory_size": om.memory_size,
        "weight_size": om.weight_size,
        "zero_copy_memory_size": sum(tensor.size for tensor in (*om.inputs, *om.outputs)),
        "stream_num": 1,
        "event_num": 0,
        "attr_model_out_nodes_name": [tensor.name for tensor in om.outputs],
        "tasks": tasks,
    }
    definition = encode_definition(
        om.name, om.inputs, om.outputs, om.batch_gears, shapes, input_order, attributes
    )
    inout = encode_inout(InOut(om.inputs, om.outputs, om.batch_gears, shapes, input_order))
    partitions = [
        (_INOUT_INFO, inout),
        (_MODEL_DEF, definition),
        (_WEIGHTS, om.network),
        (_TBE_KERNELS, kernels),
        (_TASK_INFO, tasks),
    ]
    table = bytearray(struct.pack("<I4x", len(partitions)))
    offset = 0
    for kind, payload in partitions:
        table += struct.pack("<I4xQQ", kind, offset, len(payload))
        offset += len(payload)
    payload_size = len(table) + offset
    name = om.name.encode()[:_NAME_BYTES]
    head = _HEAD.pack(MAGIC, HEADER_SIZE, _V2, 0, 0, 0, 0, 0, name, 0, toolchain, _OM_IR_VERSION)
    tail = _TAIL_V2.pack(1, IR_VERSION.encode(), _PLATFORM_MINI, payload_size, 0, 0)
    return b"".join([head, tail, table, *(payload for _, payload in partitions)])


# --- reading --------------------------------------------------------------------------------------


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace")


def _partitions(data: memoryview, wide: bool) -> dict[int, memoryview]:
    """The partitions of the first sub-model, by type, placed by their sizes as the loader does (§3.3)."""
    head, entry = (8, struct.Struct("<I4xQQ")) if wide else (4, struct.Struct("<III"))
    if len(data) < head:
        raise OmError(f"the file ends before its partition table: {len(data)} bytes after the header")
    (count,) = struct.unpack_from("<I", data)
    at = head + count * entry.size
    if not 0 < count <= _MOST_PARTITIONS or at > len(data):
        raise OmError(f"no partition table after the header: it would have {count} entries")
    found: dict[int, memoryview] = {}
    for place in range(count):
        kind, _, size = entry.unpack_from(data, head + place * entry.size)
        if size > len(data) - at:
            raise OmError(
                f"partition {kind} wants {size} bytes where {len(data) - at} are left: the file is cut off"
            )
        found[kind] = data[at : at + size]
        at += size
    return found


def _gear_dims(info: InOut) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """`[gear][output]` -> dims from the texts `gear,output,dims`."""
    table: dict[tuple[int, int], tuple[int, ...]] = {}
    for text in info.output_shapes:
        gear, output, *dims = map(int, filter(None, text.split(",")))
        table[gear, output] = tuple(dims)
    try:
        return tuple(
            tuple(
                # GE gives an output that does not go through the gears the gear number -1.
                table[gear, output] if (gear, output) in table else table[-1, output]
                for output in range(len(info.outputs))
            )
            for gear in range(len(info.batch_gears))
        )
    except KeyError as error:
        raise OmError(f"no output dims for gear and output {error.args[0]}") from error


def _as_text(value: Attribute | None) -> str:
    return value if isinstance(value, str) else ""


def _as_int(value: Attribute | None) -> int:
    return value if isinstance(value, int) else 0


def read_om(data: bytes | memoryview) -> OmFile:
    """Read a compiled model.

    The checks are those of the loader (facts §3.2): at least 256 bytes, magic, header size, the size the
    header states, every partition inside the file.

    Args:
        data: the whole file.

    Raises:
        OmError: not an `.om`, cut off, encrypted, of a kind without a partition table, or inconsistent.
    """
    view = memoryview(data)
    if len(view) < HEADER_SIZE:
        raise OmError(f"{len(view)} bytes: an .om has a header of {HEADER_SIZE}")
    magic, head_size, version, length, encrypted, _, kind, _, header_name, _, user, _ = _HEAD.unpack_from(
        view
    )
    if magic != MAGIC:
        raise OmError(f"the first bytes are {bytes(view[:4])!r}: an .om begins with b'IMOD'")
    if head_size != HEADER_SIZE or version not in (_V1, _V2):
        raise OmError(
            f"header size {head_size} and version {version:#x}: known are 256 with 0x10000000 or 0x20000000"
        )
    if encrypted:
        raise OmError("the model is encrypted; only plain ones can be read")
    if kind != 0:
        raise OmError(
            f"model type {kind}: only type 0, a model that ATC compiled from one network, can be read"
        )
    wide_length = _TAIL_V2.unpack_from(view, _HEAD.size)[3] if version == _V2 else 0
    stated = HEADER_SIZE + (wide_length or length)
    if stated != len(view):
        raise OmError(f"the header states {stated} bytes, the file has {len(view)}: copy it again")
    partitions = _partitions(view[HEADER_SIZE:], wide_length != 0)
    if _MODEL_DEF not in partitions:
        raise OmError(f"no MODEL_DEF among the partitions {sorted(partitions)}")
    try:
        name, attributes = decode_definition(partitions[_MODEL_DEF])
        info = decode_inout(partitions[_INOUT_INFO]) if _INOUT_INFO in partitions else InOut()
        gear_dims = _gear_dims(info)
    except OmError:
        raise
    except (WireError, ValueError) as error:
        raise OmError(f"the model's description cannot be read: {error}") from error
    toolchain = _text(user)
    return OmFile(
        name=name or _text(header_name),
        soc_version=_as_text(attributes.get("soc_version")),
        atc_cmdline=_as_text(attributes.get("atc_cmdline")),
        atc_version=_as_text(attributes.get("atc_version")),
        toolchain=toolchain,
        inputs=info.inputs,
        outputs=info.outputs,
        batch_gears=info.batch_gears,
        gear_output_dims=gear_dims,
        memory_size=_as_int(attributes.get("memory_size")),
        weight_size=_as_int(attributes.get("weight_size")),
        network=bytes(partitions.get(_WEIGHTS, b"")),
    )
