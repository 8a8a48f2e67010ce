"""The journal of one client's tasks: switched on and off, and handed over; and how late they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ascend_emulator import wire
from ascend_emulator.card.desks.desk import Desk
from ascend_emulator.wire import Op

if TYPE_CHECKING:
    from ascend_emulator.card.machine import Machine
    from ascend_emulator.card.port import Port


class JournalDesk(Desk):
    """One client's journal."""

    def __init__(self, port: Port, machine: Machine) -> None:
        super().__init__(port, machine)
        self.handlers = {Op.PROFILE: self._profile, Op.COUNT_LAG: self._count_lag}
        self.fd_handlers = {Op.TAKE_TASKS: self._take}

    def _profile(self, channel: int, sequence: int, message: bytes) -> None:
        (on,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            self._port.journal.on = bool(on)
        self._port.reply(channel, sequence)

    def _count_lag(self, channel: int, sequence: int, message: bytes) -> None:
        with self._machine.lock:
            self._port.reply(channel, sequence, first=self._port.behind_ns, second=self._port.modelled_ns)

    def _take(self, channel: int, sequence: int, message: bytes, fd: int) -> None:
        with self._machine.lock:
            tasks, lost = self._port.journal.take()
        with open(fd, "wb") as file:
            file.write(b"".join(tasks))
        self._port.reply(channel, sequence, first=len(tasks), second=lost)
