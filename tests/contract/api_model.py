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

_BAD_HANDLE = (INVALID_PARAM, RT_PARAM, NO_CONTEXT, STREAM_CONTEXT, 107017, REFUSED)

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


class ApiModel:
    """The state of one process.

    Args:
        weights: w [8, 4] and b [4] of both models, which compute relu(x @ w) + b.
    """

    def __init__(self, weights: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
        self.weights = weights
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

    def _get(self, handle: int, kind: type) -> Any:
        thing = self.things.get(handle)
        return thing if isinstance(thing, kind) else None

    def _add(self, thing: object) -> Callable[[int], None]:
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

    def _stream(self, thread: int, handle: int) -> tuple[Stream | None, list[int]]:
        """A stream that work is queued on, or why not."""
        context = self.context(thread)
        if context is None:
            return None, [NO_CONTEXT, *(() if not handle or self._get(handle, Stream) else _BAD_HANDLE)]
        stream = self.default[context] if not handle else self._get(handle, Stream)
        if stream is None:
            return None, list(_BAD_HANDLE)
        return (stream, []) if stream.context is context else (None, [STREAM_CONTEXT])

    def _need_context(self, thread: int) -> list[int]:
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
        return _ret([REPEAT_INITIALIZE] if repeated else [])

    def finalize(self, thread: int) -> Answer:
        faults = [REPEAT_FINALIZE] if self.finalized else []
        self.references, self.finalized = 0, True
        return _ret(faults)

    # --- devices and contexts (§5)

    def rt_set_device(self, thread: int, device: int) -> Answer:
        def set_device(_: object) -> None:
            primary = self.primary[device]
            if primary is None:
                primary = self.primary[device] = self._new_context(device, primary=True)
            self.users[device] += 1
            self.current[thread] = primary

        return _ret([] if 0 <= device < DEVICES else [RT_DEVICE], set_device)

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
            return _ret([RT_DEVICE])
        return _ret([] if self.users[device] else [NOT_SET], reset)

    def rt_create_context(self, thread: int, device: int) -> Answer:
        def create(handle: int) -> None:
            context = self._new_context(device, primary=False)
            context.handle = handle
            self._add(context)(handle)
            self.current[thread] = context

        return _pair([] if 0 <= device < DEVICES else [RT_DEVICE], FRESH, create)

    def rt_set_context(self, thread: int, handle: int) -> Answer:
        context = self._get(handle, Context)

        def bind(_: object) -> None:
            self.current[thread] = context

        return _ret([INVALID_PARAM] if not handle else () if context else _BAD_HANDLE, bind)

    def rt_get_context(self, thread: int) -> Answer:
        context = self.context(thread)

        def name(handle: int) -> None:
            assert context is not None
            if not context.handle:
                assert handle not in self.given
                context.handle = handle
                self._add(context)(handle)

        return _pair(self._need_context(thread), context.handle or ANY if context else ANY, name)

    def rt_destroy_context(self, thread: int, handle: int) -> Answer:
        context = self._get(handle, Context)
        if context is None:
            return _ret(_BAD_HANDLE if handle else [INVALID_PARAM])
        return _ret([NO_CONTEXT] if context.primary else [], lambda _: self._end(context))

    def rt_get_device(self, thread: int) -> Answer:
        context = self.context(thread)
        return _pair(self._need_context(thread), context.device if context else ANY)

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
        add = self._add(Stream(context)) if context else None
        return _pair(self._need_context(thread), FRESH, add)

    def rt_destroy_stream(self, thread: int, handle: int) -> Answer:
        stream = self._get(handle, Stream)

        def destroy(_: object) -> None:
            self.finish(stream)
            del self.things[handle]

        if stream is None:
            # One whose context has gone may be destroyed once more by programs that clean up late (§20).
            return _ret([0, *_BAD_HANDLE] if handle in self.given else _BAD_HANDLE)
        return _ret(self._need_context(thread), destroy)

    def rt_synchronize_stream(self, thread: int, handle: int) -> Answer:
        context = self.context(thread)
        stream = self.default[context] if context and not handle else self._get(handle, Stream)
        faults = self._need_context(thread) + ([] if stream or not handle else [*_BAD_HANDLE])
        return _ret(faults, lambda _: self.finish(stream))

    def rt_stream_query(self, thread: int, handle: int) -> Answer:
        context = self.context(thread)
        stream = self.default[context] if context and not handle else self._get(handle, Stream)
        faults = self._need_context(thread) + ([] if stream or not handle else [*_BAD_HANDLE])
        return _pair(faults, ANY)

    def rt_synchronize_device(self, thread: int) -> Answer:
        context = self.context(thread)

        def finish(_: object) -> None:
            assert context is not None
            for stream in (*self.default.values(), *self._streams()):
                if stream.context.device == context.device:
                    self.finish(stream)

        return _ret(self._need_context(thread), finish)

    def rt_create_event(self, thread: int) -> Answer:
        context = self.context(thread)
        add = self._add(Event(context.device)) if context else None
        return _pair(self._need_context(thread), FRESH, add)

    def rt_destroy_event(self, thread: int, handle: int) -> Answer:
        event = self._get(handle, Event)
        if event is None:
            return _ret([0, *_BAD_HANDLE] if handle in self.given else _BAD_HANDLE)
        return _ret([], lambda _: self.things.pop(handle))

    def rt_record_event(self, thread: int, handle: int, stream_handle: int) -> Answer:
        event = self._get(handle, Event)
        stream, faults = self._stream(thread, stream_handle)
        if event is None:
            faults += [*_BAD_HANDLE]
        elif stream is not None and stream.context.device != event.device:
            faults += [REFUSED]

        def record(_: object) -> None:
            self.recordings += 1
            event.recorded, event.reached, event.order = stream, False, self.recordings

        return _ret(faults, record)

    def rt_stream_wait_event(self, thread: int, stream_handle: int, handle: int) -> Answer:
        event = self._get(handle, Event)
        _, faults = self._stream(thread, stream_handle)
        if event is None:
            faults += [*_BAD_HANDLE]
        elif event.recorded is None:
            faults += [RT_PARAM]
        return _ret(faults)

    def rt_query_event_status(self, thread: int, handle: int) -> Answer:
        event = self._get(handle, Event)
        if event is None:
            return _pair(_BAD_HANDLE, ANY)
        return _pair([], 0 if event.recorded is None else 1 if event.reached else ANY)

    def rt_synchronize_event(self, thread: int, handle: int) -> Answer:
        event = self._get(handle, Event)

        def reach(_: object) -> None:
            event.reached = event.recorded is not None

        return _ret([] if event else _BAD_HANDLE, reach)

    def rt_event_elapsed_time(self, thread: int, start: int, end: int) -> Answer:
        first, last = self._get(start, Event), self._get(end, Event)
        if first is None or last is None:
            return _pair(_BAD_HANDLE, ANY)
        if first.recorded is None or last.recorded is None:
            return _pair([NO_TIME], ANY)
        if not (first.reached and last.reached):
            return _pair([0, NO_TIME, TIME_REVERSED], ANY)
        if first.recorded is last.recorded:  # in a queue, times are in order of recording
            return _pair([] if first.order <= last.order else [0, TIME_REVERSED], ANY)
        return _pair([0, TIME_REVERSED], ANY)

    # --- memory (§8)

    def rt_malloc(self, thread: int, size: int, policy: int) -> Answer:
        context = self.context(thread)
        faults = self._need_context(thread) + ([] if size else [INVALID_PARAM])
        if size > 1 << 40:
            faults += [207001, 207018, INVALID_PARAM]
        return _pair(faults, FRESH, self._new_block(size, context.device if context else None))

    def rt_malloc_host(self, thread: int, size: int) -> Answer:
        faults = self._need_context(thread) + ([] if size else [INVALID_PARAM])
        if size > 1 << 45:
            faults += [207001, INVALID_PARAM]
        return _pair(faults, FRESH, self._new_block(size, None))

    def _new_block(self, size: int, device: int | None) -> Callable[[int], None]:
        def add(address: int) -> None:
            assert address % 64 == 0, hex(address)
            for block in self.blocks.values():
                apart = address + size <= block.address or block.address + len(block.content) <= address
                assert apart, (hex(address), hex(block.address))
            self.blocks[address] = Block(address, device, np.full(size, UNKNOWN, np.int16))

        return add

    def rt_free(self, thread: int, address: int) -> Answer:
        block = self.blocks.get(address)
        if block is None or block.device is None:
            return _ret(
                [INVALID_PARAM] if not address else [0, REFUSED] if address in self.given else [REFUSED]
            )
        return _ret([], lambda _: self.blocks.pop(address))

    def rt_free_host(self, thread: int, address: int) -> Answer:
        block = self.blocks.get(address)
        if block is None or block.device is not None:
            return _ret([REFUSED] if address else [INVALID_PARAM])
        return _ret([], lambda _: self.blocks.pop(address))

    def _range(self, address: int, size: int) -> tuple[Block | None, list[int]]:
        block = self.block_with(address, size) if address else None
        return block, [] if block else [REFUSED] if address else [INVALID_PARAM]

    def rt_memset(self, thread: int, address: int, room: int, value: int, size: int) -> Answer:
        if not size:
            return _ret([])
        faults = self._need_context(thread) + ([] if size <= room else [REFUSED])
        return self._set(address, value, size, faults, None)

    def rt_memset_async(
        self, thread: int, address: int, room: int, value: int, size: int, handle: int
    ) -> Answer:
        if not size:
            return _ret([])
        stream, faults = self._stream(thread, handle)
        return self._set(address, value, size, faults + ([] if size <= room else [RT_PARAM]), stream)

    def _set(self, address: int, value: int, size: int, faults: list[int], user: Stream | None) -> Answer:
        block, missing = self._range(address, size)

        def store(_: object) -> None:
            assert block is not None
            start = address - block.address
            block.content[start : start + size] = value & 0xFF
            block.user = user

        return _ret(faults + missing, store)

    def rt_memcpy(self, thread: int, target: int, room: int, source: int, size: int, kind: int) -> Answer:
        if not size:
            return _ret([])
        return self._copy(target, room, source, size, kind, self._need_context(thread), None)

    def rt_memcpy_async(
        self, thread: int, target: int, room: int, source: int, size: int, kind: int, handle: int
    ) -> Answer:
        if not size:
            return _ret([])
        stream, faults = self._stream(thread, handle)
        blocks = self.block_with(target, size), self.block_with(source, size)
        if all(block is not None and block.device is None for block in blocks):
            faults = [*faults, NOT_SUPPORTED]
        return self._copy(target, room, source, size, kind, faults, stream)

    def _copy(
        self,
        target: int,
        room: int,
        source: int,
        size: int,
        kind: int,
        faults: list[int],
        user: Stream | None,
    ) -> Answer:
        to, no_target = self._range(target, size)
        start, no_source = self._range(source, size)
        faults = [*faults, *no_target, *no_source]
        if not 0 <= kind <= 5:
            faults.append(INVALID_PARAM)
        if size > room:
            faults.append(RT_PARAM)

        def move(_: object) -> None:
            assert to is not None
            assert start is not None
            first, second = target - to.address, source - start.address
            to.content[first : first + size] = start.content[second : second + size].copy()
            to.user = start.user = user

        return _ret(faults, move)

    # --- data buffers and datasets (§10)

    def create_data_buffer(self, thread: int, address: int, size: int) -> Answer:
        return _bare(FRESH, self._add(Buffer(address, size)))

    def get_data_buffer_addr(self, thread: int, handle: int) -> Answer:
        buffer = self._get(handle, Buffer)
        return _bare(buffer.address if buffer else 0)

    def get_data_buffer_size_v2(self, thread: int, handle: int) -> Answer:
        buffer = self._get(handle, Buffer)
        return _bare(buffer.size if buffer else 0)

    def update_data_buffer(self, thread: int, handle: int, address: int, size: int) -> Answer:
        buffer = self._get(handle, Buffer)

        def update(_: object) -> None:
            buffer.address, buffer.size = address, size

        return _ret([] if buffer else [INVALID_PARAM], update)

    def destroy_data_buffer(self, thread: int, handle: int) -> Answer:
        known = self._get(handle, Buffer) is not None
        return _ret([] if known else [INVALID_PARAM], lambda _: self.things.pop(handle))

    def mdl_create_dataset(self, thread: int) -> Answer:
        return _bare(FRESH, self._add(Dataset()))

    def mdl_add_dataset_buffer(self, thread: int, handle: int, buffer: int) -> Answer:
        dataset = self._get(handle, Dataset)
        known = dataset is not None and self._get(buffer, Buffer) is not None
        return _pair([] if known else [INVALID_PARAM], handle, lambda _: dataset.buffers.append(buffer))

    def mdl_get_dataset_num_buffers(self, thread: int, handle: int) -> Answer:
        dataset = self._get(handle, Dataset)
        return _bare(len(dataset.buffers) if dataset else 0)

    def mdl_get_dataset_buffer(self, thread: int, handle: int, index: int) -> Answer:
        dataset = self._get(handle, Dataset)
        return _bare(dataset.buffers[index] if dataset and 0 <= index < len(dataset.buffers) else 0)

    def mdl_destroy_dataset(self, thread: int, handle: int) -> Answer:
        known = self._get(handle, Dataset) is not None
        return _ret([] if known else [INVALID_PARAM], lambda _: self.things.pop(handle))

    # --- models (§9, §11, §12)

    def mdl_load_from_file(self, thread: int, path: str) -> Answer:
        context = self.context(thread)
        faults = self._need_context(thread)
        if not self.references:
            faults.append(GE_NOT_INIT)
        if not path.endswith(".om"):
            faults.append(GE_PATH)

        def load(model_id: int) -> None:
            assert context is not None
            assert model_id > max(self.models_given, default=0), "ids increase"
            self.models_given.add(model_id)
            self.models[model_id] = LoadedModel(context.device, path.endswith("gears.om"))

        return _pair(faults, ANY, load)

    def mdl_unload(self, thread: int, model_id: int) -> Answer:
        if model_id not in self.models:
            return _ret([0, GE_MODEL] if model_id in self.models_given else [GE_MODEL])
        return _ret([], lambda _: self.models.pop(model_id))

    def mdl_create_desc(self, thread: int) -> Answer:
        return _bare(FRESH, self._add(Desc()))

    def mdl_get_desc(self, thread: int, handle: int, model_id: int) -> Answer:
        desc, model = self._get(handle, Desc), self.models.get(model_id)
        faults = [] if desc else [INVALID_PARAM]
        if model is None:
            # Of a model whose device was reset nothing says whether its description is still known.
            faults += [GE_MODEL, *([0] if model_id in self.models_given else [])]

        def fill(_: object) -> None:
            desc.gears = model.gears if model else None

        return _ret(faults, fill)

    def mdl_get_num_inputs(self, thread: int, handle: int) -> Answer:
        desc = self._get(handle, Desc)
        return _bare(0 if desc is None else ANY if desc.gears is None else 2 if desc.gears else 1)

    def mdl_get_input_size_by_index(self, thread: int, handle: int, index: int) -> Answer:
        desc = self._get(handle, Desc)
        if desc is None or desc.gears is None:
            return _bare(0 if desc is None else ANY)
        sizes = [max(GEARS) * COLUMNS * FLOAT, 4] if desc.gears else [4 * COLUMNS * FLOAT]
        return _bare(sizes[index] if index < len(sizes) else 0)

    def mdl_destroy_desc(self, thread: int, handle: int) -> Answer:
        known = self._get(handle, Desc) is not None
        return _ret([] if known else [INVALID_PARAM], lambda _: self.things.pop(handle))

    def mdl_set_dynamic_batch_size(
        self, thread: int, model_id: int, handle: int, index: int, batch: int
    ) -> Answer:
        model, dataset = self.models.get(model_id), self._get(handle, Dataset)
        faults = [] if batch else [INVALID_PARAM]
        if model is None:
            faults += [GE_MODEL, *([GE_BATCH, 0] if model_id in self.models_given else [])]
        elif not model.gears or batch not in GEARS:
            faults.append(GE_BATCH)
        buffer = None
        if dataset is not None and 0 <= index < len(dataset.buffers):
            buffer = self._get(dataset.buffers[index], Buffer)
        if buffer is None or not buffer.address:
            faults.append(INVALID_PARAM)
        elif buffer.size < 4:
            faults.append(GE_LENGTH)
        block = self.block_with(buffer.address, min(buffer.size, 8)) if buffer else None
        if buffer is not None and buffer.address and (block is None or block.device is None):
            faults += [0, REFUSED]  # on hardware the copy of the gear fails, or overwrites something

        def write(_: object) -> None:
            if block is not None and buffer is not None:
                width = 8 if buffer.size >= 8 else 4
                start = buffer.address - block.address
                block.content[start : start + width] = np.frombuffer(
                    batch.to_bytes(width, "little"), np.uint8
                )

        return _ret(faults, write)

    def mdl_execute(self, thread: int, model_id: int, inputs: int, outputs: int) -> Answer:
        return self._execute(thread, model_id, inputs, outputs, self._need_context(thread), None)

    def mdl_execute_async(self, thread: int, model_id: int, inputs: int, outputs: int, handle: int) -> Answer:
        stream, faults = self._stream(thread, handle)
        return self._execute(thread, model_id, inputs, outputs, faults, stream)

    def _execute(
        self, thread: int, model_id: int, inputs: int, outputs: int, faults: list[int], user: Stream | None
    ) -> Answer:
        model, context = self.models.get(model_id), self.context(thread)
        sources, targets = self.buffers_of(inputs), self.buffers_of(outputs)
        if sources is None or targets is None:
            faults = [*faults, REFUSED]
        if model is None:
            faults = [*faults, GE_MODEL, *([MODEL_CONTEXT] if model_id in self.models_given else [])]
        elif context is not None and model.device != context.device:
            faults = [*faults, MODEL_CONTEXT]
        if model is None or sources is None or targets is None:
            return _ret(faults)
        if len(sources) != 1 + model.gears or len(targets) != 1:
            faults = [*faults, GE_PARAM]
        elif not model.gears and sources[0].size + INPUT_SLACK < 4 * COLUMNS * FLOAT:
            faults = [*faults, GE_PARAM, 545000]
        if not all(buffer.address for buffer in (*sources, *targets)):
            faults = [*faults, INVALID_PARAM]
        return _ret(faults, lambda _: self._compute(model, sources, targets[0], user))

    def buffers_of(self, handle: int) -> list[Buffer] | None:
        """The buffers of a dataset; None if it or one of them is gone."""
        dataset = self._get(handle, Dataset)
        if dataset is None:
            return None
        found = [self._get(buffer, Buffer) for buffer in dataset.buffers]
        return None if None in found else found

    def _bytes(self, buffer: Buffer, size: int, user: Stream | None) -> bytes | None:
        """What a buffer holds; None if a byte of it is unknown."""
        block = self.block_with(buffer.address, size)
        assert block is not None
        block.user = user
        start = buffer.address - block.address
        held = block.content[start : start + size]
        return None if (held == UNKNOWN).any() else held.astype(np.uint8).tobytes()

    def _compute(
        self, model: LoadedModel, sources: list[Buffer], target: Buffer, user: Stream | None
    ) -> None:
        rows: int | None = 4
        if model.gears:
            gear = self._bytes(sources[1], min(sources[1].size, 8), user)
            rows = None if gear is None else int.from_bytes(gear, "little")
            rows = rows if rows in GEARS else None
        data = self._bytes(sources[0], (rows or max(GEARS)) * COLUMNS * FLOAT, user)
        block = self.block_with(target.address, target.size)
        assert block is not None
        block.user, block.computed = user, None
        start = target.address - block.address
        block.content[start : start + target.size] = UNKNOWN
        if rows is not None and data is not None:
            x = np.frombuffer(data, np.float32).reshape(rows, COLUMNS)
            if np.isfinite(x).all() and np.abs(x).max() < 1e6:
                w, b = self.weights
                block.computed = start, (np.maximum(x @ w, 0) + b).reshape(-1)[: target.size // FLOAT]


def _ret(faults: Codes, then: Callable[[Any], object] | None = None) -> Answer:
    return Answer("ret", frozenset(faults) or frozenset((0,)), then=then)


def _pair(faults: Codes, value: object, then: Callable[[Any], object] | None = None) -> Answer:
    return Answer("pair", frozenset(faults) or frozenset((0,)), value, then)


def _bare(value: object, then: Callable[[Any], object] | None = None) -> Answer:
    return Answer("bare", frozenset((0,)), value, then)
