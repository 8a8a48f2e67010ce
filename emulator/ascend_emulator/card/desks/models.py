"""Loading and executing models."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ascend_emulator import wire
from ascend_emulator.card.desks.desk import Desk
from ascend_emulator.card.journal import Label
from ascend_emulator.card.models import LoadedModel, Plan, store
from ascend_emulator.card.streams import Group, Notice, Stream, Task
from ascend_emulator.codes import (
    GE_LOAD_MODEL,
    GE_MODEL_ID_INVALID,
    GE_PARAM_INVALID,
    INVALID_PARAM,
    RT_CORE_EXCEPTION,
    Failure,
)
from ascend_emulator.om import OmError, read_om
from ascend_emulator.wire import Op

if TYPE_CHECKING:
    from ascend_emulator.card.machine import Machine
    from ascend_emulator.card.port import Port
    from ascend_emulator.om import OmFile

Range = tuple[int, int]
"""Address on the wire and bytes."""

_SMALL_NS = 50_000
"""An execution is small when the model's last one took less: about what waking the engine's thread costs."""

_UNPLACED = (wire.NOWHERE, 0)
"""A range that the client leaves to the card."""


class _Held:
    """A model that is loaded, and the program's memory that it uses.

    Attributes:
        model: the model.
        memory: ranges of the program's memory that it works in.
        reserved: bytes it takes beside them.
        last_ns: how long its last execution computed; long until there was one.
    """

    __slots__ = ("last_ns", "memory", "model", "reserved")

    def __init__(self, model: LoadedModel, memory: Sequence[Range], reserved: int) -> None:
        self.model = model
        self.memory = memory
        self.reserved = reserved
        self.last_ns = _SMALL_NS


class ModelDesk(Desk):
    """The models one client has loaded.

    Attributes:
        results: channel -> outputs of the last execution of truly dynamic shape that was waited for there, until
            they are collected.
    """

    def __init__(self, port: Port, machine: Machine) -> None:
        super().__init__(port, machine)
        self._models: dict[int, _Held] = {}
        self.results: dict[int, list[NDArray[Any]]] = {}
        self.fd_handlers = {Op.LOAD: self._load_aside}
        self.handlers = {
            Op.EXECUTE: self._execute,
            Op.UNLOAD: self._unload,
            Op.COLLECT: self._collect,
        }

    # --- executing --------------------------------------------------------------------------------

    def _execute(self, channel: int, sequence: int, message: bytes) -> None:
        number, model_id, inputs, outputs = wire.EXECUTE.unpack_from(message, wire.HEADER.size)
        place = wire.HEADER.size + wire.EXECUTE.size
        table = wire.buffer_list(inputs + outputs)
        flat = table.unpack_from(message, place)
        buffers = list(zip(flat[::2], flat[1::2], strict=True))
        held = self.held(model_id)
        if held.model.dynamic:
            tail = message[place + table.size :]
            run = _Dynamic(
                self, self._port, self._machine, model_id, buffers[:inputs], buffers[inputs:], tail
            )
            run.queue(channel, sequence, number)
            return
        model, memory = held.model, held.memory

        def plan(sources: Sequence[Range]) -> Plan:
            return model.plan(sources, ())

        def work() -> None:
            self.resolved(memory)
            sources = self.resolved(buffers[:inputs])
            model.run(plan(sources), sources, self.resolved(buffers[inputs:]))

        def duration_ns() -> int:
            return model.duration_ns(plan(self.resolved(buffers[:inputs])))

        given_ns = self.given_ns(channel, sequence)
        with self._machine.lock:
            stream = self.add(number, given_ns, model_id, work, duration_ns)
            if channel:
                stream.add(Notice(lambda: self._port.reply(channel, sequence, stream.take_failure())))

    def add(
        self,
        number: int,
        given_ns: int,
        model_id: int,
        work: Callable[[], None],
        duration_ns: Callable[[], int],
    ) -> Stream:
        """Queue an execution: the one place where its task is made. Under the card's lock."""
        machine, held = self._machine, self._models[model_id]

        def timed() -> None:
            began_ns = time.monotonic_ns()
            work()
            held.last_ns = time.monotonic_ns() - began_ns

        stream = self._port.stream(number) if number else Stream(self._port, Group())
        stream.add(
            Task(
                machine.compute,
                machine.guarded("execute", timed),
                duration_ns if machine.timing else None,
                Label(Op.EXECUTE, model=model_id),
                given_ns,
                # Of a modelled one the end is what takes long, and only the engine's thread can wait for that.
                small=machine.timing is None and held.last_ns < _SMALL_NS,
            )
        )
        return stream

    def _collect(self, channel: int, sequence: int, message: bytes) -> None:
        model_id, output, address, size = wire.COLLECT.unpack_from(message, wire.HEADER.size)
        held = self.held(model_id)
        results = self.results.get(channel, [])
        if output >= len(results):
            raise Failure(INVALID_PARAM, f"E19999: no output {output} of an execution is held.")
        target = self._port.resolve(address, size, RT_CORE_EXCEPTION)
        store(results[output], (target, size), held.model.outputs[output].name)
        self._port.reply(channel, sequence)

    def held(self, model_id: int) -> _Held:
        """The model of that number; `Failure` 145003 when none is loaded."""
        held = self._models.get(model_id)
        if held is None:
            raise Failure(GE_MODEL_ID_INVALID, f"E19999: no model {model_id} is loaded.")
        return held

    def resolved(self, wanted: Sequence[Range]) -> list[Range]:
        """Buffers at their addresses in this process; `Failure` 507015 of one that is not there."""
        return [(self._port.resolve(address, size, RT_CORE_EXCEPTION), size) for address, size in wanted]

    # --- loading ----------------------------------------------------------------------------------

    def _load_aside(self, channel: int, sequence: int, message: bytes, fd: int) -> None:
        # A load takes long and holds nothing up on hardware, so it gets a thread of its own.
        arguments = (channel, sequence, message, fd)
        threading.Thread(target=self._load, args=arguments, name="load", daemon=True).start()

    def _load(self, channel: int, sequence: int, message: bytes, fd: int) -> None:
        model_id, *own, om_bytes = wire.LOAD.unpack_from(message, wire.HEADER.size)
        try:
            with open(fd, "rb") as file:
                content = file.read()
            om = _whole(content, om_bytes)
            self._machine.faults.meet("load")
            model = self._machine.load(om)
            # External weights get memory of their own, whatever the program gave for the others.
            memory, reserved = [], sum(constant.length for constant in om.file_constants)
            for (address, size), needed in zip(
                (own[:2], own[2:]), (model.work_bytes, model.weight_bytes), strict=True
            ):
                if (address, size) == _UNPLACED:
                    reserved += needed
                else:
                    self._port.resolve(address, size, GE_PARAM_INVALID)
                    memory.append((address, size))
            with self._machine.lock:
                if self._port.closed:
                    return
                self._machine.memory.reserve(reserved)
                self._models[model_id] = _Held(model, memory, reserved)
        except OmError as error:
            self._port.reply(channel, sequence, Failure(GE_LOAD_MODEL, f"E19999: {error}"))
        except Failure as failure:
            self._port.reply(channel, sequence, failure)
        else:
            self._port.reply(channel, sequence)

    def _unload(self, channel: int, sequence: int, message: bytes) -> None:
        (model_id,) = wire.ONE.unpack_from(message, wire.HEADER.size)
        with self._machine.lock:
            held = self.held(model_id)
            del self._models[model_id]
            self._machine.memory.unreserve(held.reserved)
        self._port.reply(channel, sequence)

    def holding(self) -> dict[str, int]:
        """Its models and the bytes they take."""
        return {"bytes": sum(held.reserved for held in self._models.values()), "models": len(self._models)}

    def release(self) -> None:
        """Give back the memory its models take."""
        for held in self._models.values():
            self._machine.memory.unreserve(held.reserved)
        self._models.clear()
        self.results.clear()


def _whole(content: bytes, om_bytes: int) -> OmFile:
    """The model with its external weights put back.

    Args:
        content: the .om, and behind it the weights.
        om_bytes: where they begin.

    Raises:
        OmError: no model that can be read.
        Failure: 545001, the weights are not those of its network.
    """
    om = read_om(memoryview(content)[:om_bytes])
    if not om.file_constants:
        return om
    from ascend_emulator.external_weights import WeightsError, put_back  # it imports onnx, few models need it

    weights, at = [], om_bytes
    for constant in om.file_constants:
        weights.append(content[at : at + constant.length])
        at += constant.length
    try:
        return replace(om, network=put_back(om.network, weights))
    except WeightsError as error:
        raise Failure(GE_LOAD_MODEL, f"E19999: {error}") from error


class _Dynamic:
    """One execution of a model of truly dynamic shape.

    The dims of its outputs are told as soon as they are known: at once where they follow from the inputs' dims, as
    GE's host executor infers them in the call, and when it has run where they depend on values.
    """

    def __init__(
        self,
        desk: ModelDesk,
        port: Port,
        machine: Machine,
        model_id: int,
        inputs: list[Range],
        outputs: list[Range],
        tail: bytes,
    ) -> None:
        self._desk = desk
        self._port = port
        self._machine = machine
        held = desk.held(model_id)
        self._model_id = model_id
        self._model = held.model
        self._memory = held.memory
        self._inputs = inputs
        self._outputs = outputs
        (self._told_at,) = wire.ONE.unpack_from(tail)
        dims = wire.unpack_dims(tail[wire.ONE.size :], len(inputs))
        self._plan = self._model.plan((), [shape or () for shape in dims])
        self._results: list[NDArray[Any]] = []

    def queue(self, channel: int, sequence: int, number: int) -> None:
        """Queue it; answer when the outputs' dims are known, or without a stream when it has run."""
        port, machine = self._port, self._machine
        if number and None not in self._plan.outputs:
            self._tell(self._plan.outputs)
            with machine.lock:
                self._desk.add(number, time.monotonic_ns(), self._model_id, self._work, self._duration_ns)
            port.reply(channel, sequence)
            return

        with machine.lock:
            stream = self._desk.add(
                number, time.monotonic_ns(), self._model_id, self._work, self._duration_ns
            )

            def answer() -> None:
                # What fails in a program's stream stays there for its next synchronise as well.
                failure = stream.failure if number else stream.take_failure()
                if self._results:
                    self._tell([result.shape for result in self._results])
                    if _UNPLACED in self._outputs:
                        self._desk.results[channel] = self._results
                port.reply(channel, sequence, None if self._results else failure)

            stream.add(Notice(answer, lambda failure: port.reply(channel, sequence, failure)))

    def _work(self) -> None:
        self._desk.resolved(self._memory)
        sources = self._desk.resolved(self._inputs)
        results = self._model.run_dynamic(self._plan, sources)
        for info, result, target in zip(self._model.outputs, results, self._outputs, strict=True):
            if target != _UNPLACED:
                (buffer,) = self._desk.resolved([target])
                store(result, buffer, info.name)
        self._results = results

    def _duration_ns(self) -> int:
        return self._model.duration_ns(self._plan)

    def _tell(self, shapes: Sequence[Sequence[int] | None]) -> None:
        told = wire.pack_dims(
            [shape if shape is None or len(shape) <= wire.MOST_DIMS else None for shape in shapes]
        )
        address = self._port.resolve(self._told_at, len(told), INVALID_PARAM)
        ctypes.memmove(address, told, len(told))
