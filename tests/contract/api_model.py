"""What `acl` answers, worked out from its documentation alone: a second opinion for `test_acl_api_machine`.

It is written from facts/pyacl.md and knows nothing of the emulator. Where the facts leave a code open, every code that
they name is fine; where they say that hardware would crash, any refusal is. A call with several faults may be refused
for any of them.

Handles and addresses are the numbers that `acl` gave. Memory is modelled by its bytes, with UNKNOWN for those that
nothing has written; what is queued counts as done already, and a block that a queue still uses says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

INVALID_PARAM, REPEAT_INITIALIZE, REPEAT_FINALIZE = 100000, 100002, 100037
RT_PARAM, RT_DEVICE, NO_CONTEXT, STREAM_CONTEXT, MODEL_CONTEXT = 107000, 107001, 107002, 107003, 107004
NO_TIME, TIME_REVERSED, NOT_SUPPORTED, NOT_SET = 107006, 107007, 207000, 507007
GE_PARAM, GE_NOT_INIT, GE_PATH, GE_MODEL, GE_LENGTH, GE_BATCH = 145000, 145001, 145002, 145003, 145012, 145013
REFUSED = -1
"""Any code but 0."""

BAD_HANDLE = (INVALID_PARAM, RT_PARAM, NO_CONTEXT, STREAM_CONTEXT, 107017, REFUSED)

DEVICES = 2
GEARS = (1, 2, 4, 8)
COLUMNS, OUTPUTS, FLOAT = 8, 4, 4
INPUT_SLACK = 64
UNKNOWN = -1
FRESH, ANY = object(), object()
"""Values of answers: a new non-zero number, and one that nothing says anything about."""

Codes = Iterable[int]


@dataclass
class Answer:
    """What a call is to give.

    Attributes:
        form: `ret` a code; `pair` a value and a code; `bare` a value.
        codes: those that are right; `REFUSED` stands for every code but 0.
        value: what a `pair` that succeeds or a `bare` has; FRESH or ANY.
        then: what changes when it succeeds, given the value.
    """

    form: str
    codes: frozenset[int]
    value: object = ANY
    then: Callable[[Any], object] | None = None

    def settle(self, result: Any, known: set[int]) -> bool:
        """Check a result and, if the call succeeded, make the change; gives whether it succeeded."""
        value, code = result, 0
        if self.form == "pair":
            assert isinstance(result, tuple), result
            value, code = result
        elif self.form == "ret":
            value, code = None, result
        assert type(code) is int, result
        assert code in self.codes or (code and REFUSED in self.codes), (result, set(self.codes))
        if code:
            return False
        if self.value is FRESH:
            assert type(value) is int, result
            assert value > 0, result
            assert value not in known, (hex(value), "was given already")
        elif self.value is not ANY:
            assert value == self.value, (result, self.value)
        if self.then is not None:
            self.then(value)
        return True


@dataclass(eq=False)
class Context:
    """A context, explicit or a device's primary one; `handle` is 0 while nobody asked for it."""

    device: int
    primary: bool
    handle: int = 0
    alive: bool = True


@dataclass(eq=False)
class Stream:
    """A stream; the default stream of each context is one too."""

    context: Context


@dataclass(eq=False)
class Event:
    """An event; `recorded` is the stream of its latest recording and `reached` whether that must have been reached."""

    device: int
    recorded: Stream | None = None
    reached: bool = False
    order: int = 0


@dataclass(eq=False)
class Block:
    """Memory; `device` is None for pinned host memory and `user` the stream that still works on it.

    Numbers that a model computes are not predicted to the last bit: `computed` says where they begin and what they are
    about, until somebody reads them.
    """

    address: int
    device: int | None
    content: NDArray[np.int16]
    user: Stream | None = None
    computed: tuple[int, NDArray[np.float32]] | None = None


@dataclass(eq=False)
class Buffer:
    """A data buffer."""

    address: int
    size: int


@dataclass(eq=False)
class Dataset:
    """A dataset: handles of buffers."""

    buffers: list[int] = field(default_factory=list)


@dataclass(eq=False)
class Desc:
    """A model description; `gears` says of what model, None while it is empty."""

    gears: bool | None = None


@dataclass(eq=False)
class LoadedModel:
    """A loaded model: with gears, or with a static batch of 4."""

    device: int
    gears: bool


class RuntimeModel:
    """The state of one process, and what devices, contexts, streams and events do."""

    def __init__(self) -> None:
        self.references = 0
        self.finalized = False
        self.users = [0] * DEVICES
        self.primary: list[Context | None] = [None] * DEVICES
        self.current: dict[int, Context] = {}
        self.default: dict[Context, Stream] = {}
        self.things: dict[int, object] = {}
        self.blocks: dict[int, Block] = {}
        self.models: dict[int, LoadedModel] = {}
        self.given: set[int] = set()
        self.models_given: set[int] = set()
        self.recordings = 0

    # --- what there is

    def handles(self, kind: type) -> list[int]:
        """Live handles of a kind, in order of creation."""
        return [handle for handle, thing in self.things.items() if isinstance(thing, kind)]

    def thing(self, handle: int, kind: type) -> Any:
        thing = self.things.get(handle)
        return thing if isinstance(thing, kind) else None

    def adding(self, thing: object) -> Callable[[int], None]:
        def add(handle: int) -> None:
            self.things[handle] = thing
            self.given.add(handle)

        return add

    def context(self, thread: int) -> Context | None:
        """A thread's context, if it is bound to one that is alive."""
        context = self.current.get(thread)
        return context if context is not None and context.alive else None

    def contexts(self, device: int) -> list[Context]:
        """A device's live contexts."""
        return [one for one in self.default if one.alive and one.device == device]

    def block_with(self, address: int, size: int) -> Block | None:
        """The live block that holds a range."""
        for block in self.blocks.values():
            if block.address <= address and address + size <= block.address + len(block.content):
                return block
        return None

    def queue_of(self, thread: int, handle: int) -> tuple[Stream | None, list[int]]:
        """A stream that work is queued on, or why not."""
        context = self.context(thread)
        if context is None:
            return None, [NO_CONTEXT, *(() if not handle or self.thing(handle, Stream) else BAD_HANDLE)]
        stream = self.default[context] if not handle else self.thing(handle, Stream)
        if stream is None:
            return None, list(BAD_HANDLE)
        return (stream, []) if stream.context is context else (None, [STREAM_CONTEXT])

    def no_context(self, thread: int) -> list[int]:
        return [] if self.context(thread) else [NO_CONTEXT]

    def finish(self, stream: Stream) -> None:
        """Everything queued on a stream is over."""
        for block in self.blocks.values():
            if block.user is stream:
                block.user = None
        for thing in self.things.values():
            if isinstance(thing, Event) and thing.recorded is stream:
                thing.reached = True

    # --- initialisation (§4)

    def init(self, thread: int) -> Answer:
        repeated = self.references > 0
        self.references += 1
        self.finalized = False
        return ret([REPEAT_INITIALIZE] if repeated else [])

    def finalize(self, thread: int) -> Answer:
        faults = [REPEAT_FINALIZE] if self.finalized else []
        self.references, self.finalized = 0, True
        return ret(faults)

    # --- devices and contexts (§5)

    def rt_set_device(self, thread: int, device: int) -> Answer:
        def set_device(_: object) -> None:
            primary = self.primary[device]
            if primary is None:
                primary = self.primary[device] = self._new_context(device, primary=True)
            self.users[device] += 1
            self.current[thread] = primary

        return ret([] if 0 <= device < DEVICES else [RT_DEVICE], set_device)

    def rt_reset_device(self, thread: int, device: int) -> Answer:
        def reset(_: object) -> None:
            self.users[device] -= 1
            if not self.users[device]:
                primary, self.primary[device] = self.primary[device], None
                for context in self.contexts(device):
                    self.finish(self.default[context])
                for stream in self._streams():
                    if stream.context.device == device:
                        self.finish(stream)
                assert primary is not None
                self._end(primary)

        if not 0 <= device < DEVICES:
            return ret([RT_DEVICE])
        return ret([] if self.users[device] else [NOT_SET], reset)

    def rt_create_context(self, thread: int, device: int) -> Answer:
        def create(handle: int) -> None:
            context = self._new_context(device, primary=False)
            context.handle = handle
            self.adding(context)(handle)
            self.current[thread] = context

        return pair([] if 0 <= device < DEVICES else [RT_DEVICE], FRESH, create)

    def rt_set_context(self, thread: int, handle: int) -> Answer:
        context = self.thing(handle, Context)

        def bind(_: object) -> None:
            self.current[thread] = context

        return ret([INVALID_PARAM] if not handle else () if context else BAD_HANDLE, bind)

    def rt_get_context(self, thread: int) -> Answer:
        context = self.context(thread)

        def name(handle: int) -> None:
            assert context is not None
            if not context.handle:
                assert handle not in self.given
                context.handle = handle
                self.adding(context)(handle)

        return pair(self.no_context(thread), context.handle or ANY if context else ANY, name)

    def rt_destroy_context(self, thread: int, handle: int) -> Answer:
        context = self.thing(handle, Context)
        if context is None:
            return ret(BAD_HANDLE if handle else [INVALID_PARAM])
        return ret([NO_CONTEXT] if context.primary else [], lambda _: self._end(context))

    def rt_get_device(self, thread: int) -> Answer:
        context = self.context(thread)
        return pair(self.no_context(thread), context.device if context else ANY)

    def _new_context(self, device: int, *, primary: bool) -> Context:
        context = Context(device, primary)
        self.default[context] = Stream(context)
        return context

    def _streams(self) -> list[Stream]:
        return [thing for thing in self.things.values() if isinstance(thing, Stream)]

    def _end(self, context: Context) -> None:
        context.alive = False
        self.things.pop(context.handle, None)
        for stream in (self.default.pop(context), *self._streams()):
            if stream.context is context:
                for block in self.blocks.values():
                    if block.user is stream:  # whether the work was done is not said
                        block.user, block.computed = None, None
                        block.content[:] = UNKNOWN
        self.things = {
            handle: thing
            for handle, thing in self.things.items()
            if not (isinstance(thing, Stream) and thing.context is context)
        }
        if not self.contexts(context.device):
            # The process has left the device, with all that it had there (§5.2, §8.2).
            device = context.device
            self.blocks = {key: block for key, block in self.blocks.items() if block.device != device}
            self.models = {key: model for key, model in self.models.items() if model.device != device}
            self.things = {
                handle: thing
                for handle, thing in self.things.items()
                if not (isinstance(thing, Event) and thing.device == device)
            }

    # --- streams and events (§6)

    def rt_create_stream(self, thread: int) -> Answer:
        context = self.context(thread)
        add = self.adding(Stream(context)) if context else None
        return pair(self.no_context(thread), FRESH, add)

    def rt_destroy_stream(self, thread: int, handle: int) -> Answer:
        stream = self.thing(handle, Stream)

        def destroy(_: object) -> None:
            self.finish(stream)
            del self.things[handle]

        if stream is None:
            # One whose context has gone may be destroyed once more by programs that clean up late (§20).
            return ret([0, *BAD_HANDLE] if handle in self.given else BAD_HANDLE)
        return ret(self.no_context(thread), destroy)

    def rt_synchronize_stream(self, thread: int, handle: int) -> Answer:
        context = self.context(thread)
        stream = self.default[context] if context and not handle else self.thing(handle, Stream)
        faults = self.no_context(thread) + ([] if stream or not handle else [*BAD_HANDLE])
        return ret(faults, lambda _: self.finish(stream))

    def rt_stream_query(self, thread: int, handle: int) -> Answer:
        context = self.context(thread)
        stream = self.default[context] if context and not handle else self.thing(handle, Stream)
        faults = self.no_context(thread) + ([] if stream or not handle else [*BAD_HANDLE])
        return pair(faults, ANY)

    def rt_synchronize_device(self, thread: int) -> Answer:
        context = self.context(thread)

        def finish(_: object) -> None:
            assert context is not None
            for stream in (*self.default.values(), *self._streams()):
                if stream.context.device == context.device:
                    self.finish(stream)

        return ret(self.no_context(thread), finish)

    def rt_create_event(self, thread: int) -> Answer:
        context = self.context(thread)
        add = self.adding(Event(context.device)) if context else None
        return pair(self.no_context(thread), FRESH, add)

    def rt_destroy_event(self, thread: int, handle: int) -> Answer:
        event = self.thing(handle, Event)
        if event is None:
            return ret([0, *BAD_HANDLE] if handle in self.given else BAD_HANDLE)
        return ret([], lambda _: self.things.pop(handle))

    def rt_record_event(self, thread: int, handle: int, stream_handle: int) -> Answer:
        event = self.thing(handle, Event)
        stream, faults = self.queue_of(thread, stream_handle)
        if event is None:
            faults += [*BAD_HANDLE]
        elif stream is not None and stream.context.device != event.device:
            faults += [REFUSED]

        def record(_: object) -> None:
            self.recordings += 1
            event.recorded, event.reached, event.order = stream, False, self.recordings

        return ret(faults, record)

    def rt_stream_wait_event(self, thread: int, stream_handle: int, handle: int) -> Answer:
        event = self.thing(handle, Event)
        _, faults = self.queue_of(thread, stream_handle)
        if event is None:
            faults += [*BAD_HANDLE]
        elif event.recorded is None:
            faults += [RT_PARAM]
        return ret(faults)

    def rt_query_event_status(self, thread: int, handle: int) -> Answer:
        event = self.thing(handle, Event)
        if event is None:
            return pair(BAD_HANDLE, ANY)
        return pair([], 0 if event.recorded is None else 1 if event.reached else ANY)

    def rt_synchronize_event(self, thread: int, handle: int) -> Answer:
        event = self.thing(handle, Event)

        def reach(_: object) -> None:
            event.reached = event.recorded is not None

        return ret([] if event else BAD_HANDLE, reach)

    def rt_event_elapsed_time(self, thread: int, start: int, end: int) -> Answer:
        first, last = self.thing(start, Event), self.thing(end, Event)
        if first is None or last is None:
            return pair(BAD_HANDLE, ANY)
        if first.recorded is None or last.recorded is None:
            return pair([NO_TIME], ANY)
        if not (first.reached and last.reached):
            return pair([0, NO_TIME, TIME_REVERSED], ANY)
        if first.recorded is last.recorded:  # in a queue, times are in order of recording
            return pair([] if first.order <= last.order else [0, TIME_REVERSED], ANY)
        return pair([0, TIME_REVERSED], ANY)


def either(faults: list[int], others: list[int]) -> list[int]:
    """Faults of two kinds together: the call can succeed only if both kinds allow it."""
    allowed = [code for code in (*faults, *others) if code]
    may_succeed = (not faults or 0 in faults) and (not others or 0 in others)
    return [0, *allowed] if allowed and may_succeed else allowed


def ret(faults: Codes, then: Callable[[Any], object] | None = None) -> Answer:
    return Answer("ret", frozenset(faults) or frozenset((0,)), then=then)


def pair(faults: Codes, value: object, then: Callable[[Any], object] | None = None) -> Answer:
    return Answer("pair", frozenset(faults) or frozenset((0,)), value, then)


def bare(value: object, then: Callable[[Any], object] | None = None) -> Answer:
    return Answer("bare", frozenset((0,)), value, then)
