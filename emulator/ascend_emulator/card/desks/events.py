"""Events: recordings in a stream, waits of streams and of threads."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from ascend_emulator import wire
from ascend_emulator.card.desks.desk import Desk
from ascend_emulator.card.events import Event, Gate, LevelEvent, Wait
from ascend_emulator.codes import RT_INTERNAL_ERROR, RT_LOST_DEVICE, Failure
from ascend_emulator.wire import Op

if TYPE_CHECKING:
    from ascend_emulator.card.machine import Machine
    from ascend_emulator.card.port import Port

_NONE, _PENDING, _REACHED = range(3)


class EventDesk(Desk):
    """One client's events."""

    def __init__(self, port: Port, machine: Machine) -> None:
        super().__init__(port, machine)
        self._events: dict[int, Event] = {}
        self._elsewhere: set[int] = set()
        self.handlers = {
            Op.RECORD: self._record,
            Op.WAIT: self._wait,
            Op.RESET_EVENT: self._reset,
            Op.FORGET: self._forget,
            Op.SYNC_EVENT: self._sync_event,
            Op.QUERY_EVENT: self._query_event,
            Op.COUNT_WAITS: self._count_waits,
            Op.NAME_EVENT: self._name_event,
            Op.COUNT_EVENTS: self._count_events,
        }
        self.fd_handlers = {Op.TELL_ELSEWHERE: self._tell_elsewhere, Op.WAIT_ELSEWHERE: self._wait_elsewhere}

    def _record(self, channel: int, sequence: int, message: bytes) -> None:
        _, _, _, number, name = wire.RECORD.unpack(message)
        with self._machine.lock:
            stream = self._port.stream(number)
            try:
                self._event(name).record(stream, self.given_ns(channel, sequence))
            except Failure as failure:  # nobody waits for an answer
                stream.fail(failure)

    def _wait(self, channel: int, sequence: int, message: bytes) -> None:
        _, _, _, number, name, timeout_s = wire.WAIT.unpack(message)
        with self._machine.lock:
            self._event(name).wait(self._port.stream(number), self._machine.lock, timeout_s)

    def _reset(self, channel: int, sequence: int, message: bytes) -> None:
        number, name = wire.TWO.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            self._event(name).reset(self._port.stream(number))

    def _forget(self, channel: int, sequence: int, message: bytes) -> None:
        (name,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            event = self._events.pop(name, None)
            if event is not None:
                event.release()

    def _sync_event(self, channel: int, sequence: int, message: bytes) -> None:
        (name,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            record = self._event(name).latest
            if record is None:
                self._port.reply(channel, sequence)
                return
            group = record.stream.group
            record.then(lambda: self._port.reply(channel, sequence, record.failure or group.failure))

    def _query_event(self, channel: int, sequence: int, message: bytes) -> None:
        (name,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            record = self._event(name).latest
            state, time_ns = _NONE, 0
            if record is not None and record.failure is None:
                state, time_ns = (_REACHED if record.done else _PENDING), record.time_ns
        self._port.reply(channel, sequence, first=state, second=time_ns)

    def _count_waits(self, channel: int, sequence: int, message: bytes) -> None:
        (name,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            waits = self._event(name).waits
        self._port.reply(channel, sequence, first=waits)

    def _name_event(self, channel: int, sequence: int, message: bytes) -> None:
        name, may_take = wire.TWO.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            event = self._event(name)
            if not may_take and not event.has_identity():
                text = "EE9999: the event has no id: it gets one when it is recorded first."
                raise Failure(RT_INTERNAL_ERROR, text)
            identity = event.identity()
        self._port.reply(channel, sequence, first=identity)

    def _count_events(self, channel: int, sequence: int, message: bytes) -> None:
        with self._machine.lock:
            left = self._machine.event_ids.left
        self._port.reply(channel, sequence, first=left)

    def _tell_elsewhere(self, channel: int, sequence: int, message: bytes, fd: int) -> None:
        (name,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            self._elsewhere.add(fd)
            gate = self._event(name).gate()
            gate.then(lambda: self._tell(fd, gate))

    def _tell(self, fd: int, gate: Gate) -> None:
        if fd not in self._elsewhere:
            return  # closed when the client left; the number may be another file's by now
        self._elsewhere.remove(fd)
        with suppress(BrokenPipeError), os.fdopen(fd, "wb") as pipe:
            pipe.write(wire.TOLD.pack(gate.time_ns, gate.failure.code if gate.failure else 0))

    def _wait_elsewhere(self, channel: int, sequence: int, message: bytes, fd: int) -> None:
        number, timeout_s = wire.TWO.unpack_from(message, wire.HEADER.size)
        gate = Gate()
        with self._machine.lock:
            try:
                stream = self._port.stream(number)
            except Failure:
                os.close(fd)
                raise
            stream.add(Wait(lambda: gate, self._machine.lock, timeout_s))
        threading.Thread(target=self._hear, args=(fd, gate), name="elsewhere", daemon=True).start()

    def _hear(self, fd: int, gate: Gate) -> None:
        with open(fd, "rb") as pipe:
            told = pipe.read(wire.TOLD.size)
        with self._machine.lock:
            if len(told) < wire.TOLD.size:
                gate.lose(
                    Failure(
                        RT_LOST_DEVICE, "EE9999: the device of the event that a stream waits for has gone."
                    )
                )
                return
            time_ns, code = wire.TOLD.unpack(told)
            if code:
                gate.lose(Failure(code, "EE9999: the recording of an event of another device was dropped."))
            else:
                gate.open(time_ns)

    def _event(self, name: int) -> Event:
        event = self._events.get(name)
        if event is None:
            kind = LevelEvent if name & wire.LEVEL else Event
            event = self._events[name] = kind(self._machine.event_ids)
        return event

    def release(self) -> None:
        """Give its hardware events back, and let other cards know that nothing comes any more."""
        for event in self._events.values():
            event.release()
        self._events.clear()
        while self._elsewhere:
            os.close(self._elsewhere.pop())
