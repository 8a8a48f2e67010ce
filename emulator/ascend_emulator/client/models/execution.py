"""Executing models (facts/pyacl.md §11, §12.5)."""

from __future__ import annotations

import ctypes
from struct import Struct
from typing import TYPE_CHECKING

from ascend_emulator.client import datasets, handles, memory, process
from ascend_emulator.client.datasets import DataBuffer, buffers_of
from ascend_emulator.client.models import registry
from ascend_emulator.client.models.config import FOREVER_MS, ExecConfig
from ascend_emulator.client.models.registry import Model
from ascend_emulator.client.streams import check_timeout, stream_of
from ascend_emulator.codes import (
    GE_FAILURE,
    GE_PARAM_INVALID,
    INVALID_PARAM,
    RT_MODEL_CONTEXT,
    RT_STREAM_SYNC_TIMEOUT,
    Failure,
)
from ascend_emulator.wire import (
    COLLECT,
    EXECUTE,
    MOST_DIMS,
    NOWHERE,
    ONE,
    Op,
    buffer_list,
    moment_now,
    pack_dims,
    unpack_dims,
)

if TYPE_CHECKING:
    from ascend_emulator.om import TensorInfo

_SLACK = 64
"""Bytes by which an input buffer may be smaller than its tensor before the device refuses it."""

_MOST_PREPARED = 64

_HEAD = Struct("<HHIQ")
"""Head of a message without a channel, and the stream with which the body of EXECUTE begins."""

_EXECUTE = int(Op.EXECUTE)


def execute(model_id: int, inputs: int, outputs: int) -> None:
    """Run a model and wait for it, with the GIL. Not ordered with any stream.

    Raises:
        Failure: as `execute_async`, and what the execution itself ran into.
    """
    model = _model_here(model_id, process.current().device)
    if model.om.dynamic:
        _run_dynamic(model_id, model, inputs, outputs, 0, collects=True)
        return
    _allocate_outputs(model, outputs)
    model.device.link.call(Op.EXECUTE, ONE.pack(0) + _prepared(model_id, model, inputs, outputs))


def execute_async(model_id: int, inputs: int, outputs: int, stream: int) -> None:
    """Queue one execution. Its failure comes out at the next synchronise of the stream.

    Raises:
        Failure: 107002, 107003, 145003 (model), 107004 (of another device), 145000 (number or size of buffers),
            100000 (null buffer).
    """
    queue = stream_of(stream)
    model = _model_here(model_id, queue.context.device)
    if model.om.dynamic:
        _run_dynamic(model_id, model, inputs, outputs, queue.number, collects=False)
        return
    model.device.link.post(
        _HEAD.pack(_EXECUTE, 0, moment_now(), queue.number) + _prepared(model_id, model, inputs, outputs)
    )


def execute_within(model_id: int, inputs: int, outputs: int, stream: int, config: int) -> None:
    """Run a model and wait for it as a configuration says, with the GIL.

    Args:
        model_id: of the model.
        inputs: dataset of its inputs.
        outputs: dataset of its outputs.
        stream: the stream to run it in, which is waited for; 0: none.
        config: execution configuration.

    Raises:
        Failure: 100000 (no configuration), 107000 (a time of 0), 507046 (the time is up), and as `execute`.
    """
    time_ms = handles.get(config, ExecConfig).stream_timeout_ms
    device = process.current().device
    number = stream_of(stream).number if stream else 0
    check_timeout(time_ms)
    model = _model_here(model_id, device)
    if model.om.dynamic:
        _run_dynamic(model_id, model, inputs, outputs, number, collects=True)
        op, body = Op.SYNC_STREAM, ONE.pack(number)
        if not number:
            return
    else:
        _allocate_outputs(model, outputs)
        message = _prepared(model_id, model, inputs, outputs)
        op, body = Op.EXECUTE, ONE.pack(0) + message
        if number:
            device.link.post(_HEAD.pack(_EXECUTE, 0, moment_now(), number) + message)
            op, body = Op.SYNC_STREAM, ONE.pack(number)
    if time_ms == FOREVER_MS:
        device.link.call(op, body)
    elif device.link.call_within(op, body, time_ms, keep_gil=True) is None:
        text = f"EE9999: the execution did not end within {time_ms} ms."
        raise Failure(RT_STREAM_SYNC_TIMEOUT, text)


def _model_here(model_id: int, device: process.Device) -> Model:
    model = registry.get(model_id)
    if model.device is not device:
        raise Failure(
            RT_MODEL_CONTEXT, f"EE1001: model {model_id} is loaded on another device than the current one."
        )
    return model


def _prepared(model_id: int, model: Model, inputs: int, outputs: int) -> bytes:
    """The message of an execution from behind its stream; made anew only when a dataset or buffer changed."""
    state = datasets.changes.last
    known = model.prepared.get((inputs, outputs))
    if known is not None and known[0] == state:
        return known[1]
    sources, targets = buffers_of(inputs), buffers_of(outputs)
    _check_numbers(model, sources, targets)
    for index, (buffer, info) in enumerate(zip(sources, model.om.inputs, strict=True)):
        _check_input(index, buffer, info, model)
    if any(not buffer.address for buffer in targets):
        text = "EH0002: an output buffer has no memory; only a synchronous execute allocates it."
        raise Failure(INVALID_PARAM, text)
    message, reachable = _message(model_id, model, sources, targets)
    if reachable:
        if len(model.prepared) >= _MOST_PREPARED:
            model.prepared.clear()
        model.prepared[inputs, outputs] = state, message
    return message


def _message(
    model_id: int, model: Model, sources: list[DataBuffer], targets: list[DataBuffer]
) -> tuple[bytes, bool]:
    """The message from behind its stream, and whether the card can reach every buffer."""
    to_wire = model.device.link.address_on_wire
    flat = [number for buffer in (*sources, *targets) for number in (to_wire(buffer.address), buffer.size)]
    head = EXECUTE.pack(0, model_id, len(sources), len(targets))[ONE.size :]
    return head + buffer_list(len(flat) // 2).pack(*flat), NOWHERE not in flat[::2]


def _check_numbers(model: Model, sources: list[DataBuffer], targets: list[DataBuffer]) -> None:
    om = model.om
    for what, buffers, tensors in (("input", sources, om.inputs), ("output", targets, om.outputs)):
        if len(buffers) != len(tensors):
            text = f"E13025: the {what} dataset has {len(buffers)} buffers, the model has {len(tensors)} {what}s."
            raise Failure(GE_PARAM_INVALID, text)


def _check_input(index: int, buffer: DataBuffer, info: TensorInfo, model: Model) -> None:
    if not buffer.address:
        raise Failure(INVALID_PARAM, f"EH0002: input buffer {index} has no memory.")
    # With gears only what the gear takes has to be there, and the gear is read when the execution starts.
    if model.om.gears is None and buffer.size + _SLACK < info.size:
        text = f"E13025: input {index} ({info.name}) needs {info.size} bytes, its buffer has {buffer.size}."
        raise Failure(GE_PARAM_INVALID, text)


def _allocate_outputs(model: Model, outputs: int) -> None:
    # The program owns such memory afterwards: it frees it and empties the buffer before the next call (facts §11).
    for buffer, info in zip(buffers_of(outputs), model.om.outputs, strict=False):
        if not buffer.address and info.size:
            buffer.update(memory.malloc(info.size, pad=True), info.size)


# --- truly dynamic shape --------------------------------------------------------------------------


def _run_dynamic(
    model_id: int, model: Model, inputs: int, outputs: int, stream: int, *, collects: bool
) -> None:
    """One execution whose inputs' dims are the dataset's tensor descriptions; the outputs get theirs by it.

    Args:
        model_id: of the model.
        model: the model.
        inputs: dataset of its inputs; more buffers than inputs are left alone.
        outputs: dataset of its outputs.
        stream: the card's number of the stream; 0: wait for the execution.
        collects: whether outputs without memory are allocated by the system.

    Raises:
        Failure: 100000 (too few input buffers, a null one, dims out of range), 500002 (number of outputs, or an
            input's dims are not known), and what the execution itself ran into.
    """
    om = model.om
    sources, targets = buffers_of(inputs), buffers_of(outputs)
    if len(sources) < len(om.inputs):
        text = f"EH0001: the input dataset has {len(sources)} buffers, the model has {len(om.inputs)} inputs."
        raise Failure(INVALID_PARAM, text)
    if len(targets) != len(om.outputs):
        text = (
            f"E19999: the output dataset has {len(targets)} buffers, the model has {len(om.outputs)} outputs."
        )
        raise Failure(GE_FAILURE, text)
    described = [
        _described_dims(index, info, datasets.description_of(inputs, index))
        for index, info in enumerate(om.inputs)
    ]
    empty = [index for index, buffer in enumerate(targets) if not buffer.address]
    if not all(buffer.address for buffer in sources[: len(om.inputs)]) or (empty and not collects):
        raise Failure(
            INVALID_PARAM, "EH0002: a buffer has no memory; only a synchronous execute allocates outputs."
        )
    for index in empty:
        targets[index] = DataBuffer(0, 0)
    message, _ = _message(model_id, model, sources[: len(om.inputs)], targets)
    link = model.device.link
    room = 8 * len(targets) * (1 + MOST_DIMS)
    told = process.pinned().allocate(room)
    if told is None:
        raise Failure(GE_FAILURE, "EL0004: the host has no memory left to pin.")
    try:
        tail = ONE.pack(link.address_on_wire(told)) + pack_dims(described)
        if empty:
            stream = 0  # what is allocated must have been computed
        link.call(Op.EXECUTE, ONE.pack(stream) + message + tail)
        shapes = unpack_dims(ctypes.string_at(told, room), len(targets))
    finally:
        process.pinned().free(told)
    for index, (info, shape) in enumerate(zip(om.outputs, shapes, strict=True)):
        datasets.describe(outputs, index, info.dtype, shape or (), info.format)
    for index in empty:
        description = datasets.description_of(outputs, index)
        size = 0 if description is None else description.size
        if size:
            address = memory.malloc(size, pad=True)
            link.call(Op.COLLECT, COLLECT.pack(model_id, index, link.address_on_wire(address), size))
            buffers_of(outputs)[index].update(address, size)


def _described_dims(
    index: int, info: TensorInfo, description: datasets.TensorDescription | None
) -> tuple[int, ...]:
    """An input's dims: those described, the model's own where nothing is, checked as GE checks them."""
    dims = info.physical_dims if description is None else description.dims
    if info.ranges and dims:
        if len(dims) != len(info.ranges):
            text = (
                f"E13025: input {index} ({info.name}) was given {len(dims)} dims, it has {len(info.ranges)}."
            )
            raise Failure(INVALID_PARAM, text)
        for place, (dim, (lowest, highest)) in enumerate(zip(dims, info.ranges, strict=True)):
            # A range without an upper end that begins at 1 is no range to GE: 0 is taken too.
            anything = dim == -1 or (lowest, highest) == (1, -1)
            if not anything and not (lowest <= dim and (dim <= highest or highest == -1)):
                text = (
                    f"dim {place} of input {index} ({info.name}) is {dim}, its range is [{lowest}, {highest}]"
                )
                raise Failure(INVALID_PARAM, f"E13025: {text}.")
    if -1 in dims:
        text = (
            f"input {index} ({info.name}) has dims {list(dims)}: set its shape with set_dataset_tensor_desc"
        )
        raise Failure(GE_FAILURE, f"E19999: {text}.")
    return dims
