"""One client's side of the card: reads its messages in order and does or queues what they ask."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ascend_emulator import libc, wire
from ascend_emulator.arena import Arena
from ascend_emulator.card.models import LoadedModel
from ascend_emulator.card.streams import Group, Notice, Record, Stream, Task, Wait
from ascend_emulator.codes import (
    GE_MODEL_ID_INVALID,
    RT_COPY_FAULT,
    RT_CORE_EXCEPTION,
    RT_NO_STREAM,
    RT_PARAM_INVALID,
    Failure,
)
from ascend_emulator.om import read_om
from ascend_emulator.wire import Op, Way

if TYPE_CHECKING:
    from ascend_emulator.card.machine import Machine

_MAX_FDS = 4
_SMALL_BYTES = 64 << 10


class Port:
    """The card's end of one client's connection, and all that client holds.

    Attributes:
        in_flight: its tasks that an engine has or will get; what it holds is freed when none is left.
    """

    def __init__(self, machine: Machine, link: socket.socket) -> None:
        self.in_flight = 0
        self._machine = machine
        self._link = link
        self._lock = machine.lock
        self._closed = False
        self._pinned: Arena | None = None
        self._channels: dict[int, socket.socket] = {}
        self._asked: dict[int, int] = {}
        self._streams: dict[int, Stream] = {}
        self._groups: dict[int, Group] = {}
        self._records: dict[int, Record] = {}
        self._models: dict[int, LoadedModel] = {}
        self._handlers: dict[int, Callable[[int, int, bytes], None]] = {
            Op.CLOSE_CHANNEL: self._close_channel,
            Op.MALLOC: self._malloc,
            Op.FREE: self._free,
            Op.MEMORY_INFO: self._memory_info,
            Op.CREATE_STREAM: self._create_stream,
            Op.DESTROY_STREAM: self._destroy_stream,
            Op.SYNC_STREAM: self._sync_stream,
            Op.QUERY_STREAM: self._query_stream,
            Op.ABORT_STREAM: self._abort_stream,
            Op.FAILURE_MODE: self._failure_mode,
            Op.SYNC_CARD: self._sync_card,
            Op.COUNT_STREAMS: self._count_streams,
            Op.COPY: self._copy,
            Op.FILL: self._fill,
            Op.EXECUTE: self._execute,
            Op.RECORD: self._record,
            Op.WAIT: self._wait,
            Op.FORGET: self._forget,
            Op.SYNC_EVENT: self._sync_event,
            Op.QUERY_EVENT: self._query_event,
            Op.UNLOAD: self._unload,
        }

    def serve(self) -> None:
        """Read and do messages until the client is gone."""
        try:
            while True:
                message, fds, _, _ = socket.recv_fds(self._link, wire.MAX_MESSAGE, _MAX_FDS)
                if not message:
                    break
                op, channel, sequence = wire.HEADER.unpack_from(message)
                if channel:
                    self._asked[channel] = sequence
                if fds:
                    self._take_fds(op, channel, sequence, message, fds)
                    continue
                try:
                    self._handlers[op](channel, sequence, message)
                except Failure as failure:
                    self._reply(channel, sequence, failure)
        except ConnectionResetError:
            pass  # killed with messages unread: as gone as any other
        finally:
            self._link.close()
            with self._lock:
                self._closed = True
                for stream in self._streams.values():
                    stream.abort()
                if not self.in_flight:
                    self._release()

    def task_ended(self) -> None:
        """An engine ended one of this client's tasks. Under the card's lock."""
        self.in_flight -= 1
        if self._closed and not self.in_flight:
            self._release()

    def _release(self) -> None:
        self._machine.memory.free_all(self)
        for model in self._models.values():
            self._machine.memory.unreserve(model.size)
        self._machine.streams -= len(self._streams)
        self._models.clear()
        self._streams.clear()
        for channel in self._channels.values():
            channel.close()
        if self._pinned is not None:
            self._pinned.close()
        self._machine.leave(self)

    # --- talking back -----------------------------------------------------------------------------

    def _reply(
        self, channel: int, sequence: int, failure: Failure | None = None, first: int = 0, second: int = 0
    ) -> None:
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

    def _take_fds(self, op: int, channel: int, sequence: int, message: bytes, fds: list[int]) -> None:
        if op == Op.HELLO:
            self._hello(message, fds[0])
        elif op == Op.OPEN_CHANNEL:
            with self._lock:
                self._channels[channel] = socket.socket(fileno=fds[0])
        elif op == Op.LOAD:
            # A load takes long and holds nothing up on hardware, so it gets a thread of its own.
            arguments = (channel, sequence, message, fds[0])
            threading.Thread(target=self._load, args=arguments, name="load", daemon=True).start()
        else:
            raise ValueError(f"op {op} comes with no file descriptor")

    def _hello(self, message: bytes, pinned: int) -> None:
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

    def _close_channel(self, channel: int, sequence: int, message: bytes) -> None:
        with self._lock:
            end = self._channels.pop(channel, None)
            self._asked.pop(channel, None)
        if end is not None:
            end.close()

    # --- memory -----------------------------------------------------------------------------------

    def _malloc(self, channel: int, sequence: int, message: bytes) -> None:
        (size,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._lock:
            offset = self._machine.memory.allocate(self, size)
        self._machine.memory.arena.soil(offset, size)
        self._reply(channel, sequence, first=offset)

    def _free(self, channel: int, sequence: int, message: bytes) -> None:
        (offset,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._lock:
            self._machine.memory.free(self, offset)
        self._reply(channel, sequence)

    def _memory_info(self, channel: int, sequence: int, message: bytes) -> None:
        memory = self._machine.memory
        with self._lock:
            free = memory.free_bytes
        self._reply(channel, sequence, first=free, second=memory.arena.size)

    def _resolve(self, address: int, size: int, code: int) -> int:
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

    # --- streams ----------------------------------------------------------------------------------

    def _stream(self, number: int) -> Stream:
        stream = self._streams.get(number)
        if stream is None:
            raise Failure(RT_PARAM_INVALID, f"EE1001: the device has no stream {number} of this process.")
        return stream

    def _create_stream(self, channel: int, sequence: int, message: bytes) -> None:
        number, context = wire.TWO.unpack_from(message, wire.HEADER.size)
        machine = self._machine
        with self._lock:
            if machine.streams >= machine.max_streams:
                raise Failure(
                    RT_NO_STREAM, f"EE1010: all {machine.max_streams} streams of the device are in use."
                )
            machine.streams += 1
            self._streams[number] = Stream(self, self._groups.setdefault(context, Group()))
        self._reply(channel, sequence)

    def _count_streams(self, channel: int, sequence: int, message: bytes) -> None:
        self._reply(channel, sequence, first=self._machine.max_streams - self._machine.streams)

    def _destroy_stream(self, channel: int, sequence: int, message: bytes) -> None:
        number, force = wire.TWO.unpack_from(message, wire.HEADER.size)
        with self._lock:
            stream = self._stream(number)
            del self._streams[number]
            stream.group.streams.discard(stream)
            self._machine.streams -= 1
            if force:
                stream.abort()
            stream.add(Notice(partial(self._reply, channel, sequence)))

    def _sync_stream(self, channel: int, sequence: int, message: bytes) -> None:
        (number,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._lock:
            stream = self._stream(number)
            stream.add(Notice(lambda: self._reply(channel, sequence, stream.take_failure())))

    def _query_stream(self, channel: int, sequence: int, message: bytes) -> None:
        (number,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._lock:
            idle = self._stream(number).idle
        self._reply(channel, sequence, first=0 if idle else 1)

    def _abort_stream(self, channel: int, sequence: int, message: bytes) -> None:
        (number,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._lock:
            self._stream(number).abort()
            self._stream(number).add(Notice(partial(self._reply, channel, sequence)))

    def _failure_mode(self, channel: int, sequence: int, message: bytes) -> None:
        number, mode = wire.TWO.unpack_from(message, wire.HEADER.size)
        with self._lock:
            self._stream(number).group.stops = bool(mode)

    def _sync_card(self, channel: int, sequence: int, message: bytes) -> None:
        with self._lock:
            streams = list(self._streams.values())
            left = len(streams)
            first: Failure | None = None

            def reached(stream: Stream) -> None:
                nonlocal left, first
                left -= 1
                first = first or stream.take_failure()
                if not left:
                    self._reply(channel, sequence, first)

            for stream in streams:
                stream.add(Notice(partial(reached, stream)))
            if not streams:
                self._reply(channel, sequence)

    # --- work -------------------------------------------------------------------------------------

    def _copy(self, channel: int, sequence: int, message: bytes) -> None:
        _, _, _, number, target, source, size, way = wire.COPY.unpack(message)

        def copy() -> None:
            libc.move_freeing_gil(
                self._resolve(target, size, RT_COPY_FAULT), self._resolve(source, size, RT_COPY_FAULT), size
            )

        self._queue_copy(number, Way(way), size, copy)

    def _fill(self, channel: int, sequence: int, message: bytes) -> None:
        _, _, _, number, target, value, size = wire.FILL.unpack(message)

        def fill() -> None:
            libc.fill_freeing_gil(self._resolve(target, size, RT_COPY_FAULT), value & 0xFF, size)

        self._queue_copy(number, Way.LOCAL, size, fill)

    def _queue_copy(self, number: int, way: Way, size: int, work: Callable[[], None]) -> None:
        link = self._machine.links.get(way)
        duration = None if link is None else partial(link.duration_ns, size)
        with self._lock:
            small = size <= _SMALL_BYTES
            self._stream(number).add(Task(self._machine.copiers[way], work, duration, small=small))

    def _execute(self, channel: int, sequence: int, message: bytes) -> None:
        number, model_id, inputs, outputs = wire.EXECUTE.unpack_from(message, wire.HEADER.size)
        flat = wire.buffer_list(inputs + outputs).unpack_from(message, wire.HEADER.size + wire.EXECUTE.size)
        buffers = list(zip(flat[::2], flat[1::2], strict=True))
        model = self._models.get(model_id)
        if model is None:
            raise Failure(GE_MODEL_ID_INVALID, f"E19999: no model {model_id} is loaded.")

        def resolved(wanted: list[tuple[int, int]]) -> list[tuple[int, int]]:
            return [(self._resolve(address, size, RT_CORE_EXCEPTION), size) for address, size in wanted]

        def run() -> None:
            sources = resolved(buffers[:inputs])
            model.run(model.gear(sources), sources, resolved(buffers[inputs:]))

        def duration_ns() -> int:
            return model.duration_ns(model.gear(resolved(buffers[:inputs])))

        task = Task(self._machine.compute, run, duration_ns if self._machine.timing else None)
        with self._lock:
            stream = self._stream(number) if number else Stream(self, Group())
            stream.add(task)
            if channel:
                stream.add(Notice(lambda: self._reply(channel, sequence, stream.take_failure())))

    def _load(self, channel: int, sequence: int, message: bytes, fd: int) -> None:
        (model_id,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        try:
            with open(fd, "rb") as file:
                om = read_om(file.read())
            network, work = self._machine.prepare(om)
            model = LoadedModel(replace(om, network=b""), network, self._machine.timing, work)
            with self._lock:
                if self._closed:
                    return
                self._machine.memory.reserve(model.size)
                self._models[model_id] = model
        except Failure as failure:
            self._reply(channel, sequence, failure)
        else:
            self._reply(channel, sequence)

    def _unload(self, channel: int, sequence: int, message: bytes) -> None:
        (model_id,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._lock:
            model = self._models.pop(model_id)
            self._machine.memory.unreserve(model.size)
        self._reply(channel, sequence)

    # --- events -----------------------------------------------------------------------------------

    def _record(self, channel: int, sequence: int, message: bytes) -> None:
        number, event = wire.TWO.unpack_from(message, wire.HEADER.size)
        with self._lock:
            stream = self._stream(number)
            record = self._records[event] = Record(stream)
            stream.add(record)

    def _wait(self, channel: int, sequence: int, message: bytes) -> None:
        number, event = wire.TWO.unpack_from(message, wire.HEADER.size)
        with self._lock:
            self._stream(number).add(Wait(self._records[event]))

    def _forget(self, channel: int, sequence: int, message: bytes) -> None:
        (event,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._lock:
            self._records.pop(event, None)

    def _sync_event(self, channel: int, sequence: int, message: bytes) -> None:
        (event,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._lock:
            record = self._records.get(event)
            if record is None:
                self._reply(channel, sequence)
                return
            group = record.stream.group

            def tell() -> None:
                self._reply(channel, sequence, group.failure)

            if record.done:
                tell()
            else:
                record.callbacks.append(tell)

    def _query_event(self, channel: int, sequence: int, message: bytes) -> None:
        (event,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._lock:
            record = self._records.get(event)
            done = record is None or record.done
            time_ns = record.time_ns if record is not None else 0
        self._reply(channel, sequence, first=int(done), second=time_ns)
