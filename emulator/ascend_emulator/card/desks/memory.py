"""Device memory, copies and fills."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ascend_emulator import libc, wire
from ascend_emulator.card.desks.desk import Desk
from ascend_emulator.card.journal import Label
from ascend_emulator.card.streams import Task
from ascend_emulator.codes import (
    RT_COPY_FAULT,
)
from ascend_emulator.wire import Op, Way

if TYPE_CHECKING:
    from ascend_emulator.card.machine import Machine
    from ascend_emulator.card.port import Port

_SMALL_BYTES = 256 << 10
"""A copy up to this is small: it takes no longer than waking its engine's thread."""

_FEW_ROWS = 16


class MemoryDesk(Desk):
    """The memory one client holds, and its copies and fills."""

    def __init__(self, port: Port, machine: Machine) -> None:
        super().__init__(port, machine)
        self.handlers = {
            Op.MALLOC: self._malloc,
            Op.FREE: self._free,
            Op.MEMORY_INFO: self._memory_info,
            Op.COPY: self._copy,
            Op.COPY_2D: self._copy_2d,
            Op.FILL: self._fill,
        }

    def _malloc(self, channel: int, sequence: int, message: bytes) -> None:
        size, alignment = wire.TWO.unpack_from(message, wire.HEADER.size)
        self._machine.faults.meet("malloc")
        with self._machine.lock:
            offset = self._machine.memory.allocate(self._port, size, alignment)
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
        copy = partial(self._port.move, target, source, size, RT_COPY_FAULT)
        given_ns = self.given_ns(channel, sequence)
        self._queue_copy(number, given_ns, Label(Op.COPY, way, size=size), copy)

    def _copy_2d(self, channel: int, sequence: int, message: bytes) -> None:
        fields = wire.COPY_2D.unpack_from(message, wire.HEADER.size)
        number, target, target_pitch, source, source_pitch, width, height, way = fields

        def copy() -> None:
            for row in range(height):
                to, start = target + row * target_pitch, source + row * source_pitch
                self._port.move(to, start, width, RT_COPY_FAULT)

        given_ns = self.given_ns(channel, sequence)
        self._queue_copy(number, given_ns, Label(Op.COPY, way, size=width * height), copy, rows=height)

    def _fill(self, channel: int, sequence: int, message: bytes) -> None:
        _, _, _, number, target, value, size = wire.FILL.unpack(message)

        def fill() -> None:
            libc.fill_freeing_gil(self._port.resolve(target, size, RT_COPY_FAULT), value & 0xFF, size)

        self._queue_copy(number, self.given_ns(channel, sequence), Label(Op.FILL, Way.LOCAL, size=size), fill)

    def _queue_copy(
        self, number: int, given_ns: int, label: Label, work: Callable[[], None], *, rows: int = 1
    ) -> None:
        way = Way(label.way)
        link = self._machine.links.get(way)
        duration = None if link is None else partial(link.duration_ns, label.size)
        with self._machine.lock:
            small = label.size <= _SMALL_BYTES and rows <= _FEW_ROWS
            guarded = self._machine.guarded("copy", work)
            task = Task(self._machine.copiers[way], guarded, duration, label, given_ns, small=small)
            self._port.stream(number).add(task)

    def holding(self) -> dict[str, int]:
        """Bytes of its blocks."""
        return {"bytes": self._machine.memory.held(self._port)}

    def release(self) -> None:
        """Free every block of the client."""
        self._machine.memory.free_all(self._port)
