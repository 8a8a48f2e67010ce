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

_SMALL_BYTES = 64 << 10


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
            self._port.streams[number] = Stream(self._port, self._port.groups.setdefault(context, Group()))
        self._port.reply(channel, sequence)

    def _count_streams(self, channel: int, sequence: int, message: bytes) -> None:
        self._port.reply(channel, sequence, first=self._machine.max_streams - self._machine.streams)

    def _destroy_stream(self, channel: int, sequence: int, message: bytes) -> None:
        number, force = wire.TWO.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            stream = self._port.stream(number)
            del self._port.streams[number]
            stream.group.streams.discard(stream)
            self._machine.streams -= 1
            if force:
                stream.abort()
            stream.add(Notice(partial(self._port.reply, channel, sequence)))

    def _sync_stream(self, channel: int, sequence: int, message: bytes) -> None:
        (number,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            stream = self._port.stream(number)
            stream.add(Notice(lambda: self._port.reply(channel, sequence, stream.take_failure())))

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

            def reached(stream: Stream) -> None:
                nonlocal left, first
                left -= 1
                first = first or stream.take_failure()
                if not left:
                    self._port.reply(channel, sequence, first)

            for stream in streams:
                stream.add(Notice(partial(reached, stream)))
            if not streams:
                self._port.reply(channel, sequence)

    def release(self) -> None:
        """Give its streams back to the device."""
        self._machine.streams -= len(self._port.streams)
        self._port.streams.clear()
