"""Events: recordings in a stream, waits of streams and of threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ascend_emulator import wire
from ascend_emulator.card.desks.desk import Desk
from ascend_emulator.card.streams import Record, Wait
from ascend_emulator.wire import Op

if TYPE_CHECKING:
    from ascend_emulator.card.machine import Machine
    from ascend_emulator.card.port import Port

_SMALL_BYTES = 64 << 10


class EventDesk(Desk):
    """One client's events."""

    def __init__(self, port: Port, machine: Machine) -> None:
        super().__init__(port, machine)
        self._records: dict[int, Record] = {}
        self.handlers = {
            Op.RECORD: self._record,
            Op.WAIT: self._wait,
            Op.FORGET: self._forget,
            Op.SYNC_EVENT: self._sync_event,
            Op.QUERY_EVENT: self._query_event,
        }

    def _record(self, channel: int, sequence: int, message: bytes) -> None:
        number, event = wire.TWO.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            stream = self._port.stream(number)
            record = self._records[event] = Record(stream)
            stream.add(record)

    def _wait(self, channel: int, sequence: int, message: bytes) -> None:
        number, event = wire.TWO.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            self._port.stream(number).add(Wait(self._records[event]))

    def _forget(self, channel: int, sequence: int, message: bytes) -> None:
        (event,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            self._records.pop(event, None)

    def _sync_event(self, channel: int, sequence: int, message: bytes) -> None:
        (event,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            record = self._records.get(event)
            if record is None:
                self._port.reply(channel, sequence)
                return
            group = record.stream.group

            def tell() -> None:
                self._port.reply(channel, sequence, group.failure)

            if record.done:
                tell()
            else:
                record.callbacks.append(tell)

    def _query_event(self, channel: int, sequence: int, message: bytes) -> None:
        (event,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            record = self._records.get(event)
            done = record is None or record.done
            time_ns = record.time_ns if record is not None else 0
        self._port.reply(channel, sequence, first=int(done), second=time_ns)
