"""The card's process: daemonise, accept clients, end after the last.

Started by `ascend_emulator.client.start` with the listening socket, the place and the settings in its
arguments.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

_FIRST_CLIENT_S = 10.0
"""The client that starts a card connects before the card runs; if it died in between, nobody comes."""

_LOST_CHECK_S = 10.0
"""A lost card outlives its clients; this often it looks whether its runtime folder is still there."""

_NICENESS = {"functional": 0, "modelled": -10}
"""A client's niceness does not slow a card down, and a modelled card's clock does not wait for the host's other
processes, as far as the user may ask for that."""


def main(arguments: list[str]) -> None:
    """Run one card until its last client is gone.

    Args:
        arguments: file descriptor of the listening socket; JSON of folder, number and settings.
    """
    if os.fork():
        os._exit(0)  # the client waits for this process only: the card's own end leaves it no zombie
    os.setsid()
    described = json.loads(arguments[1])
    for niceness in (0, _NICENESS[described["settings"]["timing"]]):
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, niceness)
    sys.setswitchinterval(0.0002)  # the threads here hand each other short work
    threading.excepthook = _die
    _Card(socket.socket(fileno=int(arguments[0])), described).run()


def _die(trouble: threading.ExceptHookArgs) -> None:
    # A card with a dead thread would leave clients waiting for ever; a dead card is a lost device.
    traceback.print_exception(trouble.exc_type, trouble.exc_value, trouble.exc_traceback)
    sys.stderr.flush()
    os._exit(1)


class _Card:
    def __init__(self, listener: socket.socket, described: dict[str, Any]) -> None:
        # Imported after the fork, so that the client waits for an interpreter's start and nothing else.
        from ascend_emulator.card.machine import Machine
        from ascend_emulator.card.port import Port
        from ascend_emulator.rendezvous import Place
        from ascend_emulator.settings import Settings
        from ascend_emulator.soc import find_soc

        self._listener = listener
        self._place = Place(Path(described["folder"]), described["number"])
        self._wake, self._left = os.pipe()
        self._ports: set[Port] = set()
        told = described["settings"]
        settings = Settings(**{**told, "soc": find_soc(told["soc"])})
        self._machine = Machine(self._place.number, settings, self._leave, self._end_unless_joined)

    def run(self) -> None:
        timeout: float | None = _FIRST_CLIENT_S
        while True:
            ready, _, _ = select.select([self._listener.fileno(), self._wake], [], [], timeout)
            timeout = _LOST_CHECK_S if self._machine.faults.lost else None
            if self._listener.fileno() in ready:
                self._accept()
                continue
            if self._wake in ready:
                os.read(self._wake, 64)
            if not self._ports:
                self._end_unless_joined()

    def _accept(self) -> None:
        from ascend_emulator.card.port import Port

        link, _ = self._listener.accept()
        port = Port(self._machine, link)
        self._ports.add(port)
        threading.Thread(target=port.serve, name="client", daemon=True).start()

    def _leave(self, port: Any) -> None:
        self._ports.discard(port)
        os.write(self._left, b".")

    def _end_unless_joined(self) -> None:
        from ascend_emulator.rendezvous import locked

        if not self._place.socket.exists():
            os._exit(0)  # somebody removed the runtime folder: nobody can join any more
        if self._machine.faults.lost:
            return  # a lost card stays lost, also to the processes that come next
        with locked(self._place):
            joined, _, _ = select.select([self._listener], [], [], 0)
            if not joined:
                self._place.remove()
                os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
