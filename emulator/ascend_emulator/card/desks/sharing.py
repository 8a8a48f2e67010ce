"""What makes memory reachable by more than `malloc`: registered host memory, windows, and exports between clients."""

from __future__ import annotations

import os
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING

from ascend_emulator import wire
from ascend_emulator.card.desks.desk import Desk
from ascend_emulator.card.exports import Export
from ascend_emulator.codes import RT_DRIVER, RT_OUT_OF_MEMORY, RT_PARAM_INVALID, Failure
from ascend_emulator.ranges import Ranges
from ascend_emulator.window import Window
from ascend_emulator.wire import Op

if TYPE_CHECKING:
    from ascend_emulator.card.machine import Machine
    from ascend_emulator.card.port import Port

_PID = Struct("<i")


class SharingDesk(Desk):
    """What one client has registered, mapped, exported and imported.

    Attributes:
        host_memory: descriptor through which the client's own memory is read and written; None before it
            registers any.
    """

    def __init__(self, port: Port, machine: Machine) -> None:
        super().__init__(port, machine)
        self.host_memory: int | None = None
        self._registered: Ranges[None] = Ranges()
        self._windows: Ranges[Window] = Ranges()
        self._closed_windows: list[Window] = []
        self._imports: dict[int, Export] = {}
        self.handlers = {
            Op.UNREGISTER: self._unregister,
            Op.RESERVE: self._reserve,
            Op.RELEASE: self._release_window,
            Op.MAP: self._map,
            Op.UNMAP: self._unmap,
            Op.EXPORT: self._export,
            Op.ALLOW: self._allow,
            Op.IMPORT: self._import,
            Op.CLOSE_IMPORT: self._close_import,
            Op.WITHDRAW: self._withdraw,
        }
        self.fd_handlers = {Op.REGISTER: self._register}

    def is_registered(self, address: int, size: int) -> bool:
        """Whether a range of the client's own memory may be reached. Under the card's lock."""
        return self._registered.holding(address, size) is not None

    def in_window(self, address: int, size: int) -> int | None:
        """The card's address of what the client has mapped at an address of its own; None when not all is mapped.

        Under the card's lock.
        """
        found = self._windows.holding(address, size)
        if found is None or not found.value.pieces.covers(address - found.start, size):
            return None
        return found.value.base + address - found.start

    def is_imported(self, offset: int, size: int) -> bool:
        """Whether a range lies in memory that the client has imported. Under the card's lock."""
        return any(
            export.block.live and export.offset <= offset and offset + size <= export.offset + export.size
            for export in self._imports.values()
        )

    def _register(self, channel: int, sequence: int, message: bytes, fd: int) -> None:
        address, size = wire.TWO.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            former, self.host_memory = self.host_memory, fd
            self._registered.add(address, size, None)
        if former is not None:
            os.close(former)
        self._port.reply(channel, sequence)

    def _unregister(self, channel: int, sequence: int, message: bytes) -> None:
        (address,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            self._registered.take(address)
        self._port.reply(channel, sequence)

    def _reserve(self, channel: int, sequence: int, message: bytes) -> None:
        address, size = wire.TWO.unpack_from(message, wire.HEADER.size)
        try:
            window = Window(size)
        except OSError as error:
            raise Failure(RT_OUT_OF_MEMORY, f"EL0004: {error}") from error
        with self._machine.lock:
            self._windows.add(address, size, window)
        self._port.reply(channel, sequence)

    def _release_window(self, channel: int, sequence: int, message: bytes) -> None:
        (address,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            found = self._windows.take(address)
            if found is not None:
                self._closed_windows.append(found.value)
            # An engine that still copies there must find memory, or the card would end.
            if not self._port.in_flight:
                self._unmap_closed()
        self._port.reply(channel, sequence)

    def _map(self, channel: int, sequence: int, message: bytes) -> None:
        address, distance, offset, size = wire.MAP.unpack_from(message, wire.HEADER.size)
        memory = self._machine.memory
        with self._machine.lock:
            found = self._windows.at(address)
            if found is None or memory.block(self._port, offset, size) is None:
                raise Failure(RT_PARAM_INVALID, "EE1001: there is no such window or no such memory.")
            try:
                found.value.map(distance, memory.arena.fd, offset, size)
            except OSError as error:
                raise Failure(RT_OUT_OF_MEMORY, f"EL0004: {error}") from error
        self._port.reply(channel, sequence)

    def _unmap(self, channel: int, sequence: int, message: bytes) -> None:
        address, distance = wire.TWO.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            found = self._windows.at(address)
            # The pages stay mapped for an engine that is at work there; nothing new is let to them.
            if found is not None:
                found.value.pieces.take(distance)
        self._port.reply(channel, sequence)

    def _export(self, channel: int, sequence: int, message: bytes) -> None:
        offset, size, open_to_all = wire.EXPORT.unpack_from(message, wire.HEADER.size)
        memory = self._machine.memory
        with self._machine.lock:
            block = memory.block(self._port, offset, size)
            if block is None:
                raise Failure(RT_DRIVER, "EE9999: the range is not in one live block of this process.")
            number = memory.exports.add(Export(block, offset, size, open_to_all=bool(open_to_all)))
        self._port.reply(channel, sequence, first=number)

    def _allow(self, channel: int, sequence: int, message: bytes) -> None:
        body = message[wire.HEADER.size :]
        (number,) = wire.ALLOW.unpack_from(body)
        pids = [pid for (pid,) in _PID.iter_unpack(body[wire.ALLOW.size :])]
        with self._machine.lock:
            self._machine.memory.exports.allow(number, self._port, pids)
        self._port.reply(channel, sequence)

    def _import(self, channel: int, sequence: int, message: bytes) -> None:
        (number,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            export = self._machine.memory.exports.import_for(number, self._port)
            self._imports[number] = export
        self._port.reply(channel, sequence, first=export.offset, second=export.size)

    def _close_import(self, channel: int, sequence: int, message: bytes) -> None:
        (number,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            self._imports.pop(number, None)
        self._port.reply(channel, sequence)

    def _withdraw(self, channel: int, sequence: int, message: bytes) -> None:
        (number,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            self._machine.memory.exports.withdraw(number, self._port)
        self._port.reply(channel, sequence)

    def _unmap_closed(self) -> None:
        for window in self._closed_windows:
            window.close()
        self._closed_windows.clear()

    def release(self) -> None:
        """Forget what the client registered and imported, and give back the address space of its windows."""
        self._closed_windows += [found.value for found in self._windows.all()]
        self._unmap_closed()
        if self.host_memory is not None:
            with suppress(OSError):
                os.close(self.host_memory)
