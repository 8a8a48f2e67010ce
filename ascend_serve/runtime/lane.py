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

*After a failed task* the context is of no use any more (QUIRKS.md, Q3), and the device perhaps as good as before: what
a request made it compute may have been at fault (`AclTaskFault`), or there was no room for it. So the launcher opens
device and sessions again and warms them up, which shows how the device is; batches that were posted meanwhile run then.
After any other fault of the device nothing runs any more.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from ascend_serve.errors import AclDeviceFault, AclError, AclTaskFault, AclWaitTimeout, LaneStalled
from ascend_serve.runtime.device import MemoryInfo
from ascend_serve.runtime.reopening import abandon, opened_again
from ascend_serve.runtime.slot import Arrays, Slot
from ascend_serve.runtime.work import T, Work
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.timing import DeviceRun, GearTimes, Stages
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

REOPENING_S = 60.0
"""How long opening again may take before it counts as a stall: much longer than loading a model does."""

MOST_REOPENED = 32
"""How often a device is opened again without a good batch in between; then it is given up. A batch of 16 requests that
all fail takes 31, one that fails among 64 takes eight."""

REOPENED_APART_S = 60.0
"""A device that was well for so long since it was opened again is not in doubt; a failure begins a new count."""

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

    @property
    def ordinal(self) -> int:
        """Its number among the devices this process sees."""

    def examine(self) -> None:
        """Raise AclDeviceFault if the device is ill."""

    def memory(self) -> MemoryInfo:
        """Free and total device memory."""


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

    def trace(self, ran: Callable[[DeviceRun], None] | None) -> None:
        """Tell of each run's way through the device from now on; None ends that."""

    def close(self) -> None:
        """Give everything back."""

    def abandon(self) -> None:
        """Give everything back of a context that a failed task has ended."""


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
        progress_at: when a lane thread last did something; while it opens the device again, when that is to be done.
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


class _Mending:
    """Stands among the batches for opening the device again."""


@dataclass(frozen=True, slots=True)
class _Pause:
    """Stands among the batches where the waiter lets go of its sessions until there are others, and says why."""

    cause: AclError


_Posted = _Batch | _Examination | _Mending | Work[LaneSession, Any]
"""What the launcher is given."""


class Runner:
    """One session of a lane, for the engine that feeds it. Handed out by `Lane.runner`."""

    __slots__ = ("_lane", "_session")

    def __init__(self, lane: Lane, session: int) -> None:
        self._lane = lane
        self._session = session

    def launch(self, slot: int, bucket: int, gear: int, pack: Pack, unpack: Unpack, done: Done) -> None:
        """Post a batch and return at once.

        On the lane: `pack(inputs)`, the run, `unpack(outputs)`, `done(None, stages)`. If any of it raises, `done`
        gets the exception and the other batches are unaffected, unless it is a task that failed on the device. Then
        those that are on the device end with it too, and later ones run when the device is open again; but after an
        `AclDeviceFault` that is no `AclTaskFault` the lane's service is over, and this and all later batches end with
        it. `done` is called exactly once, when the slot is free again; on a lane thread, or here if the lane has
        closed meanwhile.

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
        self._to_launch: SimpleQueue[_Posted | None] = SimpleQueue()
        self._to_wait: SimpleQueue[_Batch | _Pause | None] = SimpleQueue()
        # Launched, not ended, and when. One step each to add, remove and list, so that nobody needs a lock.
        self._unfinished: dict[_Batch, float] = {}
        self._progress_at = clock()
        self._fault: BaseException | None = None
        # What ended the context that is open now, and how often that happened since the last good batch.
        self._broken: AclError | None = None
        self._reopened = 0
        self._reopened_at = 0.0
        self._paused: SimpleQueue[None] = SimpleQueue()
        self._resumed: SimpleQueue[Sequence[LaneSession]] = SimpleQueue()
        self._closing = False
        self._closes = threading.Event()
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

    def do(self, what: Callable[[Sequence[LaneSession]], T]) -> Future[T]:
        """Have the launcher call `what` with the sessions between two batches, and return at once.

        Batches wait for it. There are no sessions when the device could not be opened again.

        Returns:
            What comes of it, or a RuntimeError if the lane closes before its turn.

        Raises:
            RuntimeError: the lane is closed or closing.
        """
        if self._closing:
            raise self._closed()
        work = Work(what)
        self._to_launch.put(work)
        if self._ended:
            self._end_leftovers()
        return work.future

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
            self._closes.set()
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
            elif isinstance(posted, Work):
                posted.refuse(copy.copy(self._refusal))

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
            if self._broken is not None and self._fault is None:
                sessions = self._open_again(sessions, self._broken)
            if isinstance(posted, _Batch):
                self._launch_one(sessions, posted)
            elif isinstance(posted, _Examination):
                self._examine(sessions)
            elif isinstance(posted, Work):
                posted.run(sessions)
        self._to_wait.put(None)
        self._end_service()
        waiter.join()
        self._close(sessions)

    def _give_up(self, error: BaseException) -> None:
        self._closing = True
        self._refusal = error
        self._end_service()
        self._opened.put(error)

    def _open_again(self, broken: Sequence[LaneSession], cause: AclError) -> Sequence[LaneSession]:
        """Close the sessions of a context that a failed task ended, and open them anew; none when that fails."""
        _log.warning("%s: the device is opened again after a failed task: %s", self._name, cause)
        self._to_wait.put(_Pause(cause))
        self._paused.get()
        now = self._clock()
        self._progress_at = now + REOPENING_S
        self._reopened = 1 if now - self._reopened_at > REOPENED_APART_S else self._reopened + 1
        self._reopened_at = now
        slots = [len(session.slots) for session in broken]
        abandon(broken, self._name)
        sessions: Sequence[LaneSession] = ()
        try:
            if self._reopened > MOST_REOPENED:
                raise AclDeviceFault(
                    cause.call, cause.code, cause.name, f"{cause.meaning}, {self._reopened} times in a row"
                )
            sessions = opened_again(self._open_sessions, slots, self._name, self._closes.wait)
        except BaseException as error:  # noqa: BLE001 - told to all batches, and by the heartbeat
            self._fault = _given_up(cause, error)
        self._broken = None
        self._progress_at = self._clock()
        self._resumed.put(sessions)
        return sessions

    def _examine(self, sessions: Sequence[LaneSession]) -> None:
        try:
            if sessions:
                sessions[0].device.examine()
        except AclDeviceFault as fault:
            self._fault = self._fault or fault
        except AclError as error:
            _log.debug(
                "%s: the device cannot be examined: %s", self._name, error
            )  # says nothing of its health
        self._examining = False

    def _launch_one(self, sessions: Sequence[LaneSession], batch: _Batch) -> None:
        if self._fault is not None:
            self._finish(batch, copy.copy(self._fault))
            return
        session = sessions[batch.session]
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
            self._fail(batch, error, _is_of_a_task(error, AclTaskFault))
            return
        self._progress_at = self._clock()
        self._to_wait.put(batch)

    def _close(self, sessions: Sequence[LaneSession]) -> None:
        for session in reversed(sessions):
            try:
                session.close()
            except BaseException as error:  # noqa: BLE001 - handed to the thread that calls close()
                if self._fault is None and self._broken is None and self._close_error is None:
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
            if isinstance(batch, _Batch):
                self._wait_one(sessions[batch.session], batch)
            else:
                self._paused.put(None)
                sessions = self._resumed.get()
                try:
                    for session in sessions:
                        session.bind()
                except BaseException as error:  # noqa: BLE001 - told to all batches, and by the heartbeat
                    self._fault = _given_up(batch.cause, error)

    def _wait_one(self, session: LaneSession, batch: _Batch) -> None:
        slot = session.slots[batch.slot]
        if self._fault is not None:
            self._finish(batch, copy.copy(self._fault))
            return
        try:
            stages = session.wait(slot)
        except BaseException as error:  # noqa: BLE001 - it is this batch's end, told through done()
            self._fail(batch, error, _is_of_a_task(error, AclError))
            return
        failure: BaseException | None = None
        try:
            batch.unpack(slot.outputs_at(batch.bucket))
        except BaseException as error:  # noqa: BLE001 - it is this batch's end, told through done()
            failure = error
        slot.release()
        self._reopened = 0
        self._finish(batch, failure, stages)

    # --- on both -----------------------------------------------------------------------------------

    def _fail(self, batch: _Batch, error: BaseException, task: AclError | None) -> None:
        """End a batch that failed; `task` is the error again when it is that of a task on the device."""
        broken = self._broken
        if isinstance(error, AclDeviceFault) and not isinstance(error, AclTaskFault):
            self._fault = self._fault or error
        elif broken is not None and isinstance(error, AclError):
            error = copy.copy(broken)  # whatever a context that is of no use any more answers
        elif task is not None and self._fault is None:
            self._broken = task
            self._to_launch.put(_Mending())
        self._finish(batch, error)

    def _finish(self, batch: _Batch, error: BaseException | None, stages: Stages | None = None) -> None:
        del self._unfinished[batch]
        self._progress_at = self._clock()
        try:
            batch.done(error, stages)
        except BaseException:  # noqa: BLE001 - the batch has been told; there is nobody left to tell this to
            _log.exception("%s: a batch's done() raised", self._name)


def _is_of_a_task(error: BaseException, kind: type[AclError]) -> AclError | None:
    """The error if it is of that kind and no end of a bounded wait."""
    return error if isinstance(error, kind) and not isinstance(error, AclWaitTimeout) else None


def _given_up(cause: AclError, error: BaseException) -> AclDeviceFault:
    """The fault of a device that could not be opened again."""
    fault = AclDeviceFault(
        cause.call,
        cause.code,
        cause.name,
        f"{cause.meaning}, and the device cannot be opened again: {type(error).__name__}: {error}",
        cause.detail,
    )
    fault.__cause__ = error
    return fault


def _warmed(session: LaneSession) -> LaneReport:
    times = session.warm_up()
    device = session.device
    return LaneReport(session.spec, device.soc_name, device.toolchain, len(session.slots), times)
