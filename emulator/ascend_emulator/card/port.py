"""One client's side of the card: reads its messages in order and gives each to the desk that does or queues it."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from ascend_emulator import wire
from ascend_emulator.arena import Arena
from ascend_emulator.card.desks.events import EventDesk
from ascend_emulator.card.desks.memory import MemoryDesk
from ascend_emulator.card.desks.models import ModelDesk
from ascend_emulator.card.desks.streams import StreamDesk
from ascend_emulator.card.streams import Group, Stream
from ascend_emulator.codes import RT_PARAM_INVALID, Failure
from ascend_emulator.wire import Op

if TYPE_CHECKING:
    from ascend_emulator.card.desks.desk import Desk, FdHandler, Handler
    from ascend_emulator.card.machine import Machine

_MAX_FDS = 4


class Port:
    """The card's end of one client's connection, and all that client holds.

    Attributes:
        in_flight: its tasks that an engine has or will get; what it holds is freed when none is left.
        closed: whether the client has gone.
        streams: its streams by the number it gave them.
        groups: its contexts by the number it gave them.
    """

    def __init__(self, machine: Machine, link: socket.socket) -> None:
        self.in_flight = 0
        self.closed = False
        self.streams: dict[int, Stream] = {}
        self.groups: dict[int, Group] = {}
        self._machine = machine
        self._link = link
        self._lock = machine.lock
        self._pinned: Arena | None = None
        self._channels: dict[int, socket.socket] = {}
        self._asked: dict[int, int] = {}
        self._desks: tuple[Desk, ...] = (
            MemoryDesk(self, machine),
            StreamDesk(self, machine),
            EventDesk(self, machine),
            ModelDesk(self, machine),
        )
        self._handlers: dict[Op, Handler] = {Op.CLOSE_CHANNEL: self._close_channel}
        self._fd_handlers: dict[Op, FdHandler] = {Op.HELLO: self._hello, Op.OPEN_CHANNEL: self._open_channel}
        for desk in self._desks:
            self._handlers.update(desk.handlers)
            self._fd_handlers.update(desk.fd_handlers)

    def serve(self) -> None:
        """Read and do messages until the client is gone."""
        try:
            while True:
                message, fds, _, _ = socket.recv_fds(self._link, wire.MAX_MESSAGE, _MAX_FDS)
                if not message:
                    break
                number, channel, sequence = wire.HEADER.unpack_from(message)
                op = Op(number)
                if channel:
                    self._asked[channel] = sequence
                try:
                    if fds:
                        self._fd_handlers[op](channel, sequence, message, fds[0])
                    else:
                        self._handlers[op](channel, sequence, message)
                except Failure as failure:
                    self.reply(channel, sequence, failure)
        except ConnectionResetError:
            pass  # killed with messages unread: as gone as any other
        finally:
            self._link.close()
            with self._lock:
                self.closed = True
                for stream in self.streams.values():
                    stream.abort()
                if not self.in_flight:
                    self._release()

    def task_ended(self) -> None:
        """An engine ended one of this client's tasks. Under the card's lock."""
        self.in_flight -= 1
        if self.closed and not self.in_flight:
            self._release()

    def reply(
        self, channel: int, sequence: int, failure: Failure | None = None, first: int = 0, second: int = 0
    ) -> None:
        """Answer the question that was asked on a channel; nobody hears an answer to an older one.

        Args:
            channel: of the message; 0 when nobody waits.
            sequence: of the message.
            failure: what the call ends with, None when it went well.
            first: first value of the answer.
            second: its second value.
        """
        end = self._channels.get(channel)
        # A thread waits for one thing at a time: an answer to anything but its latest question comes after a time-out.
        if end is None or self._asked.get(channel) != sequence:
            return
        code, text = (failure.code, failure.text) if failure else (0, "")
        message = wire.REPLY.pack(sequence, code, first, second) + text.encode()[: wire.MAX_TEXT] + b"\0"
        with suppress(
            BrokenPipeError, ConnectionResetError
        ):  # the thread that waited is gone; its client may not be
            end.send(message, socket.MSG_DONTWAIT)

    def resolve(self, address: int, size: int, code: int) -> int:
        """The address in this process of `size` bytes that the client may use; `Failure` with `code` if not."""
        if address & wire.PINNED and address != wire.NOWHERE:
            offset = address - wire.PINNED
            if self._pinned is not None and offset + size <= self._pinned.size:
                return self._pinned.base + offset
        else:
            memory = self._machine.memory
            with self._lock:
                held = memory.blocks.holds(address, size)
            if held:
                return memory.arena.base + address
        text = f"EZ9999: {size} bytes at wire address {address:#x} are not all in one live block the card can reach."
        raise Failure(code, text)

    def stream(self, number: int) -> Stream:
        """The client's stream of that number.

        Raises:
            Failure: 107000, it has none.
        """
        stream = self.streams.get(number)
        if stream is None:
            raise Failure(RT_PARAM_INVALID, f"EE1001: the device has no stream {number} of this process.")
        return stream

    def _hello(self, channel: int, sequence: int, message: bytes, pinned: int) -> None:
        greeting = json.loads(message[wire.HEADER.size :])
        facts = self._machine.facts
        for name in ("soc", "run_mode"):
            if greeting[name] != facts[name]:
                os.close(pinned)
                wanted = f"the card runs with {name} {facts[name]}, this process asks for {greeting[name]}"
                text = f"ascend-emulator: {wanted}"
                self._link.send(json.dumps({"refused": text}).encode())
                return
        self._pinned = Arena(greeting["pinned_bytes"], pinned)
        socket.send_fds(self._link, [json.dumps(facts).encode()], [self._machine.memory.arena.fd])

    def _open_channel(self, channel: int, sequence: int, message: bytes, fd: int) -> None:
        with self._lock:
            self._channels[channel] = socket.socket(fileno=fd)

    def _close_channel(self, channel: int, sequence: int, message: bytes) -> None:
        with self._lock:
            end = self._channels.pop(channel, None)
            self._asked.pop(channel, None)
        if end is not None:
            end.close()

    def _release(self) -> None:
        for desk in self._desks:
            desk.release()
        for channel in self._channels.values():
            channel.close()
        if self._pinned is not None:
            self._pinned.close()
        self._machine.leave(self)
