"""Random calls of `acl`, legal and illegal, by three threads on two devices, against a model of what is documented."""

from __future__ import annotations

import ctypes
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import acl
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.contract import api_model
from tests.contract.api_model import (
    DEVICES,
    GEARS,
    ApiModel,
    Block,
    Buffer,
    Context,
    Dataset,
    Desc,
    Event,
    Stream,
)
from tests.contract.cards import held_cards

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("emulator")]

THREADS = 3
D2H = 2
LIMIT_S = 60
MADE_UP = (0, 1, 64, 0x7F00_1234_5678, (1 << 64) - 1)

CHOICES = st.tuples(st.integers(0, 15), st.integers(0, 63))
"""Whether a live handle of the right kind is taken (below 12) or something else, and which."""

SIZES = st.sampled_from((0, 1, 4, 31, 64, 128, 256, 300, 1024, 1 << 63))
SMALL = st.integers(0, 300)
KINDS = st.sampled_from((1, 2, 3, 4, 0, 5, -1, 6, 99))
DEVICE_IDS = st.sampled_from((0, 0, 0, 1, 1, -1, 4, 99))
WHO = st.integers(0, THREADS - 1)


class Worker:
    """A thread that makes calls one at a time."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def do(self, work: Callable[[], Any]) -> Any:
        """What the work gives in this thread."""
        self._orders.put(work)
        result = self._results.get(timeout=LIMIT_S)
        if isinstance(result, BaseException):
            raise result
        return result

    def end(self) -> None:
        self._orders.put(None)
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()

    def _run(self) -> None:
        while (work := self._orders.get()) is not None:
            try:
                self._results.put(work())
            except BaseException as error:  # noqa: BLE001 - `do` raises it
                self._results.put(error)


class ApiMachine(RuleBasedStateMachine):
    """Every rule is one call, or a few that belong together; each answer is compared with the model's."""

    def __init__(self, om_files: dict[str, Path]) -> None:
        super().__init__()
        weights = np.load(om_files["weights"])
        self.model = ApiModel((weights["w"], weights["b"]))
        self.paths = [
            str(om_files["gears"]),
            str(om_files["static"]),
            str(om_files["weights"].parent / "none"),
        ]
        self.workers = [Worker() for _ in range(THREADS)]
        self.sets: list[tuple[int, int]] = []
        acl.finalize()
        assert self.call(0, "init")

    # --- how calls are made

    def call(self, who: int, name: str, *arguments: Any) -> bool:
        """Make a call in a thread and compare it with the model; gives whether it succeeded."""
        answer = getattr(self.model, name.replace(".", "_"))(who, *arguments)
        function: Any = acl
        for part in name.split("."):
            function = getattr(function, part)
        result = self.workers[who].do(lambda: function(*arguments))
        known = {*self.model.things, *self.model.blocks}
        try:
            return bool(answer.settle(result, known))
        except AssertionError as error:
            raise AssertionError(f"acl.{name}{arguments} in thread {who} gave {result}") from error

    def made(self) -> int:
        """The handle or address that was made last."""
        return [*self.model.things][-1]

    def handle(self, kind: type, choice: tuple[int, int]) -> int:
        """A handle of a kind, or something that is none."""
        mode, index = choice
        alive = self.model.handles(kind)
        others = [handle for handle in self.model.things if handle not in alive]
        dead = sorted(self.model.given - set(self.model.things))
        found = alive if mode < 12 else others if mode == 12 else dead if mode == 13 else MADE_UP
        return found[index % len(found)] if found else 0

    def block(self, choice: tuple[int, int]) -> Block | None:
        blocks = list(self.model.blocks.values())
        return blocks[choice[1] % len(blocks)] if blocks else None

    def address(self, choice: tuple[int, int], offset: int) -> int:
        """An address in a block, or one that is none."""
        block = self.block(choice)
        if choice[0] == 15 or block is None:
            return MADE_UP[choice[1] % len(MADE_UP)]
        return block.address + offset % len(block.content)

    def may_use(self, who: int, stream: int | None, *ranges: tuple[int, int]) -> bool:
        """Whether memory may be used now: not by two streams at once, not before it was read, not from elsewhere."""
        context = self.model.context(who)
        user = None
        if stream is not None and context is not None:
            user = self.model.things.get(stream) if stream else self.model.default[context]
        for address, size in ranges:
            block = self.model.block_with(address, size)
            if block is None:
                if stream is not None and address:
                    return False  # the queued work would fail, and with it all that waits for the stream
                continue
            if context is not None and block.device not in (None, context.device):
                return False
            if block.computed is not None or block.user not in (None, user):
                return False
        return True

    # --- initialisation, devices, contexts

    @rule(who=WHO)
    def initialise_again(self, who: int) -> None:
        self.call(who, "init")

    @rule(who=WHO)
    def finalize_and_begin_again(self, who: int) -> None:
        if not self.model.models:
            self.call(who, "finalize")
            self.call(who, "finalize")
            for path in self.paths:
                self.call(who, "mdl.load_from_file", path)
            self.call(who, "init")

    @rule(who=WHO, device=DEVICE_IDS)
    def set_device(self, who: int, device: int) -> None:
        self.call(who, "rt.set_device", device)

    @rule(who=WHO, device=DEVICE_IDS, sure=st.integers(0, 2))
    def reset_device(self, who: int, device: int, sure: int) -> None:
        if sure == 0:
            self.call(who, "rt.reset_device", device)

    @rule(who=WHO, device=DEVICE_IDS)
    def create_context(self, who: int, device: int) -> None:
        if len(self.model.handles(Context)) < 8:
            self.call(who, "rt.create_context", device)

    @rule(who=WHO)
    def get_context(self, who: int) -> None:
        self.call(who, "rt.get_context")
        self.call(who, "rt.get_device")

    @rule(who=WHO, choice=CHOICES)
    def set_context(self, who: int, choice: tuple[int, int]) -> None:
        self.call(who, "rt.set_context", self.handle(Context, choice))

    @rule(who=WHO, choice=CHOICES)
    def destroy_context(self, who: int, choice: tuple[int, int]) -> None:
        self.call(who, "rt.destroy_context", self.handle(Context, choice))

    # --- streams, events, callbacks

    @rule(who=WHO)
    def create_stream(self, who: int) -> None:
        self.call(who, "rt.create_stream")

    @rule(
        who=WHO,
        choice=CHOICES,
        name=st.sampled_from(("synchronize_stream", "stream_query", "destroy_stream")),
    )
    def use_stream(self, who: int, choice: tuple[int, int], name: str) -> None:
        handle = self.handle(Stream, choice)
        if handle or name != "destroy_stream":
            self.call(who, f"rt.{name}", handle)

    @rule(who=WHO)
    def synchronize_device(self, who: int) -> None:
        if self.call(who, "rt.synchronize_device"):
            self.read_blocks(who)

    @rule(who=WHO)
    def create_event(self, who: int) -> None:
        self.call(who, "rt.create_event")

    @rule(who=WHO, choice=CHOICES, other=CHOICES, name=st.sampled_from(("record_event", "stream_wait_event")))
    def use_event_on_stream(
        self, who: int, choice: tuple[int, int], other: tuple[int, int], name: str
    ) -> None:
        event, stream = self.handle(Event, choice), self.handle(Stream, other)
        self.call(who, f"rt.{name}", *((event, stream) if name == "record_event" else (stream, event)))

    @rule(
        who=WHO,
        choice=CHOICES,
        name=st.sampled_from(("query_event_status", "synchronize_event", "destroy_event")),
    )
    def use_event(self, who: int, choice: tuple[int, int], name: str) -> None:
        self.call(who, f"rt.{name}", self.handle(Event, choice))

    @rule(who=WHO, choice=CHOICES, other=CHOICES)
    def event_elapsed_time(self, who: int, choice: tuple[int, int], other: tuple[int, int]) -> None:
        self.call(who, "rt.event_elapsed_time", self.handle(Event, choice), self.handle(Event, other))

    @rule(who=WHO, choice=CHOICES, value=SMALL)
    def callbacks(self, who: int, choice: tuple[int, int], value: int) -> None:
        """A thread serves a stream once; its functions are called with their argument (facts §7)."""
        stream = self.model.things.get(self.handle(Stream, choice))
        if not isinstance(stream, Stream) or stream.context is not self.model.context(who):
            return
        handle, worker = self.handle(Stream, choice), self.workers[who]
        me, seen = worker.thread.ident, []
        codes = worker.do(
            lambda: [
                acl.rt.launch_callback(seen.append, [value], 1, handle) in (107011, 107015),
                acl.rt.process_report(1),
                acl.rt.subscribe_report(me, handle),
                acl.rt.subscribe_report(me, handle),
                acl.rt.process_report(0),
                acl.rt.launch_callback(seen.append, [value], 2, handle),
                acl.rt.launch_callback(seen.append, [value], 1, handle),
                acl.rt.process_report(1000 * LIMIT_S),
                acl.rt.process_report(1),
                acl.rt.unsubscribe_report(me, handle),
                acl.rt.unsubscribe_report(me, handle) != 0,
            ]
        )
        assert codes == [True, 107012, 0, 107011, 100000, 100000, 0, 0, 507012, 0, True]
        assert seen == [[value]]

    # --- memory

    @rule(who=WHO, size=SIZES, host=st.booleans())
    def allocate(self, who: int, size: int, host: bool) -> None:
        if len(self.model.blocks) < 12:
            self.call(who, "rt.malloc_host", size) if host else self.call(who, "rt.malloc", size, 0)

    @rule(who=WHO, choice=CHOICES, name=st.sampled_from(("free", "free_host")))
    def free(self, who: int, choice: tuple[int, int], name: str) -> None:
        address = self.address(choice, 0)
        block = self.model.blocks.get(address)
        if block is None or (block.user is None and self.may_use(who, None, (address, 1))):
            self.call(who, f"rt.{name}", address)

    @rule(
        who=WHO,
        choice=CHOICES,
        offset=SMALL,
        size=SMALL,
        room=SMALL,
        value=SMALL,
        stream=CHOICES,
        now=st.booleans(),
    )
    def fill(
        self,
        who: int,
        choice: tuple[int, int],
        offset: int,
        size: int,
        room: int,
        value: int,
        stream: tuple[int, int],
        now: bool,
    ) -> None:
        address, queue_handle = self.address(choice, offset), self.handle(Stream, stream)
        block = self.model.block_with(address, 1)
        if block is not None and choice[0] < 12:
            size = min(size, block.address + len(block.content) - address)
        room = max(room, size) if choice[1] % 8 else room
        if not self.may_use(who, None if now else queue_handle, (address, size)):
            return
        if now:
            self.call(who, "rt.memset", address, room, value, size)
        else:
            self.call(who, "rt.memset_async", address, room, value, size, queue_handle)

    @rule(
        who=WHO,
        where=CHOICES,
        source=CHOICES,
        offset=SMALL,
        size=SMALL,
        room=SMALL,
        kind=KINDS,
        stream=CHOICES,
        now=st.booleans(),
    )
    def copy(
        self,
        who: int,
        where: tuple[int, int],
        source: tuple[int, int],
        offset: int,
        size: int,
        room: int,
        kind: int,
        stream: tuple[int, int],
        now: bool,
    ) -> None:
        to, start, queue_handle = (
            self.address(where, offset),
            self.address(source, 0),
            self.handle(Stream, stream),
        )
        for address in (to, start):
            block = self.model.block_with(address, 1)
            if block is not None and where[0] < 12:
                size = min(size, block.address + len(block.content) - address)
        room = max(room, size) if where[1] % 8 else room
        overlap = abs(to - start) < size
        if overlap or not self.may_use(who, None if now else queue_handle, (to, size), (start, size)):
            return
        if now:
            self.call(who, "rt.memcpy", to, room, start, size, kind)
        elif kind != 5:  # through a buffer: which memory that takes is said nowhere
            self.call(who, "rt.memcpy_async", to, room, start, size, kind, queue_handle)

    @rule(who=WHO, choice=CHOICES)
    def read(self, who: int, choice: tuple[int, int]) -> None:
        block = self.block(choice)
        if block is not None:
            self.compare(who, block)

    def read_blocks(self, who: int) -> None:
        for block in self.model.blocks.values():
            self.compare(who, block)

    def compare(self, who: int, block: Block) -> None:
        """Read a block that nothing works on, if this thread may, and let the model know the rest of it."""
        context, size = self.model.context(who), len(block.content)
        if block.user is not None or context is None or block.device not in (None, context.device):
            return
        found = np.zeros(size, np.uint8)
        if block.device is None:
            found[:] = np.frombuffer(ctypes.string_at(block.address, size), np.uint8)
        else:
            arguments = found.ctypes.data, size, block.address, size, D2H
            assert self.workers[who].do(lambda: acl.rt.memcpy(*arguments)) == 0
        known = block.content >= 0
        assert (found[known] == block.content[known]).all(), "memory holds something else"
        if block.computed is not None:
            start, numbers = block.computed
            seen = found[start : start + numbers.nbytes].tobytes()
            np.testing.assert_allclose(np.frombuffer(seen, np.float32), numbers, rtol=1e-4, atol=1e-4)
        block.content[:] = found
        block.computed = None

    # --- buffers, datasets, models

    @rule(who=WHO, choice=CHOICES, offset=SMALL, size=SMALL)
    def create_buffer(self, who: int, choice: tuple[int, int], offset: int, size: int) -> None:
        self.call(who, "create_data_buffer", self.address(choice, offset), size)

    @rule(who=WHO, choice=CHOICES, other=CHOICES, size=SMALL)
    def use_buffer(self, who: int, choice: tuple[int, int], other: tuple[int, int], size: int) -> None:
        buffer = self.handle(Buffer, choice)
        self.call(who, "update_data_buffer", buffer, self.address(other, 0), size)
        self.call(who, "get_data_buffer_addr", buffer)
        self.call(who, "get_data_buffer_size_v2", buffer)

    @rule(
        who=WHO,
        choice=CHOICES,
        name=st.sampled_from(("destroy_data_buffer", "mdl.destroy_dataset", "mdl.destroy_desc")),
    )
    def destroy(self, who: int, choice: tuple[int, int], name: str) -> None:
        kind = {"destroy_data_buffer": Buffer, "mdl.destroy_dataset": Dataset, "mdl.destroy_desc": Desc}[name]
        handle = self.handle(kind, choice)
        if self.call(who, name, handle):
            self.call(who, name, handle)

    @rule(who=WHO, choice=CHOICES, other=CHOICES, index=st.integers(0, 3))
    def use_dataset(self, who: int, choice: tuple[int, int], other: tuple[int, int], index: int) -> None:
        dataset = self.handle(Dataset, choice)
        self.call(who, "mdl.add_dataset_buffer", dataset, self.handle(Buffer, other))
        self.call(who, "mdl.get_dataset_num_buffers", dataset)
        self.call(who, "mdl.get_dataset_buffer", dataset, index)

    @rule(who=WHO)
    def create_dataset(self, who: int) -> None:
        self.call(who, "mdl.create_dataset")

    @rule(who=WHO, gears=st.booleans(), short=st.integers(0, 9))
    def make_datasets(self, who: int, gears: bool, short: int) -> None:
        """Datasets that fit a model, or nearly (`short` 0)."""
        if self.model.context(who) is None or len(self.model.blocks) > 12:
            return
        made = []
        rows = max(GEARS) if gears else 4
        for sizes in ([rows * 32, *([8] if gears else [])], [rows * 16]):
            self.call(who, "mdl.create_dataset")
            made.append(self.made())
            for size in sizes:
                assert self.call(who, "rt.malloc", size, 2)
                address = [*self.model.blocks][-1]
                self.call(who, "rt.memset", address, size, 0, size)
                self.call(who, "create_data_buffer", address, size if short else size // 4)
                self.call(who, "mdl.add_dataset_buffer", made[-1], self.made())
        self.sets.append((made[0], made[1]))

    @rule(who=WHO, choice=st.integers(0, 2))
    def load(self, who: int, choice: int) -> None:
        if len(self.model.models) < 4:
            self.call(who, "mdl.load_from_file", self.paths[choice])

    def model_id(self, choice: tuple[int, int]) -> int:
        alive = [*self.model.models]
        if choice[0] < 14 and alive:
            return alive[choice[1] % len(alive)]
        dead = sorted(self.model.models_given - set(alive))
        return dead[choice[1] % len(dead)] if dead and choice[0] == 14 else (0, 1 << 20)[choice[1] % 2]

    @rule(who=WHO, choice=CHOICES, sure=st.integers(0, 3))
    def unload(self, who: int, choice: tuple[int, int], sure: int) -> None:
        idle = all(block.user is None for block in self.model.blocks.values())
        if idle and not sure:
            self.call(who, "mdl.unload", self.model_id(choice))

    @rule(who=WHO, choice=CHOICES, other=CHOICES, index=st.integers(0, 2))
    def describe(self, who: int, choice: tuple[int, int], other: tuple[int, int], index: int) -> None:
        if not choice[0]:
            self.call(who, "mdl.create_desc")
        desc = self.handle(Desc, choice)
        self.call(who, "mdl.get_desc", desc, self.model_id(other))
        self.call(who, "mdl.get_num_inputs", desc)
        self.call(who, "mdl.get_input_size_by_index", desc, index)

    def datasets(self, choice: tuple[int, int]) -> tuple[int, int]:
        if choice[0] < 13 and self.sets:
            return self.sets[choice[1] % len(self.sets)]
        return self.handle(Dataset, choice), self.handle(Dataset, (choice[0], choice[1] + 1))

    @rule(
        who=WHO,
        choice=CHOICES,
        other=CHOICES,
        index=st.sampled_from((1, 1, 1, 0, 2, 99)),
        batch=st.sampled_from((1, 2, 4, 8, 0, 3, 1 << 33)),
    )
    def set_gear(
        self, who: int, choice: tuple[int, int], other: tuple[int, int], index: int, batch: int
    ) -> None:
        dataset = self.datasets(other)[0]
        buffers = self.model.buffers_of(dataset)
        if buffers and index < len(buffers) and not self.may_use(who, None, (buffers[index].address, 1)):
            return
        self.call(who, "mdl.set_dynamic_batch_size", self.model_id(choice), dataset, index, batch)

    @rule(
        who=WHO,
        choice=CHOICES,
        other=CHOICES,
        stream=CHOICES,
        now=st.booleans(),
        batch=st.sampled_from(GEARS),
    )
    def execute(
        self,
        who: int,
        choice: tuple[int, int],
        other: tuple[int, int],
        stream: tuple[int, int],
        now: bool,
        batch: int,
    ) -> None:
        """Run a model on numbers that are copied in before, if its buffers are where it can reach them."""
        model_id, (inputs, outputs), handle = (
            self.model_id(choice),
            self.datasets(other),
            self.handle(Stream, stream),
        )
        model = self.model.models.get(model_id)
        arguments = (model_id, inputs, outputs) if now else (model_id, inputs, outputs, handle)
        name = "mdl.execute" if now else "mdl.execute_async"
        asked = getattr(self.model, name.replace(".", "_"))(who, *arguments)
        if model is None or asked.codes != frozenset((0,)):
            self.call(who, name, *arguments)
            return
        sources, targets = self.model.buffers_of(inputs), self.model.buffers_of(outputs)
        assert sources is not None
        assert targets is not None
        rows = max(GEARS) if model.gears else 4
        needed = [
            (sources[0].address, rows * 32),
            *((one.address, max(one.size, 4)) for one in (*sources[1:], *targets)),
        ]
        blocks = [self.model.block_with(*each) for each in needed]
        if any(block is None or block.device != model.device for block in blocks):
            return
        distinct = len({block.address for block in blocks if block is not None}) == len(blocks)
        if not distinct or not self.may_use(who, None if now else handle, *needed):
            return
        if model.gears and self.may_use(who, None, *needed):
            self.call(who, "mdl.set_dynamic_batch_size", model_id, inputs, 1, batch)
        if self.may_use(who, None, *needed):
            self.write_numbers(who, sources[0].address, rows * api_model.COLUMNS, batch)
        self.call(who, name, *arguments)

    def write_numbers(self, who: int, address: int, count: int, seed: int) -> None:
        numbers = np.random.default_rng(seed).standard_normal(count).astype(np.float32)
        size = numbers.nbytes
        block = self.model.block_with(address, size)
        assert block is not None
        assert self.workers[who].do(lambda: acl.rt.memcpy(address, size, numbers.ctypes.data, size, 1)) == 0
        start = address - block.address
        block.content[start : start + size] = np.frombuffer(numbers.tobytes(), np.uint8)

    # --- what holds always, and the end

    @invariant()
    def threads_know_their_devices(self) -> None:
        for who in range(THREADS):
            self.call(who, "rt.get_device")

    def teardown(self) -> None:
        try:
            self.release()
        finally:
            for worker in self.workers:
                worker.end()

    def release(self) -> None:
        """Everything comes to an end without an error, and nothing is left of any device."""
        model = self.model
        for device in range(DEVICES):
            self.call(0, "rt.set_device", device)
            self.call(0, "rt.synchronize_device")
            self.read_blocks(0)
            for model_id, loaded in [*model.models.items()]:
                if loaded.device == device:
                    assert self.call(0, "mdl.unload", model_id)
            for address, block in [*model.blocks.items()]:
                if block.device in (None, device):
                    assert self.call(0, "rt.free_host" if block.device is None else "rt.free", address)
        for kind, name in (
            (Stream, "rt.destroy_stream"),
            (Event, "rt.destroy_event"),
            (Dataset, "mdl.destroy_dataset"),
            (Buffer, "destroy_data_buffer"),
            (Desc, "mdl.destroy_desc"),
        ):
            for handle in model.handles(kind):
                assert self.call(0, name, handle)
        for handle in model.handles(Context):
            context = model.things[handle]
            assert isinstance(context, Context)
            if not context.primary:
                assert self.call(0, "rt.destroy_context", handle)
        for device in range(DEVICES):
            while model.users[device]:
                assert self.call(0, "rt.reset_device", device)
            self.call(0, "rt.reset_device", device)
        assert not model.blocks
        assert not model.models
        self.threads_know_their_devices()


@pytest.fixture(scope="module")
def _cards(runtime_folder: Path) -> Iterator[None]:
    with held_cards(os.environ, DEVICES):
        yield


@pytest.mark.usefixtures("_cards")
def test_every_answer_is_the_models(om_files: dict[str, Path]) -> None:
    """Issue: "hypothesis drives random legal and illegal call sequences against a model of the API"; all of facts."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: ApiMachine(om_files),
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
