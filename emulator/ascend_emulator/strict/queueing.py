"""Calls that queue work on a stream or do it at once: copies and fills (facts/pyacl.md §8.4-§8.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ascend_emulator.strict.meaning import Meaning, check_handles
from ascend_emulator.strict.state import Call, State

_BUFFERED = 5
"""The copy kind that has read its source when the call returns (facts/pyacl.md §15.3)."""


class Queues(Meaning):
    """A call whose work may be queued on a stream, named by the argument at `stream`."""

    stream: int | None

    def on(self, state: State, call: Call) -> int | None:
        """The stream, None when the call does its work at once."""
        if self.stream is None:
            return None
        check_handles(state, call, call.arguments[self.stream : self.stream + 1])
        return state.stream(call.arguments[self.stream])

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Enter the work."""
        if self.stream is not None and not code:
            state.clocks.learn(call.clock)
            if call.uses:
                state.queued(call, state.stream(call.arguments[self.stream]))


@dataclass(frozen=True)
class Copies(Queues):
    """`(target, room, source, size, kind[, stream])`.

    Attributes:
        stream: place of the stream, None when the copy is made at once.
        any_memory: whether memory that is not acl's is allowed, though the copy is asynchronous.
    """

    stream: int | None = None
    any_memory: bool = False

    def check(self, state: State, call: Call) -> None:
        """Judge both ranges; more bytes than room is refused by the call itself."""
        target, room, source, size = call.arguments[:4]
        if size <= room:
            _check_copy(self, state, call, (target, size), (source, size), self.any_memory)
            if call.arguments[4] == _BUFFERED:
                call.uses = [use for use in call.uses if use[3]]


@dataclass(frozen=True)
class Copies2d(Queues):
    """`(target, target pitch, source, source pitch, width, height, kind[, stream])`."""

    stream: int | None = None

    def check(self, state: State, call: Call) -> None:
        """Judge both ranges, from the first byte of the first row to the last of the last one."""
        target, target_pitch, source, source_pitch, width, height = call.arguments[:6]
        if width and height:
            rows = height - 1
            _check_copy(
                self,
                state,
                call,
                (target, target_pitch * rows + width),
                (source, source_pitch * rows + width),
                any_memory=False,
            )


@dataclass(frozen=True)
class Fills(Queues):
    """`(address, room, value, size[, stream])`."""

    stream: int | None = None

    def check(self, state: State, call: Call) -> None:
        """Judge the range; more bytes than room is refused by the call itself."""
        address, room, _, size = call.arguments[:4]
        if size <= room:
            state.use(call, address, size, writes=True, on=self.on(state, call))


def _check_copy(
    meaning: Queues,
    state: State,
    call: Call,
    target: tuple[int, int],
    source: tuple[int, int],
    any_memory: bool,
) -> None:
    on = meaning.on(state, call)
    known = state.use(call, *source, writes=False, on=on), state.use(call, *target, writes=True, on=on)
    if on is None or all(known):
        return
    for (address, size), is_known in zip((source, target), known, strict=True):
        if address and size and not is_known and not state.is_known_otherwise(address):
            # The call drains the stream and copies at once. Where it does not, this finding comes first.
            call.uses.clear()
            call.clock = state.clocks.at([on])
            if not any_memory:
                text = f"{call.path} is to copy {size} bytes, but {address:#x} is not memory of acl"
                state.find("unpinned-copy", text, call, (), address, size)
            return
