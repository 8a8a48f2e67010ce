"""Questions and orders of a controller, and the faults that a client meets in its own process.

A controller is a connection that says CONTROL and never HELLO: it holds nothing on the card and is no client of it.
It sends one JSON object per message, `{"verb": ..., ...}`, and gets one back on the connection itself: the answer,
or `{"refused": text}`.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ascend_emulator import wire
from ascend_emulator.card.desks.desk import Desk
from ascend_emulator.codes import Failure
from ascend_emulator.wire import Op

if TYPE_CHECKING:
    from ascend_emulator.card.machine import Machine
    from ascend_emulator.card.port import Port


class ControlDesk(Desk):
    """One connection's control of the card."""

    def __init__(self, port: Port, machine: Machine) -> None:
        super().__init__(port, machine)
        self.handlers = {Op.CONTROL: self._control, Op.MEET: self._meet}

    def _meet(self, channel: int, sequence: int, message: bytes) -> None:
        self._machine.faults.meet(message[wire.HEADER.size :].decode())
        self._port.reply(channel, sequence)

    def _control(self, channel: int, sequence: int, message: bytes) -> None:
        order = json.loads(message[wire.HEADER.size :])
        faults = self._machine.faults
        try:
            if order["verb"] == "inject":
                faults.add(order["faults"])
            elif order["verb"] == "clear":
                faults.clear()
            elif order["verb"] == "restore":
                faults.restore()
        except Failure as failure:
            self._port.tell({"refused": failure.text})
            return
        self._port.tell(self._state())

    def _state(self) -> dict[str, Any]:
        machine = self._machine
        faults = machine.faults
        with machine.lock:
            clients = [{"pid": client.pid, **client.holding()} for client in machine.clients]
            engines = {
                name: {"busy": engine.busy_share(), **vars(engine.counters())}
                for name, engine in machine.engines.items()
            }
            return {
                "number": faults.number,
                "soc": machine.facts["soc"],
                "pid": os.getpid(),
                "memory_used": machine.memory.arena.size - machine.memory.free_bytes,
                "memory_total": machine.memory.arena.size,
                "clients": clients,
                "engines": engines,
                "lost": faults.lost,
                "ecc": faults.ecc,
                "slowdown": faults.slowdown,
                "faults": faults.rules(),
            }
