"""One client's side of the card: reads its messages in order and gives each to the desk that does or queues it."""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Any

from ascend_emulator import libc, wire
from ascend_emulator.arena import Arena
from ascend_emulator.card.desks.callbacks import CallbackDesk
from ascend_emulator.card.desks.control import ControlDesk
from ascend_emulator.card.desks.events import EventDesk
from ascend_emulator.card.desks.journal import JournalDesk
from ascend_emulator.card.desks.memory import MemoryDesk
from ascend_emulator.card.desks.models import ModelDesk
from ascend_emulator.card.desks.sharing import SharingDesk
from ascend_emulator.card.desks.streams import StreamDesk
from ascend_emulator.card.engines import can_end_tasks, end_what_is_due
from ascend_emulator.card.journal import Journal
from ascend_emulator.card.streams import Group, Stream
from ascend_emulator.codes import RT_PARAM_INVALID, Failure
from ascend_emulator.wire import Op

if TYPE_CHECKING:
    from ascend_emulator.card.desks.desk import Desk, FdHandler, Handler
    from ascend_emulator.card.machine import Machine

_SPIN_NS = 50_000
_FD = Struct("i")
_FD_ROOM = socket.CMSG_LEN(_FD.size)  # of one, whatever a client sends
_PEER = Struct("iII")  # struct ucred


class Port:
    """The card's end of one client's connection, and all that client holds.

    Attributes:
        in_flight: its tasks that an engine has or will get; what it holds is freed when none is left.
        closed: whether the client has gone.
        streams: its streams by the number it gave them.
        groups: its contexts by the number it gave them.
        hung: its streams whose task never ends.
        callbacks: its desk for callbacks.
        journal: its tasks, for its profiler.
        modelled_ns: modelled time of its tasks so far.
        behind_ns: by how much computing them took longer than that.
        leaving: whether it leaves the device and waits for its work: then what can never go on is given up.
        pid: the process that connected.
    """

    def __init__(self, machine: Machine, link: socket.socket) -> None:
        self.in_flight = 0
        self.closed = False
        self.streams: dict[int, Stream] = {}
        self.groups: dict[int, Group] = {}
        self.hung: set[Stream] = set()
        self.leaving = False
        self.journal = Journal()
        self.modelled_ns = 0
        self.behind_ns = 0
        self.pid = _PEER.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[0]
        self._machine = machine
        self._link = link
        self._lock = machine.lock
        self._pinned: Arena | None = None
        self._channels: dict[int, socket.socket] = {}
        self._asked: dict[int, int] = {}
        self.callbacks = CallbackDesk(self, machine)
        self._sharing = SharingDesk(self, machine)
        self._desks: tuple[Desk, ...] = (
            self._sharing,  # whose exports and imports end before the blocks they lie in
            MemoryDesk(self, machine),
            StreamDesk(self, machine),
            EventDesk(self, machine),
            self.callbacks,
            ModelDesk(self, machine),
            JournalDesk(self, machine),
            ControlDesk(self, machine),
        )
        self._handlers: dict[int, Handler] = {
            Op.CLOSE_CHANNEL: self._close_channel,
            Op.GIVE_UP: self._acknowledge,
        }
        self._fd_handlers: dict[int, FdHandler] = {Op.HELLO: self._hello, Op.OPEN_CHANNEL: self._open_channel}
        for desk in self._desks:
            self._handlers.update(desk.handlers)
            self._fd_handlers.update(desk.fd_handlers)

    def serve(self) -> None:
        """Read and do messages until the client is gone."""
        try:
            can_end_tasks()
            waiting = select.poll()
            waiting.register(self._link, select.POLLIN)
            spins = self._machine.timing is None
            room = bytearray(wire.MAX_MESSAGE)
            while True:
                if spins:
                    _spin(waiting)
                size, ancillary, _, _ = self._link.recvmsg_into([room], _FD_ROOM)
                if not size:
                    break
                message = bytes(memoryview(room)[:size])
                number, channel, sequence = wire.HEADER.unpack_from(message)
                if channel:
                    with self._lock:
                        self._asked[channel] = sequence
                try:
                    if ancillary:
                        (fd,) = _FD.unpack(ancillary[0][2])
                        self._fd_handlers[number](channel, sequence, message, fd)
                    else:
                        self._handlers[number](channel, sequence, message)
                except Failure as failure:
                    self.reply(channel, sequence, failure)
                end_what_is_due()
        except ConnectionResetError:
            pass  # killed with messages unread: as gone as any other
        finally:
            self._link.close()
            with self._lock:
                for stream in (*self.streams.values(), *self.hung):
                    stream.abort()
                self.closed = True
                if not self.in_flight:
                    self._release()
            end_what_is_due()

    def cut(self) -> None:
        """End the connection from this side: to the client the card is gone. Under the card's lock."""
        for end in (self._link, *self._channels.values()):
            with suppress(OSError):  # the client has gone already
                end.shutdown(socket.SHUT_RDWR)

    def holding(self) -> dict[str, int]:
        """What the client holds: bytes of device memory, and how many of what else. Under the card's lock."""
        held = Counter(bytes=0, models=0, streams=0)
        for desk in self._desks:
            held.update(desk.holding())
        return dict(held)

    def tell(self, document: Mapping[str, Any]) -> None:
        """Send a JSON object on the connection itself, to a peer that reads it."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._link.send(json.dumps(document).encode())

    def task_ended(self) -> None:
        """An engine ended one of this client's tasks. Under the card's lock."""
        self.in_flight -= 1
        if not self.in_flight:
            if self.closed:
                self._release()
            elif self.leaving:
                self._give_up()

    def leave(self) -> None:
        """The client leaves the device: what never ends ends here. Under the card's lock."""
        self.leaving = True
        for hung in tuple(self.hung):
            hung.abort()
        if self.leaving and not self.in_flight:
            self._give_up()

    def listens(self, channel: int, sequence: int) -> bool:
        """Whether the thread that asked a question on a channel still waits for the answer, as far as is known."""
        # A thread waits for one thing at a time: an answer to anything but its latest question comes after a time-out.
        return self._asked.get(channel) == sequence

    def reply(
        self, channel: int, sequence: int, failure: Failure | None = None, first: int = 0, second: int = 0
    ) -> None:
        """Answer the question that was asked on a channel; nobody hears an answer to an older one.

        Args:
            channel: of the message; 0 when nobody waits.
            sequence: of the message.
            failure: what the call ends with, None when it went well.
            first: first value of the answer; the stream of a task that failed.
            second: its second value; the number of a task that failed.
        """
        end = self._channels.get(channel)
        if end is None or not self.listens(channel, sequence):
            return
        code, text = (failure.code, failure.text) if failure else (0, "")
        if failure:
            first, second = failure.stream, failure.task
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
                if memory.block(self, address, size) or self._sharing.is_imported(address, size):
                    return memory.arena.base + address
                place = self._sharing.in_window(address - wire.WINDOW, size)
            if place is not None:
                return place
        text = f"EZ9999: {size} bytes at wire address {address:#x} are not all in one live block the card can reach."
        raise Failure(code, text)

    def move(self, target: int, source: int, size: int, code: int) -> None:
        """Copy between two ranges that the client may use; `Failure` with `code` if it may not.

        Memory that the client has registered is its own, so it is read and written through the client's memory
        file.
        """
        from_host, to_host = self._is_registered(source, size), self._is_registered(target, size)
        start = 0 if from_host else self.resolve(source, size, code)
        to = 0 if to_host else self.resolve(target, size, code)
        if not from_host and not to_host:
            libc.move_freeing_gil(to, start, size)
            return
        transfer = libc.pread_freeing_gil if from_host else libc.pwrite_freeing_gil
        near, far = (to, source) if from_host else (start, target)
        done = 0
        while done < size:
            moved = transfer(self._sharing.host_memory, near + done, size - done, far - wire.HOST + done)
            if moved <= 0:
                raise Failure(code, "EZ9999: registered host memory is not there any more.")
            done += moved

    def _is_registered(self, address: int, size: int) -> bool:
        if not address & wire.HOST or address == wire.NOWHERE:
            return False
        with self._lock:
            return self._sharing.is_registered(address - wire.HOST, size)

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
        refusal = self._machine.admit(self, greeting["settings"])
        if refusal is not None:
            os.close(pinned)
            self.tell({"refused": refusal.text, "code": refusal.code})
            return
        facts = self._machine.facts
        self._pinned = Arena(greeting["pinned_bytes"], pinned)
        socket.send_fds(self._link, [json.dumps(facts).encode()], [self._machine.memory.arena.fd])

    def _open_channel(self, channel: int, sequence: int, message: bytes, fd: int) -> None:
        with self._lock:
            self._channels[channel] = socket.socket(fileno=fd)

    def _acknowledge(self, channel: int, sequence: int, message: bytes) -> None:
        with self._lock:
            self.reply(channel, sequence)

    def _close_channel(self, channel: int, sequence: int, message: bytes) -> None:
        with self._lock:
            end = self._channels.pop(channel, None)
            self._asked.pop(channel, None)
        if end is not None:
            end.close()

    def _give_up(self) -> None:
        # No engine works for the client, so what its streams wait for is a callback or an event that nobody records.
        for stream in tuple(self.streams.values()):
            stream.abort()

    def _release(self) -> None:
        for desk in self._desks:
            desk.release()
        for channel in self._channels.values():
            channel.close()
        if self._pinned is not None:
            self._pinned.close()
        self._machine.dismiss(self)


def _spin(waiting: select.poll) -> None:
    """Look for a message a little while before sleeping for it: a program's calls come in bursts.

    In modelled timing the engines' threads would wait for it, and a moment's sleep is what a program sees there anyway.
    """
    until_ns = time.monotonic_ns() + _SPIN_NS
    while not waiting.poll(0) and time.monotonic_ns() < until_ns:
        pass
