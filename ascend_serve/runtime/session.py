"""A loaded model, ready to run: its slots, and the three streams that all slots share.

A batch goes through a slot in five steps. The caller packs rows into `slot.inputs`; `enqueue` queues
everything else and returns; `wait` comes back when the answers stand in `slot.outputs`; the caller unpacks
them; the slot is free.

What `enqueue` queues, for one slot (a card; `●` records an event, `○` waits for one):

    copy_in     H2D ● copied_in
    compute         ○ copied_in  gear, run ● computed
    copy_out                               ○ computed  D2H ● done

The streams run beside each other, so the next slot's rows are copied in while this slot computes; each stream
is in order, so the model never runs twice at once, which it must not (facts: pyACL §11). On a board host and
device memory are one: nothing is copied, and a slot's arrays are the device's own memory.

All memory, data sets, streams and events are made in `open`, at the largest gear. After `warm_up` a batch
allocates nothing on the device and nothing that is page-locked. Every call must be made on a thread bound to
the device: see `lane.py`, which is that thread.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median

from ascend_serve.errors import AclDeviceFault, AclError, ConfigError
from ascend_serve.runtime import signature
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.model import OmModel
from ascend_serve.runtime.slot import Slot, SlotState
from ascend_serve.runtime.stream import Event, Stream
from ascend_serve.runtime.wiring import Streams, Wiring
from ascend_serve.spec.model import ModelSpec

_TIMED_RUNS = 5
"""Runs per gear that warm-up takes the median of, if they take no longer than `_TIMED_MS` together."""

_TIMED_MS = 500.0

_CLOCK_TICK_MS = 0.001
"""Event times are in microseconds; a run shorter than one still costs something."""


class Session:
    """A model on a device, with its slots.

    Attributes:
        device: the device it is on.
        spec: its signature, as agreed between the file and the device.
        slots: its slots.
    """

    device: Device
    spec: ModelSpec
    slots: tuple[Slot, ...]
    _streams: Streams
    _timer: Event
    _model: OmModel
    _wirings: tuple[Wiring, ...]
    _stops_on_failure: bool
    _telling: threading.Lock
    _fault: AclDeviceFault | None
    _stack: ExitStack

    def __init__(self) -> None:
        raise TypeError("Session is not constructed but opened: call Session.open()")

    @classmethod
    def open(
        cls, device: Device, om_path: Path, spec: ModelSpec, *, slots: int = 2, close_device: bool = False
    ) -> Session:
        """Load a model and make all it will ever need.

        Args:
            device: an open device; the calling thread is bound to it.
            om_path: the compiled model.
            spec: what the file says of itself; checked against what the device says.
            slots: batches that may be on their way at once.
            close_device: whether `close` closes the device too; it is then also closed when opening fails.

        Raises:
            ArtifactError: no such file, not a whole `.om`, another SoC's, or device and spec disagree.
            AclResourceError: the model and its slots do not fit the device's memory.
            ConfigError: fewer than one slot.
        """
        with ExitStack() as stack:
            if close_device:
                stack.callback(device.close)
            if slots < 1:
                raise ConfigError(f"slots is {slots}: a session needs at least 1")
            session = cls.__new__(cls)
            session.device = device
            session.spec = spec
            session._streams = Streams.make(device, stack)
            session._timer = stack.enter_context(device.event())
            session._model = stack.enter_context(device.load(om_path))
            signature.check(session._model, spec)
            session._wirings = tuple(
                Wiring.make(index, device, session._model, spec, stack) for index in range(slots)
            )
            session.slots = tuple(wiring.slot for wiring in session._wirings)
            session._begin_telling(stops_on_failure=session._streams.compute.stop_on_failure())
            stack.callback(session._quiesce)  # the memory may go only when nothing runs on it
            session._stack = stack.pop_all()
        return session

    # --- a batch -----------------------------------------------------------------------------------

    def enqueue(self, slot: Slot, gear: int) -> None:
        """Queue a packed slot's whole way through the device and return at once.

        Only the gear's rows are copied. When this raises, the slot is free again; what was queued of it has
        been waited for.

        Args:
            slot: a slot in state PACKING.
            gear: the compiled size to run at; rows past those packed hold whatever they held.

        Raises:
            AclError: a call was refused.
            ConfigError: the model was not compiled for this gear.
        """
        slot.move(SlotState.IN_FLIGHT)
        try:
            if gear not in self.spec.gears:
                raise ConfigError(f"gear {gear}: '{self.spec.name}' was compiled for {list(self.spec.gears)}")
            self._queue(self._wirings[slot.index], gear)
        except BaseException:
            self._settle(slot)
            raise

    def wait(self, slot: Slot) -> None:
        """Wait, without the GIL, until a slot's answers stand in `slot.outputs`.

        When the run failed the slot is free again, and its outputs mean nothing.

        Raises:
            AclDeviceFault: the device failed; other slots in flight failed with it.
            AclError: any other failure of the run.
        """
        try:
            self._wirings[slot.index].done.synchronize()
            if not self._stops_on_failure:
                # An event is reached even if the work before it failed; its stream tells (QUIRKS.md, Q3).
                for stream in self._streams.all():
                    self._synchronize(stream)
        except BaseException:
            self._settle(slot)
            raise
        slot.move(SlotState.UNPACKING)

    def _queue(self, wiring: Wiring, gear: int, timer: Event | None = None) -> None:
        streams = self._streams
        compute = streams.compute
        if wiring.staged:
            for copy in wiring.copies_in:
                streams.copy_in.copy_in(copy.device, copy.host, gear * copy.row_bytes)
            streams.copy_in.record(wiring.copied_in)
            compute.wait_for(wiring.copied_in)
        self._model.set_gear(wiring.dataset_in, gear)
        if timer is not None:
            compute.record(timer)
        self._model.execute(wiring.dataset_in, wiring.dataset_out, compute.address)
        compute.record(wiring.computed)
        if wiring.staged:
            streams.copy_out.wait_for(wiring.computed)
            for copy in wiring.copies_out:
                streams.copy_out.copy_out(copy.host, copy.device, gear * copy.row_bytes)
            streams.copy_out.record(wiring.done)

    def _settle(self, slot: Slot) -> None:
        # Nothing that is queued may still touch the slot when it is free.
        self._quiesce()
        slot.release()

    def _quiesce(self) -> None:
        # What the streams have to tell is told by enqueue or wait, now or at the next wait.
        for stream in self._streams.all():
            with suppress(AclError):
                self._synchronize(stream)

    def _begin_telling(self, *, stops_on_failure: bool) -> None:
        self._stops_on_failure = stops_on_failure
        self._telling = threading.Lock()
        self._fault = None

    def _synchronize(self, stream: Stream) -> None:
        """Wait for a stream; raise the device's fault, also if it was told before and to another thread.

        A stream tells its failure once, to the first who asks. That may be the launcher, for a batch that was
        refused, while the batch that failed is the waiter's.
        """
        with self._telling:
            try:
                stream.synchronize()
            except AclDeviceFault as fault:
                self._fault = self._fault or fault
            if self._fault is not None:
                raise self._fault

    # --- before and after --------------------------------------------------------------------------

    def warm_up(self) -> dict[int, float]:
        """Run every gear of every slot once, on zeros, then measure.

        Returns:
            gear -> milliseconds of compute, the median of a few runs with nothing beside them. Copies are not
            in it.

        Raises:
            AclError: a gear does not run.
        """
        for slot in self.slots:
            for array in slot.inputs.values():
                array.fill(0)
            for gear in self.spec.gears:
                self._run_once(slot, gear)
        first = self.slots[0]
        return {gear: max(_CLOCK_TICK_MS, self._measure(first, gear)) for gear in self.spec.gears}

    def _measure(self, slot: Slot, gear: int) -> float:
        runs: list[float] = []
        while len(runs) < _TIMED_RUNS and sum(runs) < _TIMED_MS:
            runs.append(self._run_once(slot, gear))
        return median(runs)

    def _run_once(self, slot: Slot, gear: int) -> float:
        wiring = self._wirings[slot.index]
        slot.begin()
        slot.move(SlotState.IN_FLIGHT)
        try:
            self._queue(wiring, gear, self._timer)
        except BaseException:
            self._settle(slot)
            raise
        self.wait(slot)
        slot.release()
        return wiring.computed.ms_since(self._timer)

    def bind(self) -> None:
        """Let the calling thread use this session too."""
        self.device.bind()

    def close(self) -> None:
        """Wait for what is queued, unload the model and give everything back; a second call does nothing.

        Raises:
            AclError: something could not be given back; the rest was tried all the same.
        """
        self._stack.close()
