"""Streams and the waits for them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ascend_emulator import wire
from ascend_emulator.card.desks.desk import Desk
from ascend_emulator.card.streams import Group, Notice, Stream
from ascend_emulator.codes import (
    RT_NO_STREAM,
    Failure,
)
from ascend_emulator.wire import Op

if TYPE_CHECKING:
    from ascend_emulator.card.machine import Machine
    from ascend_emulator.card.port import Port


class StreamDesk(Desk):
    """One client's streams."""

    def __init__(self, port: Port, machine: Machine) -> None:
        super().__init__(port, machine)
        self.handlers = {
            Op.CREATE_STREAM: self._create_stream,
            Op.COUNT_STREAMS: self._count_streams,
            Op.DESTROY_STREAM: self._destroy_stream,
            Op.SYNC_STREAM: self._sync_stream,
            Op.QUERY_STREAM: self._query_stream,
            Op.ABORT_STREAM: self._abort_stream,
            Op.FAILURE_MODE: self._failure_mode,
            Op.SYNC_CARD: self._sync_card,
            Op.BUSY_SHARE: self._busy_share,
        }

    def _create_stream(self, channel: int, sequence: int, message: bytes) -> None:
        number, context = wire.TWO.unpack_from(message, wire.HEADER.size)
        machine = self._machine
        with self._machine.lock:
            if machine.streams >= machine.max_streams:
                raise Failure(
                    RT_NO_STREAM, f"EE1010: all {machine.max_streams} streams of the device are in use."
                )
            machine.streams += 1
            group = self._port.groups.setdefault(context, Group())
            self._port.streams[number] = Stream(self._port, group, number)
        self._port.reply(channel, sequence)

    def _count_streams(self, channel: int, sequence: int, message: bytes) -> None:
        self._port.reply(channel, sequence, first=self._machine.max_streams - self._machine.streams)

    def _destroy_stream(self, channel: int, sequence: int, message: bytes) -> None:
        number, force = wire.TWO.unpack_from(message, wire.HEADER.size)

        def gone() -> None:
            # Only now: what it still waited for is given up with the client, should that go first.
            if self._port.streams.pop(number, None) is not None:
                stream.group.streams.discard(stream)
                self._machine.streams -= 1
                self._port.callbacks.forget(number)
            self._port.reply(channel, sequence)

        with self._machine.lock:
            stream = self._port.stream(number)
            if force:
                stream.abort()
            stream.add(Notice(gone))

    def _sync_stream(self, channel: int, sequence: int, message: bytes) -> None:
        (number,) = wire.ONE.unpack_from(message, wire.HEADER.size)

        def reached() -> None:
            # A failure stays for the next who waits when this one gave up waiting.
            if self._port.listens(channel, sequence):
                self._port.reply(channel, sequence, stream.take_failure())

        with self._machine.lock:
            stream = self._port.stream(number)
            stream.add(Notice(reached, lambda failure: self._port.reply(channel, sequence, failure)))

    def _query_stream(self, channel: int, sequence: int, message: bytes) -> None:
        (number,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            idle = self._port.stream(number).idle
        self._port.reply(channel, sequence, first=0 if idle else 1)

    def _abort_stream(self, channel: int, sequence: int, message: bytes) -> None:
        (number,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            self._port.stream(number).abort()
            self._port.stream(number).add(Notice(partial(self._port.reply, channel, sequence)))

    def _failure_mode(self, channel: int, sequence: int, message: bytes) -> None:
        number, mode = wire.TWO.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            self._port.stream(number).group.stops = bool(mode)

    def _sync_card(self, channel: int, sequence: int, message: bytes) -> None:
        with self._machine.lock:
            streams = list(self._port.streams.values())
            left = len(streams)
            first: Failure | None = None

            def reached(stream: Stream, dropped: Failure | None = None) -> None:
                nonlocal left, first
                left -= 1
                if self._port.listens(channel, sequence):
                    first = first or dropped or stream.take_failure()
                if not left:
                    self._port.leaving = False
                    self._port.reply(channel, sequence, first)

            for stream in streams:
                stream.add(Notice(partial(reached, stream), partial(reached, stream)))
            if not streams:
                self._port.reply(channel, sequence)
            elif len(message) > wire.HEADER.size:
                self._port.leave()

    def _busy_share(self, channel: int, sequence: int, message: bytes) -> None:
        with self._machine.lock:
            share = self._machine.compute.busy_share()
        self._port.reply(channel, sequence, first=round(100 * share))

    def holding(self) -> dict[str, int]:
        """Its streams."""
        return {"streams": len(self._port.streams)}

    def release(self) -> None:
        """Give its streams back to the device."""
        self._machine.streams -= len(self._port.streams)
        self._port.streams.clear()
