"""The lane: the two threads on which all of a device's calls are made.

An ACL context is current per thread, and pyACL holds the GIL in nearly everything but the synchronise calls
(facts: pyACL §17). So the device belongs to two threads that share one context, and everyone else only posts
to them:

    Runner.launch() ──▶ launcher: pack, enqueue ──▶ waiter: wait, unpack ──▶ done(None, stages)

Both take batches first in, first out, and sleep on a queue in between; nothing polls. The launcher opens and
closes the sessions; the waiter spends its time in a synchronise call, without the GIL. While the waiter is
there, the launcher packs the next slot. Several sessions on one device take turns as they are launched.

Those who post never wait: a post is one `SimpleQueue.put`, and the rest is read from plain attributes, each
written in one step. The callables of a batch run on the lane's threads. They must touch plain memory only: an
event loop is to be reached by `call_soon_threadsafe`, inside `done`.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from ascend_serve.errors import AclDeviceFault, AclError, LaneStalled
from ascend_serve.runtime.slot import Arrays, Slot
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.timing import GearTimes, Stages
from ascend_serve.spec.toolchain import Toolchain

_log = logging.getLogger(__name__)

SWITCH_INTERVAL_S = 0.0002
"""For `sys.setswitchinterval`, to be set once by whoever owns the process (QUIRKS.md, Q6).

When a synchronise returns, the waiter has to get the GIL from the event loop. With the interpreter's 5 ms and a loop
that computes, a batch of 1.3 ms came back after 13 ms in the median, with 0.5 ms after 3.1, with 0.2 ms after 2.4,
with 0.1 ms after 2.2; the loop's own work took 2 % longer at 0.2 ms and 6 % at 0.05 ms.
"""

GC_THRESHOLDS = (20_000, 50, 50)
"""For `gc.set_threshold`, likewise. With Python's own (700, 10, 10) a busy replica looked for cycles several
times a batch and found none, a tenth of its CPU: 436 us a request, 387 with these (150 KB, direct ingress)."""

Pack = Callable[[Arrays], None]
"""Writes rows into a slot's inputs."""
Unpack = Callable[[Arrays], None]
"""Reads rows out of a slot's outputs."""
Done = Callable[[BaseException | None, Stages | None], None]
"""Told once how a batch ended: None, or what failed; and what it took on the device, when that was measured."""


class LaneDevice(Protocol):
    """What a lane needs to know of a device."""

    @property
    def soc_name(self) -> str:
        """Full name of the SoC."""

    @property
    def toolchain(self) -> Toolchain:
        """Who provides `acl`."""

    def examine(self) -> None:
        """Raise AclDeviceFault if the device is ill."""


class LaneSession(Protocol):
    """What a lane needs of a session; `runtime.session.Session` is one."""

    @property
    def device(self) -> LaneDevice:
        """The device it is on."""

    @property
    def spec(self) -> ModelSpec:
        """The model's signature."""

    @property
    def slots(self) -> Sequence[Slot]:
        """Its slots; after `warm_up` they stay the same."""

    def bind(self) -> None:
        """Let the calling thread use the session."""

    def warm_up(self) -> GearTimes:
        """Run and measure every gear of every bucket."""

    def enqueue(self, slot: Slot, bucket: int, gear: int) -> None:
        """Queue a packed slot."""

    def wait(self, slot: Slot) -> Stages | None:
        """Wait for a slot's answers; what the run took, when it was measured."""

    def close(self) -> None:
        """Give everything back."""


@dataclass(frozen=True, slots=True)
class LaneReport:
    """What a lane found of one of its sessions when it opened.

    Attributes:
        spec: the model's signature.
        soc_name: full name of the device's SoC.
        toolchain: who provides `acl`.
        slots: batches that may be on their way at once.
        times: what each gear of each bucket takes on the device, as warm-up measured it.
    """

    spec: ModelSpec
    soc_name: str
    toolchain: Toolchain
    slots: int
    times: GearTimes


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How a lane is doing; times in seconds of the lane's clock.

    Attributes:
        progress_at: when a lane thread last did something.
        busy_since: when the oldest batch that has not ended was launched; None when there is none.
        fault: the device fault that ended the lane's service, or None.
    """

    progress_at: float
    busy_since: float | None
    fault: BaseException | None

    def stalled_for_s(self, now: float) -> float:
        """Seconds without progress although there is work; 0 when there is none."""
        if self.busy_since is None:
            return 0.0
        return max(0.0, now - max(self.progress_at, self.busy_since))


@dataclass(eq=False, slots=True)
class _Batch:
    session: int
    slot: int
    bucket: int
    gear: int
    pack: Pack
    unpack: Unpack
    done: Done


class _Examination:
    """Stands among the batches for a look at the device."""


class Runner:
    """One session of a lane, for the engine that feeds it. Handed out by `Lane.runner`."""

    __slots__ = ("_lane", "_session")

    def __init__(self, lane: Lane, session: int) -> None:
        self._lane = lane
        self._session = session

    def launch(self, slot: int, bucket: int, gear: int, pack: Pack, unpack: Unpack, done: Done) -> None:
        """Post a batch and return at once.

        On the lane: `pack(inputs)`, the run, `unpack(outputs)`, `done(None, stages)`. If any of it raises, `done`
        gets the exception and the other batches are unaffected, unless it is an `AclDeviceFault`: then the
        lane's service is over, and this and all later batches end with that fault. `done` is called exactly
        once, when the slot is free again; on a lane thread, or here if the lane has closed meanwhile.

        Args:
            slot: index of a free slot of this session.
            bucket: index of the row shapes to run with.
            gear: the compiled size to run at.
            pack: writes the rows into the slot's inputs (`Slot.inputs_at(bucket)`).
            unpack: reads the rows out of the slot's outputs; it must not keep the arrays.
            done: told how the batch ended, and what it took on the device when this one was measured.

        Raises:
            RuntimeError: the lane is closed or closing.
        """
        self._lane._post(_Batch(self._session, slot, bucket, gear, pack, unpack, done))


class Lane:
    """A device's two threads.

    Args:
        open_sessions: opens the device and the sessions on it; called on the lane. They are closed newest first.
            What that does not close is nobody's, so the oldest should close the device too
            (`Session.open(..., close_device=True)`).
        name: the threads' name.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        open_sessions: Callable[[], Sequence[LaneSession]],
        *,
        name: str = "ascend-lane",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_sessions = open_sessions
        self._name = name
        self._clock = clock
        self._to_launch: SimpleQueue[_Batch | _Examination | None] = SimpleQueue()
        self._to_wait: SimpleQueue[_Batch | None] = SimpleQueue()
        # Launched, not ended, and when. One step each to add, remove and list, so that nobody needs a lock.
        self._unfinished: dict[_Batch, float] = {}
        self._progress_at = clock()
        self._fault: BaseException | None = None
        self._closing = False
        # Whether the launcher takes no more batches; what is found in its queue from then on ends with `_refusal`.
        self._ended = False
        self._refusal: BaseException = self._closed()
        self._examining = False
        self._opened: SimpleQueue[tuple[LaneReport, ...] | BaseException] = SimpleQueue()
        self._close_error: BaseException | None = None
        self._launcher = threading.Thread(target=self._run_launcher, name=f"{name}-launcher", daemon=True)

    # --- from any thread ---------------------------------------------------------------------------

    def start(self, timeout_s: float) -> tuple[LaneReport, ...]:
        """Open the device and the sessions on the lane, warm up, and say what was found, in their order. Blocks.

        Args:
            timeout_s: how long that may take.

        Raises:
            LaneStalled: it took longer; the lane closes itself once the device comes back.
            BaseException: whatever opening or warming up raised; the lane is closed then.
        """
        self._launcher.start()
        try:
            outcome = self._opened.get(timeout=timeout_s)
        except Empty:
            self._begin_closing()
            raise LaneStalled(
                f"{self._name}: the device did not open and warm up within {timeout_s:g} s"
            ) from None
        if isinstance(outcome, tuple):
            return outcome
        self._begin_closing()
        self._launcher.join()
        raise outcome

    def runner(self, session: int) -> Runner:
        """The door of session number `session`, as `open_sessions` returned them."""
        return Runner(self, session)

    def examine(self) -> None:
        """Have the lane look at its device between two batches, and return at once.

        What it finds is in the heartbeats that follow. So a device that is lost while nothing runs is noticed too.
        """
        if not (self._closing or self._examining):
            self._examining = True
            self._to_launch.put(_Examination())

    def heartbeat(self) -> Heartbeat:
        """How the lane is doing. Cheap, from any thread, without a lock and without any ACL call."""
        return Heartbeat(self._progress_at, min(tuple(self._unfinished.values()), default=None), self._fault)

    def close(self, timeout_s: float) -> None:
        """Finish what was launched, close the sessions on the lane, end both threads; may be called again.

        Raises:
            LaneStalled: the device did not return in time; the threads are left behind, as daemons.
            BaseException: whatever closing the sessions raised, once; after a device fault it is only logged.
        """
        self._begin_closing()
        if self._launcher.ident is None:  # never started
            self._end_service()
            return
        self._launcher.join(timeout_s)
        if self._launcher.is_alive():
            raise LaneStalled(f"{self._name}: the device did not return within {timeout_s:g} s of closing")
        error, self._close_error = self._close_error, None
        if error is not None:
            raise error

    def _post(self, batch: _Batch) -> None:
        if self._closing:
            raise self._closed()
        self._unfinished[batch] = self._clock()
        self._to_launch.put(batch)
        if self._ended:
            # It may lie behind the last look of the launcher, which set the flag before it looked.
            self._end_leftovers()

    def _closed(self) -> RuntimeError:
        return RuntimeError(f"{self._name} is closed: nothing can be launched on it")

    def _begin_closing(self) -> None:
        if not self._closing:
            self._closing = True
            self._to_launch.put(None)

    def _end_service(self) -> None:
        self._ended = True
        self._end_leftovers()

    def _end_leftovers(self) -> None:
        """End what was posted and will not be launched any more; on whichever thread finds it."""
        while True:
            try:
                posted = self._to_launch.get_nowait()
            except Empty:
                return
            if isinstance(posted, _Batch):
                self._finish(posted, copy.copy(self._refusal))

    # --- on the launcher ---------------------------------------------------------------------------

    def _run_launcher(self) -> None:
        sessions: Sequence[LaneSession] = ()
        try:
            sessions = self._open_sessions()
            reports = tuple(_warmed(session) for session in sessions)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that called start()
            self._close(sessions)
            self._give_up(error)
            return
        self._progress_at = self._clock()
        waiter = threading.Thread(
            target=self._run_waiter, args=(sessions, reports), name=f"{self._name}-waiter", daemon=True
        )
        waiter.start()
        while (posted := self._to_launch.get()) is not None:
            if isinstance(posted, _Batch):
                self._launch_one(sessions[posted.session], posted)
            else:
                self._examine(sessions[0])
        self._to_wait.put(None)
        self._end_service()
        waiter.join()
        self._close(sessions)

    def _give_up(self, error: BaseException) -> None:
        self._closing = True
        self._refusal = error
        self._end_service()
        self._opened.put(error)

    def _examine(self, session: LaneSession) -> None:
        try:
            session.device.examine()
        except AclDeviceFault as fault:
            self._fault = self._fault or fault
        except AclError as error:
            _log.debug(
                "%s: the device cannot be examined: %s", self._name, error
            )  # says nothing of its health
        self._examining = False

    def _launch_one(self, session: LaneSession, batch: _Batch) -> None:
        if self._fault is not None:
            self._finish(batch, copy.copy(self._fault))
            return
        slot = session.slots[batch.slot]
        try:
            slot.begin()
        except RuntimeError as error:
            self._finish(batch, error)
            return
        try:
            batch.pack(slot.inputs_at(batch.bucket))
        except BaseException as error:  # noqa: BLE001 - it is this batch's end, told through done()
            slot.release()
            self._finish(batch, error)
            return
        try:
            session.enqueue(slot, batch.bucket, batch.gear)
        except BaseException as error:  # noqa: BLE001 - it is this batch's end, told through done()
            self._fail(batch, error)
            return
        self._progress_at = self._clock()
        self._to_wait.put(batch)

    def _close(self, sessions: Sequence[LaneSession]) -> None:
        for session in reversed(sessions):
            try:
                session.close()
            except BaseException as error:  # noqa: BLE001 - handed to the thread that calls close()
                if self._fault is None and self._close_error is None:
                    self._close_error = error
                else:
                    _log.warning("%s: closing after an earlier failure: %s", self._name, error)

    # --- on the waiter -----------------------------------------------------------------------------

    def _run_waiter(self, sessions: Sequence[LaneSession], reports: tuple[LaneReport, ...]) -> None:
        try:
            for session in sessions:
                session.bind()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that called start()
            self._opened.put(error)
        else:
            self._opened.put(reports)
        while (batch := self._to_wait.get()) is not None:
            self._wait_one(sessions[batch.session], batch)

    def _wait_one(self, session: LaneSession, batch: _Batch) -> None:
        slot = session.slots[batch.slot]
        if self._fault is not None:
            self._finish(batch, copy.copy(self._fault))
            return
        try:
            stages = session.wait(slot)
        except BaseException as error:  # noqa: BLE001 - it is this batch's end, told through done()
            self._fail(batch, error)
            return
        failure: BaseException | None = None
        try:
            batch.unpack(slot.outputs_at(batch.bucket))
        except BaseException as error:  # noqa: BLE001 - it is this batch's end, told through done()
            failure = error
        slot.release()
        self._finish(batch, failure, stages)

    # --- on both -----------------------------------------------------------------------------------

    def _fail(self, batch: _Batch, error: BaseException) -> None:
        if isinstance(error, AclDeviceFault):
            self._fault = self._fault or error
        self._finish(batch, error)

    def _finish(self, batch: _Batch, error: BaseException | None, stages: Stages | None = None) -> None:
        del self._unfinished[batch]
        self._progress_at = self._clock()
        try:
            batch.done(error, stages)
        except BaseException:  # noqa: BLE001 - the batch has been told; there is nobody left to tell this to
            _log.exception("%s: a batch's done() raised", self._name)


def _warmed(session: LaneSession) -> LaneReport:
    times = session.warm_up()
    device = session.device
    return LaneReport(session.spec, device.soc_name, device.toolchain, len(session.slots), times)
