"""Device memory, copies and fills."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ascend_emulator import libc, wire
from ascend_emulator.card.desks.desk import Desk
from ascend_emulator.card.streams import Task
from ascend_emulator.codes import (
    RT_COPY_FAULT,
)
from ascend_emulator.wire import Op, Way

if TYPE_CHECKING:
    from ascend_emulator.card.machine import Machine
    from ascend_emulator.card.port import Port

_SMALL_BYTES = 64 << 10


class MemoryDesk(Desk):
    """The memory one client holds, and its copies and fills."""

    def __init__(self, port: Port, machine: Machine) -> None:
        super().__init__(port, machine)
        self.handlers = {
            Op.MALLOC: self._malloc,
            Op.FREE: self._free,
            Op.MEMORY_INFO: self._memory_info,
            Op.COPY: self._copy,
            Op.FILL: self._fill,
        }

    def _malloc(self, channel: int, sequence: int, message: bytes) -> None:
        (size,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            offset = self._machine.memory.allocate(self._port, size)
        self._machine.memory.arena.soil(offset, size)
        self._port.reply(channel, sequence, first=offset)

    def _free(self, channel: int, sequence: int, message: bytes) -> None:
        (offset,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            self._machine.memory.free(self._port, offset)
        self._port.reply(channel, sequence)

    def _memory_info(self, channel: int, sequence: int, message: bytes) -> None:
        memory = self._machine.memory
        with self._machine.lock:
            free = memory.free_bytes
        self._port.reply(channel, sequence, first=free, second=memory.arena.size)

    def _copy(self, channel: int, sequence: int, message: bytes) -> None:
        _, _, _, number, target, source, size, way = wire.COPY.unpack(message)

        def copy() -> None:
            libc.move_freeing_gil(
                self._port.resolve(target, size, RT_COPY_FAULT),
                self._port.resolve(source, size, RT_COPY_FAULT),
                size,
            )

        self._queue_copy(number, Way(way), size, copy)

    def _fill(self, channel: int, sequence: int, message: bytes) -> None:
        _, _, _, number, target, value, size = wire.FILL.unpack(message)

        def fill() -> None:
            libc.fill_freeing_gil(self._port.resolve(target, size, RT_COPY_FAULT), value & 0xFF, size)

        self._queue_copy(number, Way.LOCAL, size, fill)

    def _queue_copy(self, number: int, way: Way, size: int, work: Callable[[], None]) -> None:
        link = self._machine.links.get(way)
        duration = None if link is None else partial(link.duration_ns, size)
        with self._machine.lock:
            small = size <= _SMALL_BYTES
            self._port.stream(number).add(Task(self._machine.copiers[way], work, duration, small=small))

    def release(self) -> None:
        """Free every block of the client."""
        self._machine.memory.free_all(self._port)
