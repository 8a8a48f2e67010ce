"""Random calls of `acl`, legal and illegal, by three threads on two devices, against a model of what is documented."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import acl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.contract.api_calls import THREADS, ApiCalls
from tests.contract.api_model import (
    COLUMNS,
    DEVICES,
    GEARS,
    Buffer,
    Context,
    Dataset,
    Desc,
    Event,
    Stream,
)
from tests.contract.cards import held_cards
from tests.contract.workers import LIMIT_S

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("emulator")]


CHOICES = st.tuples(st.integers(0, 15), st.integers(0, 63))
"""Whether a live handle of the right kind is taken (below 12) or something else, and which."""

SIZES = st.sampled_from((0, 1, 4, 31, 64, 128, 256, 300, 1024, 1 << 63))
SMALL = st.integers(0, 300)
KINDS = st.sampled_from((*(1, 2, 3, 4) * 3, 0, 5, -1, 6, 99))
DEVICE_IDS = st.sampled_from((0, 0, 0, 1, 1, -1, 4, 99))
WHO = st.sampled_from((0, 0, 0, 1, 1, 1, 2))
SELDOM = st.sampled_from((False,) * 7 + (True,))


class ApiMachine(ApiCalls, RuleBasedStateMachine):
    """Every rule is one call, or a few that belong together; each answer is compared with the model's."""

    def __init__(self, om_files: dict[str, Path]) -> None:
        RuleBasedStateMachine.__init__(self)
        ApiCalls.__init__(self, om_files)
        acl.finalize()
        assert self.call(0, "init")
        self.prepare()

    def prepare(self) -> None:
        """One thread with a context of its own, one with a device's; both models and something of everything else."""
        assert self.call(0, "rt.set_device", 0)
        assert self.call(0, "rt.get_context")
        assert self.call(1, "rt.set_context", self.made())
        for who in (0, 1):
            for name in ("rt.create_stream", "rt.create_event", "mdl.create_desc"):
                assert self.call(who, name)
            assert self.call(who, "rt.malloc", 300, 0)
            assert self.call(who, "rt.malloc_host", 300)
            assert self.call(who, "mdl.load_from_file", self.paths[who])
            self.make_datasets(who, gears=not who, short=1)

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

    @rule(who=WHO, device=DEVICE_IDS, sure=SELDOM)
    def reset_device(self, who: int, device: int, sure: bool) -> None:
        if sure:
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

    @rule(who=WHO, choice=CHOICES, sure=SELDOM)
    def destroy_context(self, who: int, choice: tuple[int, int], sure: bool) -> None:
        if sure or choice[0] >= 12:
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
        start, end = self.handle(Event, choice), self.handle(Event, other)
        if choice[1] % 2:
            for event in (start, end):
                self.call(who, "rt.record_event", event, 0)
            self.call(who, "rt.synchronize_stream", 0)
        self.call(who, "rt.event_elapsed_time", start, end)

    @rule(who=WHO, choice=CHOICES, value=SMALL)
    def callbacks(self, who: int, choice: tuple[int, int], value: int) -> None:
        """A thread serves a stream once; its functions are called with their argument (facts §7)."""
        stream = self.model.things.get(self.handle(Stream, choice))
        if not isinstance(stream, Stream) or stream.context is not self.model.context(who):
            return
        handle, worker = self.handle(Stream, choice), self.workers[who]
        seen: list[object] = []
        me = worker.thread.ident
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
        to, queue_handle = self.address(where, offset), self.handle(Stream, stream)
        start = self.address((source[0], where[1] + 1 + source[1]), 0)
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
        self.sets.append((gears, made[0], made[1]))
        for dataset in made:
            self.fitting |= {dataset, *self.model.thing(dataset, Dataset).buffers}

    @rule(who=WHO, choice=st.integers(0, 2))
    def load(self, who: int, choice: int) -> None:
        if len(self.model.models) < 4:
            self.call(who, "mdl.load_from_file", self.paths[choice])

    @rule(who=WHO, choice=CHOICES, sure=SELDOM)
    def unload(self, who: int, choice: tuple[int, int], sure: bool) -> None:
        idle = all(block.user is None for block in self.model.blocks.values())
        if idle and sure:
            self.call(who, "mdl.unload", self.model_id(choice))

    @rule(who=WHO, choice=CHOICES, other=CHOICES, index=st.integers(0, 2))
    def describe(self, who: int, choice: tuple[int, int], other: tuple[int, int], index: int) -> None:
        if not choice[0]:
            self.call(who, "mdl.create_desc")
        desc = self.handle(Desc, choice)
        self.call(who, "mdl.get_desc", desc, self.model_id(other))
        self.call(who, "mdl.get_num_inputs", desc)
        self.call(who, "mdl.get_input_size_by_index", desc, index)

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
        model_id = self.model_id(choice)
        dataset = self.datasets(model_id, other)[0]
        buffers = self.model.buffers_of(dataset)
        if buffers and index < len(buffers) and not self.may_use(who, None, (buffers[index].address, 1)):
            return
        self.call(who, "mdl.set_dynamic_batch_size", model_id, dataset, index, batch)

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
        model_id = self.model_id(choice)
        inputs, outputs = self.datasets(model_id, other)
        self.run_model(who, model_id, inputs, outputs, None if now else self.handle(Stream, stream), batch)

    @rule(who=WHO, choice=st.integers(0, 63), now=st.booleans(), batch=st.sampled_from(GEARS))
    def infer(self, who: int, choice: int, now: bool, batch: int) -> None:
        """What programs do: a run, the wait for it, and the outputs."""
        model_id = self.model_id((0, choice))
        self.run_model(who, model_id, *self.datasets(model_id, (0, choice)), None if now else 0, batch)
        if self.call(who, "rt.synchronize_stream", 0):
            self.read_blocks(who)

    def run_model(
        self, who: int, model_id: int, inputs: int, outputs: int, stream: int | None, batch: int
    ) -> None:
        """Execute in a stream, or at once for None."""
        model = self.model.models.get(model_id)
        name = "mdl.execute" if stream is None else "mdl.execute_async"
        arguments = (model_id, inputs, outputs, *(() if stream is None else (stream,)))
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
        if not distinct or not self.may_use(who, stream, *needed):
            return
        if model.gears and self.may_use(who, None, *needed):
            self.call(who, "mdl.set_dynamic_batch_size", model_id, inputs, 1, batch)
        if self.may_use(who, None, *needed):
            self.write_numbers(who, sources[0].address, rows * COLUMNS, batch)
        self.call(who, name, *arguments)

    # --- what holds always, and the end

    @invariant()
    def threads_know_their_devices(self) -> None:
        for who in range(THREADS):
            self.call(who, "rt.get_device")

    def teardown(self) -> None:
        try:
            self.release()
        finally:
            for handle in self.model.handles(
                Context
            ):  # of which there are some left only if something was wrong
                acl.rt.destroy_context(handle)
            for device in range(DEVICES):
                acl.rt.reset_device_force(device)
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


@pytest.mark.ascend_findings("*")
@pytest.mark.usefixtures("_cards")
def test_every_answer_is_the_models(om_files: dict[str, Path]) -> None:
    """Issue: "hypothesis drives random legal and illegal call sequences against a model of the API"; all of facts."""
    run_state_machine_as_test(
        lambda: ApiMachine(om_files),  # type: ignore[arg-type]  # any callable that gives one is fine
        settings=settings(
            max_examples=100,
            stateful_step_count=60,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
