"""What a card did for this process, task by task: the one use of the ops PROFILE and TAKE_TASKS."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from ascend_emulator.codes import Failure
from ascend_emulator.wire import ONE, TASK, Op

if TYPE_CHECKING:
    from ascend_emulator.client.process import Device


class Task(NamedTuple):
    """One task that a card ended.

    Attributes:
        device: the process's number for the card.
        kind: `Op.COPY`, `Op.FILL` or `Op.EXECUTE`.
        way: `wire.Way` of a copy.
        model: the model executed, 0 for other tasks.
        stream: the stream; 0 for a synchronous execution.
        size: bytes copied or filled.
        arrival_ns: when the command was given, of `time.monotonic_ns` as the others.
        start_ns: when the engine began it.
        end_ns: when the engine ended it.
    """

    device: int
    kind: int
    way: int
    model: int
    stream: int
    size: int
    arrival_ns: int
    start_ns: int
    end_ns: int


def record(device: Device, *, on: bool) -> None:
    """Let a card note this process's tasks from now on, or stop it; what it noted stays until it is taken.

    A card that has gone notes nothing, and that is no failure of the one who asks.
    """
    with suppress(Failure):
        device.link.call(Op.PROFILE, ONE.pack(on))


def take(device: Device) -> list[Task]:
    """What the card noted since the last time, in the order in which the tasks ended; nothing if the card has gone."""
    file = os.memfd_create("ascend-emulator-tasks", os.MFD_CLOEXEC)
    try:
        count = 0
        with suppress(Failure):
            count = device.link.call(Op.TAKE_TASKS, b"", fd=file).first
        data = os.pread(file, count * TASK.size, 0)
    finally:
        os.close(file)
    return [Task(device.ordinal, *values) for values in TASK.iter_unpack(data)]
