"""Calls that load, set, run and unload models (facts/pyacl.md §9, §11, §12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ascend_emulator.strict.blocks import Memory
from ascend_emulator.strict.meaning import Meaning, Releases, check_end, check_handles
from ascend_emulator.strict.state import Call, State


@dataclass(frozen=True)
class Executes(Meaning):
    """`(model, inputs, outputs[, stream, ...])`.

    Attributes:
        stream: place of the stream, None when the call uses none.
        waits: whether the call returns when the outputs are complete.
    """

    stream: int | None = None
    waits: bool = False

    def check(self, state: State, call: Call) -> None:
        """Judge model, datasets and buffers."""
        check_handles(state, call, call.arguments[1:])
        model, inputs, outputs = call.arguments[:3]
        on = None if self.stream is None else state.stream(call.arguments[self.stream])
        state.execute(call, model, inputs, outputs, on)
        if self.waits:
            buffers = state.insight.buffers(outputs)
            call.empty_outputs = tuple(place for place, (address, _) in enumerate(buffers) if not address)

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Enter the work, and the memory it allocated for outputs that had none."""
        model, inputs, outputs = call.arguments[:3]
        if self.stream is not None and not code:
            stream = state.stream(call.arguments[self.stream])
            state.executing(state.queued(call, stream), model, inputs, outputs)
            if self.waits:
                state.clocks.learn(state.clocks.at([stream]))
        buffers = state.insight.buffers(outputs) if call.empty_outputs else []
        for place in call.empty_outputs:
            if place < len(buffers) and buffers[place][0]:
                state.allocated(call, *buffers[place], Memory.DEVICE, "acl.rt.free")


@dataclass(frozen=True)
class SetsGear(Meaning):
    """`(model, dataset, index, ...)`: the host writes the hidden input's memory at once."""

    def check(self, state: State, call: Call) -> None:
        """Judge the buffer."""
        check_handles(state, call, call.arguments[1:2])
        buffer = state.insight.gear_buffer(call.arguments[1], call.arguments[2])
        if buffer is not None:
            state.use(call, *buffer, writes=True)


@dataclass(frozen=True)
class Loads(Releases):
    """A call that gives `(id, ret)` of what it loaded.

    Attributes:
        what: what that is.
        reads: whether its first arguments are the address and size of the file's content.
        lent: places of the addresses of memory that it is loaded into.
    """

    what: str = "model"
    reads: bool = False
    lent: tuple[int, ...] = ()

    def check(self, state: State, call: Call) -> None:
        """Judge the memory that is read."""
        if self.reads:
            address, size = call.arguments[:2]
            state.use(call, address, size, writes=False)

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Enter the model."""
        if not code:
            state.things.add(self.what, result[0], call.stack)
            for place in self.lent:
                block = state.blocks.around(call.arguments[place])
                if block is not None:
                    block.holders.add((self.what, result[0]))


@dataclass(frozen=True)
class Unloads(Meaning):
    """A call that ends the model or bundle whose id is its first argument."""

    what: str = "model"

    def check(self, state: State, call: Call) -> None:
        """Judge the id."""
        number = call.arguments[0]
        check_end(state, call, self.what, number)
        for task in state.running(self.what, number):
            text = f"{call.path} unloads model {number}, which an execution on stream {task.stream:#x} may still use"
            state.find("free-in-flight", text, call, (("queued", task.stack),), number)
            return

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Cross it off."""
        if not code:
            state.things.end(self.what, call.arguments[0], call.stack)
