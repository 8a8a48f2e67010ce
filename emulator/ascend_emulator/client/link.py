"""A process's connection to one card: commands go out, answers come back to the thread that asked.

A command is one `send` that keeps the GIL: it is as cheap as a system call, and no other thread can get in
between. A thread that waits reads its own channel, with the GIL or without, as the call it serves does on
hardware (facts/pyacl.md §17). No thread of the client runs Python for this.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import NamedTuple

from ascend_emulator import libc, wire
from ascend_emulator.arena import Arena
from ascend_emulator.clock.links import Link as LinkTime
from ascend_emulator.codes import RT_LOST_DEVICE, Failure
from ascend_emulator.ranges import Ranges
from ascend_emulator.settings import Settings
from ascend_emulator.wire import Op, Way

_send = libc.send_keeping_gil
_NO_SIGNAL = int(socket.MSG_NOSIGNAL)
_LONGEST_ANSWER = wire.REPLY.size + wire.MAX_TEXT + 1
_QUICK_NS = 150_000
"""An answer that came as soon as this lets the next one be looked for before the thread sleeps for it."""

_SPIN_NS = 100_000
"""How long it is looked for: being woken takes as long. Waits for real work are longer and cost no CPU."""

_PINNED = wire.PINNED
_LOST = "EE9999: the card has gone: its process ended. Reset the device, or start the process again."


class Answer(NamedTuple):
    """What a card said to a command that was waited for."""

    first: int
    second: int


class _Channel:
    """One thread's ear to one card."""

    def __init__(self, link: Link, number: int, sequence: int) -> None:
        self.number = number
        self.sequence = sequence
        self._link = link
        near_end, far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._fd = near_end.detach()
        with far_end:
            link.post_fd(wire.HEADER.pack(Op.OPEN_CHANNEL, number, 0), far_end.fileno())
        self._buffer = ctypes.create_string_buffer(_LONGEST_ANSWER)
        self._heard = ctypes.c_uint32.from_buffer(self._buffer)  # the sequence of the answer that came last
        self._poll = libc.PollEntry(self._fd, libc.POLL_IN, 0)
        self._is_quick = False

    def next_sequence(self) -> int:
        """Go on to the next command; the sequence of the one before."""
        before, self.sequence = self.sequence, self.sequence % 0xFFFFFFFF + 1
        return before

    def receive(
        self, *, keep_gil: bool, timeout_ms: int | None = None, instead: int | None = None
    ) -> Answer | None:
        """The answer to the command sent last; None when the time is up.

        Args:
            keep_gil: wait with the GIL.
            timeout_ms: how long to wait; None for ever.
            instead: sequence of the command before, which the last one gave up: its answer if that came all the
                same, else None.
        """
        recv = libc.recv_keeping_gil if keep_gil else libc.recv_freeing_gil
        poll = libc.poll_keeping_gil if keep_gil else libc.poll_freeing_gil
        deadline = None if timeout_ms is None else time.monotonic() + timeout_ms / 1000
        in_time = True
        deferred: BaseException | None = None
        began_ns = time.monotonic_ns()
        if self._is_quick:
            while not poll(self._poll, 1, 0) and time.monotonic_ns() < began_ns + _SPIN_NS:
                pass
        # Whatever interrupts this loop, what has arrived is seen in the buffer. Answers to waits that timed out
        # earlier are passed over.
        while in_time and self._heard.value != self.sequence and self._heard.value != instead:
            try:
                if deadline is not None:
                    rest_ms = max(0, round((deadline - time.monotonic()) * 1000))
                    ready = poll(self._poll, 1, rest_ms)
                    in_time = ready != 0
                    if ready <= 0:
                        continue
                size = recv(self._fd, self._buffer, _LONGEST_ANSWER, 0)
                if size == 0 or (size < 0 and ctypes.get_errno() != errno.EINTR):
                    raise self._link.lose()
            except Failure:
                raise
            except BaseException as error:  # noqa: BLE001 - a signal handler raised; a C call would return first
                deferred = error
        self._is_quick = time.monotonic_ns() < began_ns + _QUICK_NS
        if deferred is not None:
            raise deferred
        if not in_time or (instead is not None and self._heard.value != instead):
            return None
        _, code, first, second = wire.REPLY.unpack_from(self._buffer)
        if code:
            text = ctypes.string_at(ctypes.byref(self._buffer, wire.REPLY.size))
            raise Failure(code, text.decode(errors="replace"), first, second)
        return Answer(first, second)

    def __del__(
        self, close: Callable[[int], None] = os.close, ending: Callable[[], bool] = sys.is_finalizing
    ) -> None:
        # The thread has ended: without this the card would keep the other end open as long as the process lives.
        if not ending():  # else module globals may be gone, and the card notices by itself
            close(self._fd)
            self._link.forget_channel(self.number, self.sequence)


class Link:
    """A connection, with the card's memory mapped.

    Args:
        end: the connected socket.
        settings: this process's settings.
        pinned: this process's pinned host memory, which the card maps too.

    Raises:
        Failure: 507033, the card runs with other settings; 507010, it is lost.
        ConnectionError: the card ended before it answered.
        OSError: its memory cannot be mapped.

    Attributes:
        memory: device memory; a device pointer is an address in it.
        copy_times: modelled time of synchronous copies by way; empty in functional timing.
        elsewhere: memory outside both arenas that the card can reach; the value is the mark of its addresses.
        lost: whether the card is known to have gone.
        closed: whether this process has left the card.
        on_task_failure: called, in the thread that waits, when it learns that a task of a stream failed.
    """

    def __init__(self, end: socket.socket, settings: Settings, pinned: Arena) -> None:
        self._numbers = count(1)
        self._given_back: list[tuple[int, int]] = []
        self._local = threading.local()
        self.on_task_failure: Callable[[Failure], None] | None = None
        self.lost = False
        self.closed = False
        self.elsewhere: Ranges[int] = Ranges()
        self._pinned = pinned
        greeting = {"settings": settings.of_cards(), "pinned_bytes": pinned.size}
        message = wire.HEADER.pack(Op.HELLO, 0, 0) + json.dumps(greeting).encode()
        with end:  # which closes it, unless everything went well and it is detached
            socket.send_fds(end, [message], [pinned.fd])
            answer, fds, _, _ = socket.recv_fds(end, wire.MAX_MESSAGE, 1)
            if not answer:
                raise ConnectionResetError("the card ended while it started; its log lies beside its socket")
            facts = json.loads(answer)
            if "refused" in facts:
                raise Failure(facts["code"], facts["refused"])
            os.set_inheritable(fds[0], False)
            self.memory = Arena(facts["memory_bytes"], fds[0])
            self._fd = end.detach()
        self.copy_times = {Way[name]: LinkTime(*values) for name, values in facts["links"].items()}

    def address_on_wire(self, address: int) -> int:
        """What the card calls an address of this process; `wire.NOWHERE` for ordinary host memory."""
        offset = address - self.memory.base
        if 0 <= offset < self.memory.size:
            return offset
        offset = address - self._pinned.base
        if 0 <= offset < self._pinned.size:
            return offset + _PINNED
        found = self.elsewhere.at(address)
        return wire.NOWHERE if found is None else address | found.value

    def post(self, message: bytes) -> None:
        """Send a command that nobody waits for.

        Raises:
            Failure: 507010, the card has gone.
        """
        if self.closed or self.lost:
            raise Failure(RT_LOST_DEVICE, _LOST)
        while _send(self._fd, message, len(message), _NO_SIGNAL) < 0:
            if ctypes.get_errno() != errno.EINTR:
                raise self.lose()

    def post_fd(self, message: bytes, fd: int) -> None:
        """Send a command that carries a file descriptor.

        Raises:
            Failure: 507010, the card has gone.
        """
        if self.closed or self.lost:
            raise Failure(RT_LOST_DEVICE, _LOST)
        end = socket.socket(fileno=self._fd)
        try:
            socket.send_fds(end, [message], [fd])
        except OSError as error:
            raise self.lose() from error
        finally:
            end.detach()

    def call(self, op: Op, body: bytes, *, keep_gil: bool = True, fd: int | None = None) -> Answer:
        """Send a command and wait for its answer.

        Args:
            op: the command.
            body: what follows the header.
            keep_gil: wait with the GIL, as most calls do on hardware.
            fd: a file descriptor to send along.

        Raises:
            Failure: with the card's code and text, or 507010 when the card has gone.
        """
        answer = self._exchange(op, body, keep_gil, None, fd)
        if answer is None:
            raise ValueError("a wait without a time limit cannot run out of time")
        return answer

    def call_within(self, op: Op, body: bytes, timeout_ms: int, *, keep_gil: bool) -> Answer | None:
        """As `call`, but None when no answer came in time."""
        return self._exchange(op, body, keep_gil, timeout_ms, None)

    def _exchange(
        self, op: Op, body: bytes, keep_gil: bool, timeout_ms: int | None, fd: int | None
    ) -> Answer | None:
        channel: _Channel | None = getattr(self._local, "channel", None)
        if channel is None:
            channel = self._local.channel = _Channel(self, *self._unused_channel())
        channel.next_sequence()
        message = wire.HEADER.pack(op, channel.number, channel.sequence) + body
        if fd is None:
            self.post(message)
        else:
            self.post_fd(message, fd)
        try:
            answer = channel.receive(keep_gil=keep_gil, timeout_ms=timeout_ms)
            if answer is None:
                # The card must know, or it would give somebody who has left the failure that the next one asks for.
                late = channel.next_sequence()
                self.post(wire.HEADER.pack(Op.GIVE_UP, channel.number, channel.sequence))
                answer = channel.receive(keep_gil=keep_gil, instead=late)
            return answer
        except Failure as failure:
            if failure.task and self.on_task_failure is not None:
                self.on_task_failure(failure)
            raise

    def _unused_channel(self) -> tuple[int, int]:
        """Number of a channel, and the sequence at which it goes on: an answer may still be on its way to it."""
        with suppress(IndexError):
            return self._given_back.pop()
        return next(self._numbers), 0

    def alive(self) -> bool:
        """Whether the card is still there; asks the socket, not the card."""
        if not self.lost and not self.closed:
            byte = ctypes.create_string_buffer(1)
            if libc.recv_keeping_gil(self._fd, byte, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == 0:
                self.lost = True
        return not self.lost

    def lose(self) -> Failure:
        """Note that the card has gone; the failure to raise."""
        self.lost = True
        return Failure(RT_LOST_DEVICE, _LOST)

    def forget_channel(self, number: int, sequence: int) -> None:
        """Let the card close its end of a thread's channel; another thread may have the number next."""
        if not self.closed and not self.lost:
            message = wire.HEADER.pack(Op.CLOSE_CHANNEL, number, 0)
            _send(self._fd, message, len(message), _NO_SIGNAL)
            self._given_back.append((number, sequence))

    def close(self) -> None:
        """Leave the card, which then frees everything this process held there."""
        if not self.closed:
            self.closed = True
            os.close(self._fd)
            self.memory.close()

    def abandon(self) -> None:
        """In a forked child: close the copies of the parent's descriptors, so that its end is still noticed."""
        if not self.closed:
            self.closed = True
            os.close(self._fd)
