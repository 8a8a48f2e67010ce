"""A compiled model and its `.om`: written by the emulated `atc`, read by the card.

The layout is the real one (facts/atc_om_soc.md §3.1-3.7): MODEL_INOUT_INFO, MODEL_DEF, WEIGHTS_DATA,
TBE_KERNELS, TASK_INFO and, for a truly dynamic shape, SO_BINS. Two things tell an emulated file from a real
one: the header names the emulator, and the weights partition is the network itself, as ONNX.

Reading follows §3.9 for every generation that has a partition table, far enough to say what a file is. What a
file of CANN computes cannot be read from it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from ascend_emulator.gears import Gears
from ascend_emulator.om_attributes import Attribute
from ascend_emulator.om_container import (
    INOUT_INFO,
    IR_VERSION,
    MODEL_DEF,
    SO_BINS,
    TASK_INFO,
    TBE_KERNELS,
    WEIGHTS,
    OmError,
    read_container,
    write_container,
)
from ascend_emulator.om_definition import (
    SHAPE_INPUT,
    Definition,
    FileConstant,
    Settings,
    decode_definition,
    encode_definition,
)
from ascend_emulator.om_inout import InOut, TensorInfo, decode_inout, encode_inout
from ascend_emulator.protobuf import Message
from ascend_emulator.soc import find_soc

__all__ = [
    "SHAPE_INPUT",
    "FileConstant",
    "OmError",
    "OmFile",
    "StaticAipp",
    "TensorInfo",
    "read_om",
    "write_om",
]

_KERNEL_MAGIC = 0x5D776EFD
_OPTIONS = "ascend_emulator_options"
"""Attribute of ours: the options that were taken without effect, each as `name=value`."""


@dataclass(frozen=True, slots=True)
class StaticAipp:
    """Image preprocessing that was compiled into a model.

    Attributes:
        input_index: place in `OmFile.inputs`.
        settings: fields of the `aipp_op` block and their values, under the names of its configuration
            (facts/atc_om_soc.md §5.1); a float has the precision of float32.
    """

    input_index: int
    settings: tuple[tuple[str, int | float | str | bool], ...]


@dataclass(frozen=True, slots=True)
class OmFile:
    """A compiled model.

    Attributes:
        name: the model's name, the stem of the path it was compiled to.
        soc_version: full SoC name, such as `Ascend310P3`; empty in files older than CANN 5.
        atc_cmdline: the command line that made it, joined with single spaces.
        atc_version: version of the `atc` that made it.
        toolchain: `ascend-emulator <version>`; empty for CANN's files.
        inputs: in order; with gears `ascend_mbatch_shape_data` is last, int32 [k], where k is 1 for batch
            sizes, 2 for image sizes and the number of -1s for dims.
        outputs: in order; each name is `node:index:tensor`, dims are those of the largest gear.
        gears: None for a model without.
        gear_input_dims: `[gear][input without the hidden one]` -> dims in memory; empty without gears.
        gear_output_dims: `[gear][output]` -> dims; empty without gears.
        input_order: names of all inputs in the order of `--input_shape`; empty when not recorded.
        dynamic: whether shapes are truly dynamic.
        host: `linux_x86_64` or `linux_aarch64`, where a dynamic model can be loaded; empty else.
        aipps: the static image preprocessing of its inputs, in the order of the inputs.
        options: options of `atc` that were taken without effect, as given.
        memory_size: working memory the model asks for, in bytes.
        weight_size: weight memory the model asks for, in bytes; weights outside the file count no bytes.
        network: ONNX, self-contained but for `file_constants`; its inputs are `inputs` without the hidden
            one, with the dims in memory, its outputs are `outputs`. For a file of CANN, the raw weights.
        framework: of the model it was made of: `Onnx` or `TensorFlow`; empty in files older than CANN 5.
        file_constants: the weights outside the file, in the network's order of them.
    """

    name: str
    soc_version: str
    atc_cmdline: str
    atc_version: str
    toolchain: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    gears: Gears | None
    gear_input_dims: tuple[tuple[tuple[int, ...], ...], ...]
    gear_output_dims: tuple[tuple[tuple[int, ...], ...], ...]
    input_order: tuple[str, ...]
    dynamic: bool
    host: str
    aipps: tuple[StaticAipp, ...]
    options: tuple[tuple[str, str], ...]
    memory_size: int
    weight_size: int
    network: bytes
    framework: str = "Onnx"
    file_constants: tuple[FileConstant, ...] = ()


# --- writing --------------------------------------------------------------------------------------


def _task_info(om: OmFile) -> bytes:
    # domi.ModelTaskDef without tasks: nothing here is split into hardware tasks.
    gears = len(om.gears.values) if om.gears else 0
    task = Message().data(1, IR_VERSION).integer(11, om.memory_size).integer(12, 1).integer(13, 0)
    return bytes(task.integer(14, om.weight_size).integer(18, gears))


def _kernels() -> bytes:
    # One record without code: what stands for the kernels is the ONNX runtime of the card.
    name = b"onnxruntime"
    return struct.pack("<III", _KERNEL_MAGIC, len(name), 0) + name


def _libraries() -> bytes:
    # As for the kernels: one record, no code. A dynamic model holds the operators' tiling libraries (§1.10).
    name, vendor = b"onnxruntime", b"ascend-emulator"
    return struct.pack("<IIHHII", 1, _KERNEL_MAGIC, len(name), 0, len(vendor), 0) + name + vendor


def _check(om: OmFile) -> None:
    """Refuse what the file could not tell: it would be read back as another model."""
    visible = om.inputs[:-1] if om.gears else om.inputs
    count = len(om.gears.values) if om.gears else 0
    if om.gears and (not count or not om.inputs or om.inputs[-1].name != SHAPE_INPUT):
        raise OmError(f"a model with gears has at least one, and {SHAPE_INPUT} as its last input")
    for what, table, tensors in (
        ("gear_input_dims", om.gear_input_dims, visible),
        ("gear_output_dims", om.gear_output_dims, om.outputs),
    ):
        if len(table) != count or any(len(row) != len(tensors) for row in table):
            raise OmError(f"{what} must have a row of {len(tensors)} shapes for each of {count} gears")
    for index, tensor in enumerate(visible):
        fixed = -1 not in tensor.physical_dims
        if fixed and any(row[index] != tensor.physical_dims for row in om.gear_input_dims):
            raise OmError(f"input {tensor.name!r} has no -1, but other dims at some gear")
    if om.dynamic != bool(om.host) or (om.host and not all(om.host.partition("_")[::2])):
        raise OmError(f"host {om.host!r} must be '<os>_<cpu>' for a model of dynamic shape, and empty else")
    if any("=" in name for name, _ in om.options):
        raise OmError(f"an option's name cannot hold '=': {om.options}")


def _attributes(om: OmFile, tasks: bytes, sizes: list[int]) -> dict[str, Attribute]:
    attributes: dict[str, Attribute] = {
        "atc_cmdline": om.atc_cmdline,
        "atc_version": om.atc_version,
        "opp_version": om.atc_version,
        "soc_version": om.soc_version,
        "arch_type": find_soc(om.soc_version).arch_type,
        "framework_type": om.framework,
        "target_type": "MINI",
        "om_info_list": sizes,
        "memory_size": om.memory_size,
        "weight_size": om.weight_size,
        "zero_copy_memory_size": sum(tensor.size for tensor in (*om.inputs, *om.outputs)),
        "stream_num": 1,
        "event_num": 0,
        "attr_model_out_nodes_name": [tensor.name for tensor in om.outputs],
        "tasks": tasks,
    }
    if om.host:
        attributes["host_env_os"], _, attributes["host_env_cpu"] = om.host.partition("_")
    if om.options:
        attributes[_OPTIONS] = [f"{name}={value}" for name, value in om.options]
    return attributes


def write_om(om: OmFile, *, compress: bool = True) -> bytes:
    """The file's bytes. `read_om` gives the same `OmFile` back.

    Args:
        om: the model; `toolchain` must be there and fit 32 bytes.
        compress: whether to code attribute names, as `--enable_attr_compression` has it.

    Raises:
        OmError: `toolchain` is empty or too long, or parts of the model do not fit each other.
        KeyError: `soc_version` is no known SoC.
    """
    _check(om)
    shapes = tuple(
        ",".join(map(str, (gear, output, *dims)))
        for output in range(len(om.outputs))
        for gear, outputs in enumerate(om.gear_output_dims)
        for dims in [outputs[output]]
    )
    info = InOut(om.inputs, om.outputs, om.gears, shapes, om.input_order)
    kernels, tasks = _kernels(), _task_info(om)
    libraries = _libraries() if om.dynamic else b""
    attributes = _attributes(om, tasks, [len(om.network), len(kernels), 0, len(tasks), len(libraries)])
    aipps = {aipp.input_index: aipp.settings for aipp in om.aipps}
    try:
        definition = encode_definition(
            om.name, info, om.gear_input_dims, aipps, attributes, om.file_constants, compress=compress
        )
    except (ValueError, OverflowError) as error:
        raise OmError(f"the model cannot be described: {error}") from error
    partitions = [
        (INOUT_INFO, encode_inout(info)),
        (MODEL_DEF, definition),
        (WEIGHTS, om.network),
        (TBE_KERNELS, kernels),
        (TASK_INFO, tasks),
        (SO_BINS, libraries),
    ]
    kept = [(kind, payload) for kind, payload in partitions if payload]
    return write_container(om.name, om.toolchain, kept, dynamic=om.dynamic)


# --- reading --------------------------------------------------------------------------------------


def _output_dims(info: InOut, gears: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
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
            for gear in range(gears)
        )
    except KeyError as error:
        raise OmError(f"no output dims for gear and output {error.args[0]}") from error


def _input_dims(info: InOut, definition: Definition, gears: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """`[gear][input without the hidden one]` -> dims in memory."""
    columns = []
    for index, tensor in enumerate(info.inputs):
        if tensor.name == SHAPE_INPUT:
            continue
        column = (tensor.physical_dims,) * gears
        if -1 in tensor.physical_dims:
            op = definition.data_ops.get(index)
            column = op.gear_dims if op else ()
        if len(column) != gears:
            raise OmError(f"input {tensor.name!r} has dims for {len(column)} of {gears} gears")
        columns.append(column)
    return tuple(tuple(column[gear] for column in columns) for gear in range(gears))


def _text(attributes: Mapping[str, Attribute], name: str) -> str:
    value = attributes.get(name)
    return value if isinstance(value, str) else ""


def _int(attributes: Mapping[str, Attribute], name: str) -> int:
    value = attributes.get(name)
    return value if isinstance(value, int) else 0


def _options(attributes: Mapping[str, Attribute]) -> tuple[tuple[str, str], ...]:
    listed = attributes.get(_OPTIONS)
    if not isinstance(listed, list):
        return ()
    parts = [str(option).partition("=") for option in listed]
    return tuple((name, value) for name, _, value in parts)


def _host(attributes: Mapping[str, Attribute]) -> str:
    system, cpu = _text(attributes, "host_env_os"), _text(attributes, "host_env_cpu")
    return f"{system}_{cpu}" if system and cpu else ""


def _aipps(definition: Definition) -> tuple[StaticAipp, ...]:
    found: list[tuple[int, Settings]] = [
        (index, op.aipp) for index, op in definition.data_ops.items() if op.aipp is not None
    ]
    return tuple(StaticAipp(index, settings) for index, settings in sorted(found))


def read_om(data: bytes | memoryview) -> OmFile:
    """Read a compiled model.

    Args:
        data: the whole file.

    Raises:
        OmError: not an `.om`, cut off, encrypted, a bundle or another kind of model, or inconsistent.
    """
    container = read_container(data)
    partitions = container.partitions
    try:
        definition = decode_definition(partitions[MODEL_DEF])
        info = decode_inout(partitions[INOUT_INFO]) if INOUT_INFO in partitions else InOut()
        gears = len(info.gears.values) if info.gears else 0
        input_dims, output_dims = _input_dims(info, definition, gears), _output_dims(info, gears)
    except OmError:
        raise
    except ValueError as error:
        raise OmError(f"the model's description cannot be read: {error}") from error
    attributes = definition.attributes
    return OmFile(
        name=definition.name or container.header.name,
        soc_version=_text(attributes, "soc_version"),
        atc_cmdline=_text(attributes, "atc_cmdline"),
        atc_version=_text(attributes, "atc_version"),
        toolchain=container.header.toolchain,
        inputs=info.inputs,
        outputs=info.outputs,
        gears=info.gears,
        gear_input_dims=input_dims,
        gear_output_dims=output_dims,
        input_order=info.input_order,
        dynamic=container.header.dynamic,
        host=_host(attributes) if container.header.dynamic else "",
        aipps=_aipps(definition),
        options=_options(attributes),
        memory_size=_int(attributes, "memory_size"),
        weight_size=_int(attributes, "weight_size"),
        network=bytes(partitions.get(WEIGHTS, b"")),
        framework=_text(attributes, "framework_type"),
        file_constants=definition.file_constants,
    )
