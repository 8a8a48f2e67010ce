"""Callbacks: functions of the client that run, in stream order, in a thread of the client.

The card keeps a list of reports per subscribed thread. A report stays at the head of its list until the client says
that its function was done, so that an answer which comes too late for a thread that gave up waiting is not lost.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ascend_emulator import wire
from ascend_emulator.card.desks.desk import Desk
from ascend_emulator.card.events import Gate, Wait
from ascend_emulator.card.streams import Item, Stream
from ascend_emulator.codes import RT_THREAD_SUBSCRIBE, Failure
from ascend_emulator.wire import Op

if TYPE_CHECKING:
    from ascend_emulator.card.machine import Machine
    from ascend_emulator.card.port import Port


@dataclass
class _Report:
    """A function that is due."""

    callback: int
    stream: int
    gate: Gate


@dataclass
class _Listener:
    """A subscribed thread: its streams, what is due to it, and where it waits for more."""

    streams: set[int] = field(default_factory=set)
    reports: deque[_Report] = field(default_factory=deque)
    asker: tuple[int, int] | None = None


class _Call(Item):
    """Reports, when the stream gets here, that a function is due."""

    __slots__ = ("_desk", "_report")

    def __init__(self, desk: CallbackDesk, report: _Report) -> None:
        self._desk = desk
        self._report = report

    def run(self, stream: Stream) -> None:
        """Report it."""
        self._desk.deliver(self._report, stream)


class CallbackDesk(Desk):
    """One client's callbacks."""

    def __init__(self, port: Port, machine: Machine) -> None:
        super().__init__(port, machine)
        self._listeners: dict[int, _Listener] = {}
        self._threads: dict[int, int] = {}  # by stream
        self.handlers = {
            Op.SUBSCRIBE: self._subscribe,
            Op.UNSUBSCRIBE: self._unsubscribe,
            Op.CALL_BACK: self._call_back,
            Op.NEXT_REPORT: self._next_report,
            Op.REPORT_DONE: self._report_done,
        }

    def _subscribe(self, channel: int, sequence: int, message: bytes) -> None:
        stream, thread = wire.TWO.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            self._threads[stream] = thread
            self._listeners.setdefault(thread, _Listener()).streams.add(stream)

    def _unsubscribe(self, channel: int, sequence: int, message: bytes) -> None:
        (stream,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            self.forget(stream)

    def forget(self, stream: int) -> None:
        """End a stream's subscription, if it has one; what was due is passed over. Under the card's lock."""
        thread = self._threads.pop(stream, None)
        if thread is None:
            return
        listener = self._listeners[thread]
        listener.streams.discard(stream)
        due = [report for report in listener.reports if report.stream == stream]
        for report in due:
            listener.reports.remove(report)
        if not listener.streams:
            del self._listeners[thread]
            if listener.asker is not None:
                self._port.reply(*listener.asker, _unsubscribed(thread))
        for report in due:
            report.gate.open(time.monotonic_ns())

    def _call_back(self, channel: int, sequence: int, message: bytes) -> None:
        number, callback, blocks = wire.THREE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            stream = self._port.stream(number)
            report = _Report(callback, number, Gate())
            stream.add(_Call(self, report))
            if blocks:
                stream.add(Wait(lambda: report.gate, self._machine.lock))

    def deliver(self, report: _Report, stream: Stream) -> None:
        """A stream got to a callback; without a subscribed thread it is passed over. Under the card's lock."""
        thread = self._threads.get(stream.number)
        if thread is None:
            report.gate.open(stream.clock_ns)
            return
        listener = self._listeners[thread]
        listener.reports.append(report)
        self._answer(listener)

    def _next_report(self, channel: int, sequence: int, message: bytes) -> None:
        thread, done, waits = wire.THREE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            listener = self._listeners.get(thread)
            self._finish(done)
            if listener is None:
                raise _unsubscribed(thread)
            listener.asker = (channel, sequence)
            if listener.reports or not waits:
                self._answer(listener)

    def _report_done(self, channel: int, sequence: int, message: bytes) -> None:
        (callback,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            self._finish(callback)

    def _answer(self, listener: _Listener) -> None:
        if listener.asker is not None:
            asker, listener.asker = listener.asker, None
            first = listener.reports[0].callback if listener.reports else 0
            self._port.reply(*asker, first=first, second=len(listener.reports))

    def _finish(self, callback: int) -> None:
        for listener in tuple(self._listeners.values()):
            if listener.reports and listener.reports[0].callback == callback:
                listener.reports.popleft().gate.open(time.monotonic_ns())
                return


def _unsubscribed(thread: int) -> Failure:
    return Failure(RT_THREAD_SUBSCRIBE, f"EE9999: thread {thread} serves no stream's callbacks.")
