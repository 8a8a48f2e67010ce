"""What every desk has."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ascend_emulator.wire import moment_of

if TYPE_CHECKING:
    from ascend_emulator.card.machine import Machine
    from ascend_emulator.card.port import Port

Handler = Callable[[int, int, bytes], None]
"""Does one message: channel and sequence to answer to, and the whole message, header included."""

FdHandler = Callable[[int, int, bytes, int], None]
"""As `Handler`, for a message that carries a file descriptor, which is the handler's from then on."""


class Desk:
    """One subject of one client.

    Args:
        port: the client.
        machine: the card.

    Attributes:
        handlers: `Op` -> what does it. A handler answers with `port.reply`, or raises `Failure` and the port answers.
        fd_handlers: the same for messages that carry a file descriptor.
    """

    def __init__(self, port: Port, machine: Machine) -> None:
        self.handlers: dict[int, Handler] = {}
        self.fd_handlers: dict[int, FdHandler] = {}
        self._port = port
        self._machine = machine

    def holding(self) -> dict[str, int]:
        """What the client holds here: `bytes` of device memory, and how many of what else. Under the card's lock."""
        return {}

    def given_ns(self, channel: int, sequence: int) -> int:
        """The moment at which a command was given, by its header; of one that is waited for, now."""
        now_ns = time.monotonic_ns()
        return now_ns if channel else moment_of(sequence, now_ns)

    def release(self) -> None:
        """Give back what the client still holds here; called once, under the card's lock, after it has gone."""
