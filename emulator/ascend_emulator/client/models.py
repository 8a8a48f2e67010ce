"""Loading, describing and executing models (facts/pyacl.md §9, §11, §12)."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict
from zlib import crc32

from ascend_emulator.client import handles, memory, process
from ascend_emulator.client.datasets import DataBuffer, buffers_of, hidden_buffer
from ascend_emulator.client.process import Device
from ascend_emulator.client.streams import stream_of
from ascend_emulator.codes import (
    GE_DYNAMIC_BATCH_INVALID,
    GE_DYNAMIC_INPUT_LENGTH_INVALID,
    GE_LOAD_MODEL,
    GE_MODEL_DATA_INVALID,
    GE_MODEL_ID_INVALID,
    GE_MODEL_PATH_INVALID,
    GE_NOT_INITIALISED,
    GE_PARAM_INVALID,
    INVALID_PARAM,
    RT_MODEL_CONTEXT,
    RT_PARAM_INVALID,
    Failure,
)
from ascend_emulator.soc import find_soc
from ascend_emulator.wire import EXECUTE, HEADER, NOWHERE, ONE, Op, buffer_list

if TYPE_CHECKING:
    from ascend_emulator.om import OmFile, TensorInfo

_LONGEST_NAME = 127
_SLACK = 64
"""Bytes by which an input buffer may be smaller than its tensor before the device refuses it."""

_model_ids = count(1)


class Dims(TypedDict, total=False):
    """The dict that the dims functions return; empty when they fail."""

    name: str
    dimCount: int
    dims: list[int]


class Model:
    """A loaded model.

    Attributes:
        device: where it is loaded.
        om: the file, without its network.
        gear: the gear set last; the largest if none was, 0 for a static model.
    """

    def __init__(self, device: Device, om: OmFile) -> None:
        self.device = device
        self.om = om
        self.gear = max(om.batch_gears, default=0)


class Description:
    """What `create_desc` makes and `get_desc` fills.

    Attributes:
        om: the file described, None until filled.
        model_id: the model described.
    """

    def __init__(self) -> None:
        self.om: OmFile | None = None
        self.model_id = 0


_models: dict[int, Model] = {}
_executor_ready = False


def set_executor(*, ready: bool) -> None:
    """Note whether `acl.init` was called: models load only then."""
    global _executor_ready
    _executor_ready = ready


def load_file(path: str) -> int:
    """Load an .om.

    Returns:
        The model's id.

    Raises:
        Failure: 145001 (no init), 145002 (path), and as `load_bytes`.
    """
    _check_ready()
    return load_bytes(_content(path))


def read_file(path: str) -> OmFile:
    """What an .om says of itself, without loading it.

    Raises:
        Failure: 145002 (path), 145006 (no whole .om).
    """
    return _parsed(_content(path))


def load_bytes(content: bytes) -> int:
    """Load the content of an .om.

    Returns:
        The model's id.

    Raises:
        Failure: 145001 (no init), 107002 (no context), 145006 (no whole .om), 545001 (not made by the
            emulator's atc, or broken), 145000 (another architecture), 245000 (no room).
    """
    _check_ready()
    device = process.current().device
    om = _parsed(content)
    if not om.toolchain:
        text = "ascend-emulator: CANN compiled this model for hardware; the emulator runs what its own atc compiled."
        raise Failure(GE_LOAD_MODEL, text)
    _check_arch(om)
    model_id = next(_model_ids)
    fd = os.memfd_create("ascend-emulator-model")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(fd, 0, os.SEEK_SET)
        device.link.call(Op.LOAD, ONE.pack(model_id), fd=fd)
    finally:
        os.close(fd)
    _models[model_id] = Model(device, replace(om, network=b""))
    return model_id


def unload(model_id: int) -> None:
    """Unload a model.

    Raises:
        Failure: 145003, no such model.
    """
    model = _model(model_id)
    del _models[model_id]
    # After reset_device the card has forgotten the model; programs unload it all the same.
    if not model.device.link.closed:
        model.device.link.call(Op.UNLOAD, ONE.pack(model_id))


def describe(handle: int, model_id: int) -> None:
    """Fill a description with a loaded model.

    Raises:
        Failure: 100000 (no description), 145003 (no such model).
    """
    description = handles.get(handle, Description)
    description.om = _model(model_id).om
    description.model_id = model_id


def described(handle: int) -> OmFile:
    """What a description describes.

    Raises:
        Failure: 100000, no description, or one never filled.
    """
    om = handles.get(handle, Description).om
    if om is None:
        raise Failure(INVALID_PARAM, "EH0001: the model description is empty: call get_desc first.")
    return om


def tensor(handle: int, index: int, *, output: bool) -> TensorInfo:
    """One input or output of a description.

    Raises:
        Failure: 100000, a bad description or index.
    """
    om = described(handle)
    tensors = om.outputs if output else om.inputs
    if not 0 <= index < len(tensors):
        raise Failure(
            INVALID_PARAM, f"EH0001: index {index} is invalid, the valid range is [0, {len(tensors)})."
        )
    return tensors[index]


def shown_name(handle: int, index: int, *, output: bool) -> str:
    """A tensor's name, replaced by a generated one when it has more than 127 characters."""
    name = tensor(handle, index, output=output).name
    if len(name) <= _LONGEST_NAME:
        return name
    model_id = handles.get(handle, Description).model_id
    return f"acl_modelId_{model_id}_{'output' if output else 'input'}_{index}_{crc32(name.encode()):08x}"


def real_name(handle: int, name: str) -> str:
    """The full name behind a name that `shown_name` gave; the empty string for any other."""
    om = described(handle)
    for output, tensors in ((False, om.inputs), (True, om.outputs)):
        for index, info in enumerate(tensors):
            if name in (info.name, shown_name(handle, index, output=output)):
                return info.name
    return ""


def index_of(handle: int, name: str, *, output: bool) -> int:
    """The index of the input or output with that name.

    Raises:
        Failure: 100000, no such name.
    """
    om = described(handle)
    for index, info in enumerate(om.outputs if output else om.inputs):
        if name in (info.name, shown_name(handle, index, output=output)):
            return index
    raise Failure(INVALID_PARAM, f"EH0001: the model has no {'output' if output else 'input'} {name!r}.")


def dims(handle: int, index: int, *, output: bool) -> Dims:
    """A tensor's dims: -1 where an input is dynamic, those of the largest gear for an output."""
    shape = tensor(handle, index, output=output).dims
    return {"name": shown_name(handle, index, output=output), "dimCount": len(shape), "dims": list(shape)}


def current_output_dims(handle: int, index: int) -> Dims:
    """An output's dims at the gear set last on the model."""
    found = dims(handle, index, output=True)
    model = _model(handles.get(handle, Description).model_id)
    if model.gear:
        gear_index = model.om.batch_gears.index(model.gear)
        found["dims"] = list(model.om.gear_output_dims[gear_index][index])
        found["dimCount"] = len(found["dims"])
    return found


def set_gear(model_id: int, dataset: int, index: int, gear: int) -> None:
    """Choose the batch gear: write it into the hidden input's memory, at once, and remember it on the model.

    Raises:
        Failure: 145003 (model), 100000 (gear 0, dataset, index, null buffer), 145012 (buffer too small),
            145013 (no such gear).
    """
    model = _model(model_id)
    if not gear:
        raise Failure(INVALID_PARAM, "EH0001: batch size is 0, it must be greater than 0.")
    buffer = hidden_buffer(dataset, index)
    if gear not in model.om.batch_gears:
        text = f"E19999: batch size {gear} is not one of the compiled gears {list(model.om.batch_gears)}."
        raise Failure(GE_DYNAMIC_BATCH_INVALID, text)
    if buffer.size < 4:
        text = f"E19999: the gear input has {buffer.size} bytes, it needs 4."
        raise Failure(GE_DYNAMIC_INPUT_LENGTH_INVALID, text)
    if model.device.link.address_on_wire(buffer.address) == NOWHERE:
        raise Failure(RT_PARAM_INVALID, "EE1001: the memory of the gear input is not the device's.")
    buffer.write_number(gear)
    model.gear = gear


def check_model(model_id: int) -> None:
    """Raise 145003 unless a model with that id is loaded."""
    _model(model_id)


def execute(model_id: int, inputs: int, outputs: int) -> None:
    """Run a model and wait for it, with the GIL. Not ordered with any stream.

    Raises:
        Failure: as `execute_async`, and what the execution itself ran into.
    """
    process.current()
    model = _model(model_id)
    _allocate_outputs(model, outputs)
    model.device.link.call(Op.EXECUTE, _execution(model_id, model, 0, inputs, outputs))


def execute_async(model_id: int, inputs: int, outputs: int, stream: int) -> None:
    """Queue one execution. Its failure comes out at the next synchronise of the stream.

    Raises:
        Failure: 107002, 107003, 145003 (model), 145000 (number or size of buffers), 100000 (null input).
    """
    queue = stream_of(stream)
    model = _model(model_id)
    model.device.link.post(
        HEADER.pack(Op.EXECUTE, 0, 0) + _execution(model_id, model, queue.number, inputs, outputs)
    )


def _execution(model_id: int, model: Model, stream: int, inputs: int, outputs: int) -> bytes:
    if model.device is not process.current().device:
        raise Failure(
            RT_MODEL_CONTEXT, f"EE1001: model {model_id} is loaded on another device than the current one."
        )
    sources, targets = buffers_of(inputs), buffers_of(outputs)
    om = model.om
    for what, buffers, tensors in (("input", sources, om.inputs), ("output", targets, om.outputs)):
        if len(buffers) != len(tensors):
            text = f"E19999: the {what} dataset has {len(buffers)} buffers, the model has {len(tensors)} {what}s."
            raise Failure(GE_PARAM_INVALID, text)
    for index, (buffer, info) in enumerate(zip(sources, om.inputs, strict=True)):
        _check_input(index, buffer, info, model)
    if any(not buffer.address for buffer in targets):
        text = "EH0002: an output buffer has no memory; only a synchronous execute allocates it."
        raise Failure(INVALID_PARAM, text)
    to_wire = model.device.link.address_on_wire
    flat = [number for buffer in (*sources, *targets) for number in (to_wire(buffer.address), buffer.size)]
    head = EXECUTE.pack(stream, model_id, len(sources), len(targets))
    return head + buffer_list(len(flat) // 2).pack(*flat)


def _allocate_outputs(model: Model, outputs: int) -> None:
    # The program owns such memory afterwards: it frees it and empties the buffer before the next call (facts §11).
    for buffer, info in zip(buffers_of(outputs), model.om.outputs, strict=False):
        if not buffer.address and not buffer.size and info.size:
            buffer.address = memory.malloc(info.size, pad=True)
            buffer.size = info.size


def _check_input(index: int, buffer: DataBuffer, info: TensorInfo, model: Model) -> None:
    if not buffer.address:
        raise Failure(INVALID_PARAM, f"EH0002: input buffer {index} has no memory.")
    # With gears only the rows of the gear have to be there, and the gear is read when the execution starts.
    if not model.gear and buffer.size + _SLACK < info.size:
        text = f"E13025: input {index} ({info.name}) needs {info.size} bytes, its buffer has {buffer.size}."
        raise Failure(GE_PARAM_INVALID, text)


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        text = f"E13026: the model file {path!r} cannot be read: {error.strerror}."
        raise Failure(GE_MODEL_PATH_INVALID, text) from error


def _parsed(content: bytes) -> OmFile:
    # Imported late: Ray's processes import acl to count devices, and few load a model.
    from ascend_emulator.om import OmError, read_om

    try:
        return read_om(content)
    except OmError as error:
        raise Failure(GE_MODEL_DATA_INVALID, f"E19999: the data is no offline model: {error}") from error


def _model(model_id: int) -> Model:
    model = _models.get(model_id)
    if model is None:
        raise Failure(GE_MODEL_ID_INVALID, f"E19999: no model with id {model_id} is loaded.")
    return model


def _check_ready() -> None:
    if not _executor_ready:
        raise Failure(GE_NOT_INITIALISED, "E19999: the executor is not initialised: call acl.init() first.")


def _check_arch(om: OmFile) -> None:
    soc = process.settings().soc
    try:
        arch = find_soc(om.soc_version).arch if om.soc_version else soc.arch
    except KeyError:  # a SoC that is newer than the table runs on none of it
        arch = 0
    if arch != soc.arch:
        text = (
            f"E10001: Value [{om.soc_version}] for parameter [soc_version] is invalid. Reason: "
            f"Model soc version is not support in this device. (The device is {soc.name}.)"
        )
        raise Failure(GE_PARAM_INVALID, text)
