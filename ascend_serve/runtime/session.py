"""A loaded model, ready to run: its slots, and the three streams that all slots share.

A batch goes through a slot in five steps. The caller packs rows into `slot.inputs_at(bucket)`; `enqueue` queues
everything else and returns; `wait` comes back when the answers stand in `slot.outputs_at(bucket)`; the caller
unpacks them; the slot is free.

What `enqueue` queues, for one slot (a card; `●` records an event, `○` waits for one):

    copy_in     H2D ● copied_in
    compute         ○ copied_in  gear, run ● computed
    copy_out                               ○ computed  D2H ● done

The streams run beside each other, so the next slot's rows are copied in while this slot computes; each stream
is in order, so the model never runs twice at once, which it must not (facts: pyACL §11). Nothing waits for the host
between the three: the whole way is queued while the batch ahead still runs. On a board host and device memory are
one: nothing is copied, and a slot's arrays are the device's own memory.

All memory, data sets, streams and events are made in `open` and `warm_up`, at the largest gear of any bucket. After
`warm_up` a batch allocates nothing on the device and nothing that is page-locked. Every call must be made on a thread
bound to the device: see `lane.py`, which is that thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

from ascend_serve.errors import AclResourceError, ConfigError
from ascend_serve.runtime import budget, signature
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.gears import Key, keys
from ascend_serve.runtime.measuring import LEAST_SLOTS, Sampler, enough, slots_for, still_holds, timing_of
from ascend_serve.runtime.model import Gear, OmModel
from ascend_serve.runtime.placing import Placer
from ascend_serve.runtime.slot import Arrays, Slot, SlotState
from ascend_serve.runtime.stream import Event
from ascend_serve.runtime.streams import Streams
from ascend_serve.runtime.wiring import Way, Wiring
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.timing import DeviceRun, GearTimes, Stages, Timing

_log = logging.getLogger(__name__)

_LEFT_FREE = 0.1
"""Share of the free device memory that slots beyond the first do not take: the runtime and neighbours need some."""

_HOST_REPEATS = 3
"""How often warm-up copies a slot's arrays to see what packing takes; the best counts."""


class Session:
    """A model on a device, with its slots.

    Attributes:
        device: the device it is on.
        spec: its signature, as agreed between the file and the device.
        slots: its slots; more after `warm_up` when their number was left to it.
        streams: the device's streams, which further sessions may share.
    """

    device: Device
    spec: ModelSpec
    slots: tuple[Slot, ...]
    streams: Streams
    _model: OmModel
    _gears: Mapping[Key, Gear | None]
    _wirings: list[Wiring]
    _known: GearTimes
    _chooses_slots: bool
    _spare_bytes: int | None
    _sampler: Sampler
    _timed: set[int]
    _placer: Placer | None
    _ran: Callable[[DeviceRun], None] | None
    _placed: dict[int, Callable[[DeviceRun], None]]
    _stack: ExitStack

    def __init__(self) -> None:
        raise TypeError("Session is not constructed but opened: call Session.open()")

    @classmethod
    def open(
        cls,
        device: Device,
        om_path: Path,
        spec: ModelSpec,
        *,
        slots: int | None = 2,
        known: GearTimes | None = None,
        order: Sequence[str] = (),
        spare_bytes: int | None = None,
        streams: Streams | None = None,
        close_device: bool = False,
    ) -> Session:
        """Load a model and make all it will ever need.

        Args:
            device: an open device; the calling thread is bound to it.
            om_path: the compiled model.
            spec: what the file says of itself; checked against what the device says.
            slots: batches that may be on their way at once; None lets `warm_up` choose, from what it measures.
            known: what gears take, as measured before; `warm_up` only looks whether it still holds.
            order: names of the inputs in the order of `--input_shape`, in which gears of any axes count; found by
                the shapes when empty.
            spare_bytes: device memory that slots beyond the first may take; None: most of what is free then.
            streams: those of another session on this device, whose runs then take turns with this one's; new ones
                when None.
            close_device: whether `close` closes the device too; it is then also closed when opening fails.

        Raises:
            ArtifactError: no such file, not a whole `.om`, another SoC's, or device and spec disagree.
            TooLittleMemory: the model and its slots do not fit the device's memory; it was not loaded.
            AclResourceError: they do not after all, or another resource ran out.
            ConfigError: fewer than one slot.
        """
        with ExitStack() as stack:
            if close_device:
                stack.callback(device.close)
            if slots is not None and slots < 1:
                raise ConfigError(f"slots is {slots}: a session needs at least 1")
            first_slots = LEAST_SLOTS if slots is None else slots
            budget.require([budget.Need.of(om_path, spec, first_slots)], device.memory())
            session = cls.__new__(cls)
            session.device = device
            session.spec = spec
            session.slots = ()
            session.streams = Streams.make(device, stack) if streams is None else streams
            session._model = stack.enter_context(device.load(om_path))
            output_dims = signature.ask_output_dims(device, session._model)
            session._gears = signature.check(session._model, spec, output_dims, order)
            session._wirings = []
            session._known = known or {}
            session._chooses_slots = slots is None
            session._spare_bytes = spare_bytes
            session._sampler = Sampler()
            session._timed = set()
            session._placer = None
            session._ran = None
            session._placed = {}
            session._stack = stack
            session._add_slots(first_slots)
            session._stack = stack.pop_all()
        return session

    def _add_slots(self, count: int) -> None:
        if not count:
            return
        with ExitStack() as stack:
            begin = len(self._wirings)
            added = [
                Wiring.make(index, self.device, self._model, self.spec, self._gears, stack)
                for index in range(begin, begin + count)
            ]
            stack.callback(self.streams.quiesce)  # the memory may go only when nothing runs on it
            self._stack.push(stack.pop_all())
        self._wirings += added
        self.slots = tuple(wiring.slot for wiring in self._wirings)

    # --- a batch -----------------------------------------------------------------------------------

    def enqueue(self, slot: Slot, bucket: int, gear: int) -> None:
        """Queue a packed slot's whole way through the device and return at once.

        Only the gear's rows are copied. When this raises, the slot is free again; what was queued of it has
        been waited for.

        Args:
            slot: a slot in state PACKING.
            bucket: index of the row shapes to run with.
            gear: the compiled size to run at; rows past those packed hold whatever they held.

        Raises:
            AclError: a call was refused.
            ConfigError: the model was not compiled for this gear.
        """
        slot.move(SlotState.IN_FLIGHT)
        try:
            wiring = self._wirings[slot.index]
            key = (bucket, gear)
            way = wiring.ways.get(key)
            if way is None:
                raise ConfigError(self._no_gear(bucket, gear))
            timed = self._sampler.wants(key)
            if self._ran is not None:
                timed = True
                self._placed[slot.index] = self._ran
            self._queue(wiring, way, timed=timed)
        except BaseException:
            self._settle(slot)
            raise

    def wait(self, slot: Slot) -> Stages | None:
        """Wait, without the GIL, until a slot's answers stand in `slot.outputs_at`.

        When the run failed the slot is free again, and its outputs mean nothing.

        Returns:
            What the run took on the device, when it was one that is timed.

        Raises:
            AclDeviceFault: the device failed; other slots in flight failed with it.
            AclError: any other failure of the run.
        """
        wiring = self._wirings[slot.index]
        try:
            self.streams.reach(wiring.done)
            stages = _stages(wiring) if slot.index in self._timed else None
            if self._placed and stages is not None:
                self._tell(wiring, stages)
        except BaseException:
            self._settle(slot)
            raise
        slot.move(SlotState.UNPACKING)
        return stages

    def trace(self, ran: Callable[[DeviceRun], None] | None) -> None:
        """Time every run from now on, and tell of its way through the device; None ends that. Call it on the launcher.

        The device idles for a moment when it begins. A session that is not traced pays a look at two attributes a run.

        Args:
            ran: is called on the waiter, once for each run that was queued while this was on.

        Raises:
            AclError: the events for it are not to be had.
        """
        self._placed.clear()
        if ran is not None:
            if self._placer is None:
                self._placer = Placer(self.device, self.streams, self._stack)
            self._placer.begin()
        self._ran = ran

    def _tell(self, wiring: Wiring, stages: Stages) -> None:
        ran = self._placed.pop(wiring.slot.index, None)
        if ran is not None and self._placer is not None:
            self._placer.tell(wiring, stages, ran)

    def _queue(self, wiring: Wiring, way: Way, *, timed: bool, behind: Event | None = None) -> None:
        copy_in, compute, copy_out = self.streams.copy_in, self.streams.compute, self.streams.copy_out
        begins = wiring.begins
        if timed:
            self._timed.add(wiring.slot.index)
        else:
            self._timed.discard(wiring.slot.index)
        if wiring.staged:
            if behind is not None:
                copy_in.wait_for(behind)
            if timed:
                copy_in.record(begins.copy_in)
            for copy in way.copies_in:
                copy_in.copy_in(copy.device, copy.host, copy.count)
            copy_in.record(wiring.copied_in)
            compute.wait_for(wiring.copied_in)
        if way.gear is not None:
            self._model.set_gear(wiring.dataset_in, way.gear)
        if timed:
            compute.record(begins.compute)
        self._model.execute(wiring.dataset_in, wiring.dataset_out, compute.address)
        compute.record(wiring.computed)
        if wiring.staged:
            copy_out.wait_for(wiring.computed)
            if timed:
                copy_out.record(begins.copy_out)
            for copy in way.copies_out:
                copy_out.copy_out(copy.host, copy.device, copy.count)
            copy_out.record(wiring.done)

    def _settle(self, slot: Slot) -> None:
        # Nothing that is queued may still touch the slot when it is free.
        self.streams.quiesce()
        slot.release()

    def _no_gear(self, bucket: int, gear: int) -> str:
        if not 0 <= bucket < len(self.spec.buckets):
            return f"bucket {bucket}: '{self.spec.name}' has {len(self.spec.buckets)} buckets, counted from 0"
        compiled = list(self.spec.buckets[bucket].gears)
        where = f" in bucket {bucket}" if self.spec.free else ""
        return f"gear {gear}: '{self.spec.name}' was compiled for {compiled}{where}"

    # --- before and after --------------------------------------------------------------------------

    def warm_up(self) -> GearTimes:
        """Run every gear of every slot once, on zeros, and measure; make further slots if that was left to this.

        Returns:
            What each gear of each bucket takes, with nothing beside it: the median of a few runs, or what was
            known, where one run takes as long.

        Raises:
            AclError: a gear does not run.
        """
        for slot in self.slots:
            self._warm(slot)
        times = {key: self._measured(key) for key in keys(self.spec)}
        if self._chooses_slots:
            begin = len(self.slots)
            self._add_more(min(self._slots_for(times) - begin, self._slots_that_fit()))
            for slot in self.slots[begin:]:
                self._warm(slot)
        return times

    def _warm(self, slot: Slot) -> None:
        for bucket in range(len(self.spec.buckets)):
            for array in slot.inputs_at(bucket).values():
                array.fill(0)
        for key in keys(self.spec):
            self._start(slot, key)
            self._land(slot)

    def _measured(self, key: Key) -> Timing:
        """Time a gear, each run queued while the one ahead of it is on its way.

        So the time that the host takes between two calls is in none but the first, which does not count. With one
        slot nothing can be queued ahead, and it is in all of them.
        """
        known = self._known.get(key)
        runs: list[Stages] = []
        turns = cycle(self.slots[:2])
        ahead = next(turns)
        self._start(ahead, key)
        holds = False
        while not (holds or enough(runs[1:])):
            slot = next(turns)
            if slot is not ahead:
                self._start(slot, key, behind=ahead)
            runs.append(self._land(ahead))
            if slot is ahead:
                self._start(slot, key)
            ahead = slot
            holds = known is not None and len(runs) == 2 and still_holds(known, runs[1])
        self._land(ahead)
        return known if known is not None and holds else timing_of(runs[1:])

    def _start(self, slot: Slot, key: Key, behind: Slot | None = None) -> None:
        wiring = self._wirings[slot.index]
        slot.begin()
        slot.move(SlotState.IN_FLIGHT)
        after = None if behind is None else self._wirings[behind.index].done
        try:
            self._queue(wiring, wiring.ways[key], timed=True, behind=after)
        except BaseException:
            self._settle(slot)
            raise

    def _land(self, slot: Slot) -> Stages:
        stages = self.wait(slot)
        assert stages is not None, "warm-up times every run"
        slot.release()
        return stages

    def _slots_for(self, times: GearTimes) -> int:
        """Slots that keep the slowest stage busy, in whichever bucket takes most."""
        return max(
            slots_for(times[index, bucket.gears.largest].stages, *self._host_ms(index))
            for index, bucket in enumerate(self.spec.buckets)
        )

    def _host_ms(self, bucket: int) -> tuple[float, float]:
        """Milliseconds of host time to write a full batch into pinned memory, and to read its results."""
        first = self.slots[0]
        sides = (first.inputs_at(bucket), first.outputs_at(bucket))
        into, out_of = (min(_copy_ms(side) for _ in range(_HOST_REPEATS)) for side in sides)
        return into, out_of

    def _slots_that_fit(self) -> int:
        """Slots for which there is device memory, with some of it left to others."""
        each = sum(tensor.size for tensor in (*self._model.inputs, *self._model.outputs))
        spare = int(self.device.memory().free_bytes * (1 - _LEFT_FREE))
        return (spare if self._spare_bytes is None else min(spare, self._spare_bytes)) // each

    def _add_more(self, count: int) -> None:
        """Make further slots, as many of `count` as there is memory for.

        Nobody can be asked how much page-locked memory there is, so a refusal is the answer; the slots that stand
        already serve.
        """
        try:
            for _ in range(count):
                self._add_slots(1)
        except AclResourceError as error:
            _log.warning(
                "'%s' has %d slots instead of %d: %s",
                self.spec.name,
                len(self.slots),
                len(self.slots) + count,
                error,
            )

    def bind(self) -> None:
        """Let the calling thread use this session too."""
        self.device.bind()

    def abandon(self) -> None:
        """Close after a failed task: what is still queued never runs, and goes with its streams before its memory does.

        Raises:
            AclError: as `close`.
        """
        self.streams.discard()
        self._stack.close()

    def close(self) -> None:
        """Wait for what is queued, unload the model and give everything back; a second call does nothing.

        Raises:
            AclError: something could not be given back; the rest was tried all the same.
        """
        self._stack.close()


def _stages(wiring: Wiring) -> Stages:
    compute_ms = wiring.computed.ms_since(wiring.begins.compute)
    if not wiring.staged:
        return Stages(0.0, compute_ms, 0.0)
    return Stages(
        wiring.copied_in.ms_since(wiring.begins.copy_in),
        compute_ms,
        wiring.done.ms_since(wiring.begins.copy_out),
    )


def _copy_ms(arrays: Arrays) -> float:
    begin = time.perf_counter()
    for array in arrays.values():
        array.copy()
    return (time.perf_counter() - begin) * 1e3
