"""What strict mode knows of a process, and the rules by which a call is a misuse. Pure logic over an `Insight`.

Two sides: `use_*`, `end_*` and `execute` judge a call before it is made; the others note what a call has done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ascend_emulator.strict import stacks
from ascend_emulator.strict.blocks import Block, Blocks, Memory, Task
from ascend_emulator.strict.clocks import Clocks
from ascend_emulator.strict.findings import Finding
from ascend_emulator.strict.insight import Insight
from ascend_emulator.strict.stacks import Stack
from ascend_emulator.strict.things import Things

Use = tuple[Block, int, int, bool]
"""A block, first address, address behind the last, whether it is written."""


class Call:
    """One call while it is made.

    Attributes:
        path: what is called, such as `acl.rt.malloc`.
        arguments: as the function gets them; a meaning may replace them.
        uses: memory that the work it queues will read or write.
        clock: what will have ended once a wait it makes is over.
        misused: freed blocks that it uses all the same, or frees again.
        empty_outputs: output buffers without memory, which a synchronous execution allocates.
    """

    # Most calls need none of these, and every call makes one of these objects.
    clock: Mapping[int, int] = MappingProxyType({})
    misused: tuple[Block, ...] = ()
    empty_outputs: tuple[int, ...] = ()
    _stack: Stack | None = None

    def __init__(self, path: str, arguments: tuple[Any, ...]) -> None:
        self.path = path
        self.arguments = arguments
        self.uses: list[Use] = []

    @property
    def stack(self) -> Stack:
        """Where it is made; taken once, and only when something has to remember it."""
        return self._stack if self._stack is not None else self.take_stack()

    def take_stack(self) -> Stack:
        """Take the stack now, because what has to remember it may run elsewhere."""
        self._stack = stacks.capture()
        return self._stack


class State:
    """The books of one process.

    Args:
        insight: what the client knows.
        report: takes every finding.
    """

    def __init__(self, insight: Insight, report: Callable[[Finding], None]) -> None:
        self.insight = insight
        self.blocks = Blocks()
        self.things = Things()
        self.clocks = Clocks()
        self.registered: dict[int, int] = {}
        self.imported: dict[str, int] = {}
        self._report = report
        self._stream_devices: dict[int, int] = {}
        self._running: dict[tuple[str, int], dict[int, Task]] = {}
        self._in_callback: dict[int, tuple[int, int]] = {}

    def find(
        self,
        kind: str,
        text: str,
        call: Call,
        origins: Iterable[tuple[str, Stack | None]] = (),
        address: int | None = None,
        size: int | None = None,
    ) -> None:
        """Report a misuse by a call."""
        known = tuple((what, stack) for what, stack in origins if stack is not None)
        thread = threading.current_thread().name
        self._report(Finding(kind, text, call.path, thread, call.stack, known, address, size))

    # --- memory ------------------------------------------------------------------------------------

    def use(
        self,
        call: Call,
        address: int,
        size: int,
        *,
        writes: bool,
        on: int | None = None,
        ordered: bool = False,
    ) -> bool:
        """Judge a read or write of memory.

        Args:
            call: the call that does it or queues it.
            address: first byte; 0 is left to the call's own checks.
            size: bytes.
            writes: whether it is written.
            on: the stream that it is queued on, None when the host does it now.
            ordered: whether its order with queued work was judged already.

        Returns:
            Whether it is known to be memory of `acl`.
        """
        if not address or not size:
            return False
        block = self.blocks.around(address)
        if block is None:
            self._use_no_block(call, address, size, writes)
            return False
        if address + size > block.end:
            self._out_of_bounds(call, block, address, size, writes)
        call.uses.append((block, address, address + size, writes))
        if not ordered:
            self._check_order(call, block, address, address + size, writes, on)
        return True

    def use_on_host(self, call: Call, address: int, size: int) -> None:
        """Judge that host code reads memory: as `use`, and it must not be the device's."""
        block = self.blocks.around(address)
        if block is not None and block.memory is Memory.DEVICE and not self.insight.is_board():
            text = f"{call.path} reads {size} bytes at {address:#x}, which is device memory"
            self.find("device-read", text, call, (("allocated", block.stack),), address, size)
            return
        self.use(call, address, size, writes=False)

    def is_known_otherwise(self, address: int) -> bool:
        """Whether memory in no known block may be one end of an asynchronous copy all the same."""
        if self.insight.is_of_card(address):
            return True
        return any(start <= address < start + room for start, room in self.registered.items())

    def end_block(self, call: Call, address: int) -> Block | None:
        """Judge that a block is freed; the block, None when none starts there."""
        block = self.blocks.at(address)
        if block is None:
            self._end_no_block(call, address)
            return None
        if call.path != block.freed_by:
            text = (
                f"{call.path} frees {block.memory.value} at {address:#x}, which belongs to {block.freed_by}"
            )
            self.find("wrong-free", text, call, (("allocated", block.stack),), address, block.size)
        task = next((task for task in self.unended(block.uses)), None)
        if task is not None:
            text = (
                f"{call.path} frees {block.size} bytes of {block.memory.value} at {address:#x} "
                f"that {task.call} on stream {task.stream:#x} may still use"
            )
            origins = (("queued", task.stack), ("allocated", block.stack))
            self.find("free-in-flight", text, call, origins, address, block.size)
        for what, number in block.holders:
            if self.things.is_live(what, number):
                text = (
                    f"{call.path} frees {block.size} bytes of {block.memory.value} at {address:#x} "
                    f"that {what} {number} was loaded into"
                )
                self.find("free-in-flight", text, call, (("allocated", block.stack),), address, block.size)
        return block

    def use_unordered(self, call: Call, address: int, size: int) -> Block | None:
        """Judge that a call names memory without reading or writing it; the block."""
        self.use(call, address, size, writes=False, ordered=True)
        return self.blocks.around(address)

    def allocated(self, call: Call, address: int, size: int, memory: Memory, freed_by: str) -> None:
        """Note a new block."""
        self.blocks.add(Block(address, size, memory, freed_by, self.insight.device(), call.stack))

    def devices_closed(self) -> None:
        """Note that devices may have been closed: their queued work has ended, and their memory is gone."""
        is_open = self.insight.open_devices()
        gone = {block.device for block in self.blocks.live()} | set(self._stream_devices.values())
        for device in gone - is_open:
            self.blocks.take(device)
            self.clocks.learn(self.clocks.at(self.streams_of(device)))

    # --- queued work -------------------------------------------------------------------------------

    def stream(self, handle: int) -> int:
        """The stream that a handle means; 0 is the thread's default one."""
        stream = handle or self.insight.default_stream()
        if stream not in self._stream_devices:
            self._stream_devices[stream] = self.insight.device()
        return stream

    def streams_of(self, device: int) -> list[int]:
        """The streams known on a device."""
        return [stream for stream, home in list(self._stream_devices.items()) if home == device]

    def queued(self, call: Call, stream: int) -> Task:
        """Note that the call queued work that uses what it was found to use."""
        task = Task(stream, self.clocks.queue(stream), call.path, call.stack)
        for block, first, behind, writes in call.uses:
            block.uses[stream, first, behind, writes] = task
        return task

    def drop_stream(self, stream: int) -> None:
        """Note that a stream was destroyed."""
        self.clocks.drop(stream)
        self._stream_devices.pop(stream, None)

    def run_callback(self, stream: int, number: int, waited_for: bool, body: Callable[[], Any]) -> Any:
        """Run a callback that was queued on a stream.

        Args:
            stream: the stream.
            number: of the work queued there before the callback, which has ended by now.
            waited_for: whether work queued behind it starts only when it has returned.
            body: the callback.
        """
        thread = threading.get_ident()
        if waited_for:
            self._in_callback[thread] = stream, number
        try:
            return body()
        finally:
            self._in_callback.pop(thread, None)

    def unended(self, tasks: dict[Any, Task]) -> list[Task]:
        """The work that the program does not know to have ended; the rest is dropped from the dict."""
        known = self.clocks.is_known
        for key, task in list(tasks.items()):
            if known(task.stream, task.number):
                tasks.pop(key, None)
        return list(tasks.values())

    # --- executions --------------------------------------------------------------------------------

    def execute(self, call: Call, model: int, inputs: int, outputs: int, on: int | None) -> None:
        """Judge one execution of a model; `on` is None for a synchronous one."""
        loaded = self.things.ended("model", model)
        if loaded is not None:
            text = f"{call.path} runs model {model}, which was unloaded"
            origins = (("loaded", loaded.stack), ("unloaded", loaded.ended))
            self.find("use-after-free", text, call, origins, model)
        self._check_model(call, model, on)
        busy = [self._check_dataset(call, dataset) for dataset in (inputs, outputs)]
        # The buffers of a dataset that is in flight are in flight too: one misuse is one finding.
        for (address, size), writes, ordered in (
            *((buffer, False, busy[0]) for buffer in self.insight.buffers(inputs)),
            *((buffer, True, busy[1]) for buffer in self.insight.buffers(outputs)),
        ):
            self.use(call, address, size, writes=writes, on=on, ordered=ordered)

    def executing(self, task: Task, model: int, inputs: int, outputs: int) -> None:
        """Note that a task is an execution."""
        for key in (("model", model), ("dataset", inputs), ("dataset", outputs)):
            self._running.setdefault(key, {})[task.stream] = task

    def running(self, what: str, number: int) -> list[Task]:
        """Executions of a model, or with a dataset, that the program does not know to have ended."""
        tasks = self._running.get((what, number))
        if tasks is None:
            return []
        left = self.unended(tasks)
        if not left:
            self._running.pop((what, number), None)
        return left

    # --- the rules ---------------------------------------------------------------------------------

    def _use_no_block(self, call: Call, address: int, size: int, writes: bool) -> None:
        verb = "writes" if writes else "reads"
        freed = self.blocks.freed_around(address)
        if freed is not None:
            # Where the arena is gone the address may be the host's again.
            if self.insight.is_of_card(address):
                text = (
                    f"{call.path} {verb} {size} bytes at {address:#x}, "
                    f"{address - freed.start} bytes into {freed.memory.value} that was freed"
                )
                call.misused += (freed,)
                origins = (("freed", freed.freed), ("allocated", freed.stack))
                self.find("use-after-free", text, call, origins, address, size)
            return
        beside = self.blocks.beside(address, size)
        if beside is not None:
            self._out_of_bounds(call, beside, address, size, writes)

    def _out_of_bounds(self, call: Call, block: Block, address: int, size: int, writes: bool) -> None:
        text = (
            f"{call.path} {'writes' if writes else 'reads'} {size} bytes from offset {address - block.start} "
            f"of a block of {block.size} bytes of {block.memory.value} at {block.start:#x}"
        )
        self.find("out-of-bounds", text, call, (("allocated", block.stack),), address, size)

    def _check_order(
        self, call: Call, block: Block, first: int, behind: int, writes: bool, on: int | None
    ) -> None:
        for (stream, start, end, written), task in list(block.uses.items()):
            if self.clocks.is_known(task.stream, task.number):
                block.uses.pop((stream, start, end, written), None)
                continue
            apart = end <= first or behind <= start or not (writes or written)
            if apart or (on is None and self._is_behind_callback(task)):
                continue
            if on is not None and self.clocks.is_before(task.stream, task.number, on):
                continue
            doing = "write" if written else "read"
            text = (
                f"{call.path} {'writes' if writes else 'reads'} {behind - first} bytes of {block.memory.value} "
                f"at {first:#x} that {task.call} on stream {task.stream:#x} has still to {doing}, "
                "as far as the program has waited"
            )
            origins = (("queued", task.stack), ("allocated", block.stack))
            kind = "in-flight-write" if writes else "unsynchronised-read"
            self.find(kind, text, call, origins, first, behind - first)
            return

    def _is_behind_callback(self, task: Task) -> bool:
        """Whether the calling thread is in a callback that the work waits for."""
        stream, number = self._in_callback.get(threading.get_ident(), (0, 0))
        return task.stream == stream and task.number > number

    def _end_no_block(self, call: Call, address: int) -> None:
        if not address:
            return
        freed = self.blocks.freed_at(address)
        if freed is not None:
            call.misused += (freed,)
            text = f"{call.path} frees {freed.memory.value} at {address:#x} a second time"
            origins = (("freed", freed.freed), ("allocated", freed.stack))
            self.find("double-free", text, call, origins, address, freed.size)
            return
        block = self.blocks.around(address)
        if block is not None:
            text = (
                f"{call.path} frees {address:#x}, which lies {address - block.start} bytes into a block, "
                "not at its start"
            )
            self.find("wrong-free", text, call, (("allocated", block.stack),), address, block.size)

    def _check_model(self, call: Call, model: int, on: int | None) -> None:
        for task in self.running("model", model):
            if on is None or not self.clocks.is_before(task.stream, task.number, on):
                where = "at once" if on is None else f"on stream {on:#x}"
                text = (
                    f"{call.path} runs model {model} {where} while an execution of it "
                    f"on stream {task.stream:#x} may still run"
                )
                self.find("model-on-two-streams", text, call, (("queued", task.stack),), model)
                return

    def _check_dataset(self, call: Call, dataset: int) -> bool:
        for task in self.running("dataset", dataset):
            text = (
                f"{call.path} uses dataset {dataset:#x}, which an execution on stream {task.stream:#x} uses "
                "and nothing has waited for since"
            )
            self.find("dataset-in-flight", text, call, (("queued", task.stack),), dataset)
            return True
        return False


def leaks(state: State, call: Call) -> None:
    """Report what is alive when acl is finalised: one finding per place in the program."""
    places: dict[tuple[str, Stack], list[tuple[int, int]]] = {}
    for block in state.blocks.live():
        places.setdefault((f"block of {block.memory.value}", block.stack), []).append(
            (block.start, block.size)
        )
    for thing in state.things.live():
        places.setdefault((thing.what, thing.stack), []).append((thing.number, 0))
    for (what, stack), found in places.items():
        number, size = found[0][0], sum(bytes_ for _, bytes_ in found)
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        text = f"{call.path} leaves alive: {what} {number:#x}{more}" + (f", {size} bytes" if size else "")
        state.find("leak", text, call, (("made", stack),), number, size or None)
    for device in sorted(state.insight.set_devices()):
        state.find("leak", f"{call.path} leaves device {device} set", call)
