"""What executed models took, as records in a pipe of the program's (`acl.prof.model_subscribe`).

A record stands for one operator on hardware; here a model is one operator, so it stands for one execution. The
records are written when the subscription ends. Their layout and what is checked of them are those of the open
source (`hicann/runtime`, `ProfOpDesc` and `op_desc_parser.cpp`).
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from itertools import count
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from ascend_emulator.client import addresses, models, process
from ascend_emulator.client.profiling import tasks
from ascend_emulator.codes import (
    GE_MODEL_ID_INVALID,
    INVALID_MODEL_ID,
    INVALID_PARAM,
    PROF_REPEAT_SUBSCRIBE,
    Failure,
)
from ascend_emulator.wire import Op

_BODY = Struct("<III7QI4x")
"""A record without its signature: model, flag, thread, number of the operator's names, duration, start, end and
execution time in us, two counts of operations, device."""

_SIGNATURE = Struct("<I")
RECORD_SIZE = _SIGNATURE.size + _BODY.size

_TYPE = "MODEL_EXECUTE"


class Pipe(NamedTuple):
    """Where records go.

    Attributes:
        fd: the file descriptor they are written to.
    """

    fd: int


class Record(NamedTuple):
    """What a record says; times in us."""

    model: int
    names: int
    duration: int
    start: int
    end: int


_lock = threading.RLock()
_pipes: dict[int, Pipe] = {}
_pending: dict[int, list[tasks.Task]] = {}
_recorded: list[process.Device] = []
_numbers = count(1)
_types: dict[int, str] = {}
_names: dict[int, str] = {}


def any_subscribed() -> bool:
    """Whether a model is subscribed to."""
    return bool(_pipes)


def subscribe(model: int, pipe: Pipe) -> None:
    """Note the executions of a model from now on.

    Raises:
        Failure: 100011 (no such model), 148046 (subscribed to already).
    """
    _check_model(model)
    with _lock:
        if model in _pipes:
            raise Failure(PROF_REPEAT_SUBSCRIBE, f"EK9999: model {model} is subscribed to already.")
        _pipes[model], _pending[model] = pipe, []
        for ordinal in range(len(process.ordinals())):
            device = process.open_device(ordinal)
            if device is not None and device not in _recorded:
                _recorded.append(device)
                tasks.record(device, on=True)


def unsubscribe(model: int) -> None:
    """Write a record of each execution since `subscribe` to the pipe, and end the subscription.

    Raises:
        Failure: 100011, no such model, or not subscribed to.
    """
    _check_model(model)
    with _lock:
        if model not in _pipes:
            raise Failure(INVALID_MODEL_ID, f"EK0002: model {model} is not subscribed to.")
        for device in _recorded:
            for task in tasks.take(device):
                if task.kind == Op.EXECUTE and task.model in _pending:
                    _pending[task.model].append(task)
        pipe, executions = _pipes.pop(model), _pending.pop(model)
        if not _pipes:
            for device in _recorded:
                tasks.record(device, on=False)
            _recorded.clear()
        data = b"".join(map(record_of, executions))
    with suppress(OSError):  # a pipe that nobody reads any more is the program's affair
        while data:
            data = data[os.write(pipe.fd, data) :]


def record_of(task: tasks.Task) -> bytes:
    """The record of an execution, whose type and name can be asked for from now on."""
    number = next(_numbers)
    _types[number], _names[number] = _TYPE, f"model_{task.model}"
    start, end = task.start_ns // 1000, task.end_ns // 1000
    waited_and_ran = (task.end_ns - task.arrival_ns) // 1000
    body = _BODY.pack(task.model, 0, 0, number, waited_and_ran, start, end, end - start, 0, 0, task.device)
    return _SIGNATURE.pack(crc32(body)) + body


def records_in(address: int, size: int) -> int:
    """How many records memory holds.

    Raises:
        Failure: 100000, it cannot be read or does not hold whole, sound records.
    """
    return len(_checked(address, size)) // RECORD_SIZE


def record_in(address: int, size: int, index: int) -> Record:
    """One of the records in memory.

    Raises:
        Failure: 100000, as `records_in`, or there are fewer.
    """
    data = _checked(address, size)
    if (index + 1) * RECORD_SIZE > len(data):
        text = f"EK0001: index {index} is invalid, there are {len(data) // RECORD_SIZE} records."
        raise Failure(INVALID_PARAM, text)
    model, _, _, names, duration, start, end, *_ = _BODY.unpack_from(
        data, index * RECORD_SIZE + _SIGNATURE.size
    )
    return Record(model, names, duration, start, end)


def type_of(record: Record, *, forget: bool) -> str:
    """An operator's type; it can be asked until it is forgotten.

    Raises:
        Failure: 100000, it was forgotten.
    """
    return _text_of(_types, record, forget)


def name_of(record: Record, *, forget: bool) -> str:
    """An operator's name; it can be asked until it is forgotten.

    Raises:
        Failure: 100000, it was forgotten.
    """
    return _text_of(_names, record, forget)


def _text_of(texts: dict[int, str], record: Record, forget: bool) -> str:
    text = texts.pop(record.names, None) if forget else texts.get(record.names)
    if text is None:
        raise Failure(INVALID_PARAM, "EK0001: the names of this record were read before.")
    return text


def _checked(address: int, size: int) -> bytes:
    size &= 0xFFFF_FFFF
    if not address or size % RECORD_SIZE:
        raise Failure(
            INVALID_PARAM, f"EK0001: {size} bytes at {address:#x} are no records of {RECORD_SIZE} bytes."
        )
    data = addresses.read(address, size, code=INVALID_PARAM) if size else b""
    for start in range(0, len(data), RECORD_SIZE):
        body = data[start + _SIGNATURE.size : start + RECORD_SIZE]
        if _SIGNATURE.unpack_from(data, start)[0] != crc32(body):
            raise Failure(INVALID_PARAM, "EK0001: these bytes are no records of operators.")
    return data


def _check_model(model: int) -> None:
    try:
        models.check_model(model)
    except Failure as failure:
        if failure.code != GE_MODEL_ID_INVALID:
            raise
        raise Failure(INVALID_MODEL_ID, f"EK0001: no model {model} is loaded.") from failure
