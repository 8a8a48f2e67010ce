"""Loading and executing models."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from ascend_emulator import wire
from ascend_emulator.card.desks.desk import Desk
from ascend_emulator.card.models import LoadedModel
from ascend_emulator.card.streams import Group, Notice, Stream, Task
from ascend_emulator.codes import (
    GE_MODEL_ID_INVALID,
    RT_CORE_EXCEPTION,
    Failure,
)
from ascend_emulator.om import read_om
from ascend_emulator.wire import Op

if TYPE_CHECKING:
    from ascend_emulator.card.machine import Machine
    from ascend_emulator.card.port import Port

_SMALL_BYTES = 64 << 10


class ModelDesk(Desk):
    """The models one client has loaded."""

    def __init__(self, port: Port, machine: Machine) -> None:
        super().__init__(port, machine)
        self._models: dict[int, LoadedModel] = {}
        self.fd_handlers = {Op.LOAD: self._load_aside}
        self.handlers = {
            Op.EXECUTE: self._execute,
            Op.UNLOAD: self._unload,
        }

    def _execute(self, channel: int, sequence: int, message: bytes) -> None:
        number, model_id, inputs, outputs = wire.EXECUTE.unpack_from(message, wire.HEADER.size)
        flat = wire.buffer_list(inputs + outputs).unpack_from(message, wire.HEADER.size + wire.EXECUTE.size)
        buffers = list(zip(flat[::2], flat[1::2], strict=True))
        model = self._models.get(model_id)
        if model is None:
            raise Failure(GE_MODEL_ID_INVALID, f"E19999: no model {model_id} is loaded.")

        def resolved(wanted: list[tuple[int, int]]) -> list[tuple[int, int]]:
            return [(self._port.resolve(address, size, RT_CORE_EXCEPTION), size) for address, size in wanted]

        def run() -> None:
            sources = resolved(buffers[:inputs])
            model.run(model.gear(sources), sources, resolved(buffers[inputs:]))

        def duration_ns() -> int:
            return model.duration_ns(model.gear(resolved(buffers[:inputs])))

        task = Task(self._machine.compute, run, duration_ns if self._machine.timing else None)
        with self._machine.lock:
            stream = self._port.stream(number) if number else Stream(self._port, Group())
            stream.add(task)
            if channel:
                stream.add(Notice(lambda: self._port.reply(channel, sequence, stream.take_failure())))

    def _load_aside(self, channel: int, sequence: int, message: bytes, fd: int) -> None:
        # A load takes long and holds nothing up on hardware, so it gets a thread of its own.
        arguments = (channel, sequence, message, fd)
        threading.Thread(target=self._load, args=arguments, name="load", daemon=True).start()

    def _load(self, channel: int, sequence: int, message: bytes, fd: int) -> None:
        (model_id,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        try:
            with open(fd, "rb") as file:
                om = read_om(file.read())
            network, work = self._machine.prepare(om)
            model = LoadedModel(replace(om, network=b""), network, self._machine.timing, work)
            with self._machine.lock:
                if self._port.closed:
                    return
                self._machine.memory.reserve(model.size)
                self._models[model_id] = model
        except Failure as failure:
            self._port.reply(channel, sequence, failure)
        else:
            self._port.reply(channel, sequence)

    def _unload(self, channel: int, sequence: int, message: bytes) -> None:
        (model_id,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            model = self._models.pop(model_id)
            self._machine.memory.unreserve(model.size)
        self._port.reply(channel, sequence)

    def release(self) -> None:
        """Give back the memory its models take."""
        for model in self._models.values():
            self._machine.memory.unreserve(model.size)
        self._models.clear()
