"""The lane: the two threads on which all of a device's calls are made.

An ACL context is current per thread, and pyACL holds the GIL in nearly everything but the synchronise calls
(facts: pyACL §17). So the device belongs to two threads that share one context, and everyone else only posts
to them:

    launch() ──▶ launcher: pack, enqueue ──▶ waiter: wait, unpack ──▶ done(None)

Both take batches first in, first out, and sleep on a queue in between; nothing polls. The launcher opens and
closes the session; the waiter spends its time in a synchronise call, without the GIL. While the waiter is
there, the launcher packs the next slot.

The callables of a batch run on these threads. They must touch plain memory only: an event loop is to be
reached by `call_soon_threadsafe`, inside `done`.
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
from ascend_serve.spec.toolchain import Toolchain

_log = logging.getLogger(__name__)

Pack = Callable[[Arrays], None]
"""Writes rows into a slot's inputs."""
Unpack = Callable[[Arrays], None]
"""Reads rows out of a slot's outputs."""
Done = Callable[[BaseException | None], None]
"""Told once how a batch ended: None, or what failed."""


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
        """Its slots."""

    def bind(self) -> None:
        """Let the calling thread use the session."""

    def warm_up(self) -> dict[int, float]:
        """Run and measure every gear: gear -> milliseconds."""

    def enqueue(self, slot: Slot, gear: int) -> None:
        """Queue a packed slot."""

    def wait(self, slot: Slot) -> None:
        """Wait for a slot's answers."""

    def close(self) -> None:
        """Give everything back."""


@dataclass(frozen=True, slots=True)
class LaneReport:
    """What a lane found when it opened.

    Attributes:
        spec: the model's signature.
        soc_name: full name of the device's SoC.
        toolchain: who provides `acl`.
        slots: batches that may be on their way at once.
        costs: gear -> milliseconds of device time, as warm-up measured them.
    """

    spec: ModelSpec
    soc_name: str
    toolchain: Toolchain
    slots: int
    costs: dict[int, float]


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
    slot: int
    gear: int
    pack: Pack
    unpack: Unpack
    done: Done


class _Examination:
    """Stands among the batches for a look at the device."""


class Lane:
    """A device's two threads.

    Args:
        open_session: opens the device and the session; called on the lane. What `close` of that session does
            not close is nobody's, so it should close the device too (`Session.open(..., close_device=True)`).
        name: the threads' name.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        open_session: Callable[[], LaneSession],
        *,
        name: str = "ascend-lane",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_session = open_session
        self._name = name
        self._clock = clock
        self._to_launch: SimpleQueue[_Batch | _Examination | None] = SimpleQueue()
        self._to_wait: SimpleQueue[_Batch | None] = SimpleQueue()
        # Guards the five below; held for a few lines, never over a call that waits.
        self._lock = threading.Lock()
        self._unfinished: dict[_Batch, float] = {}
        self._progress_at = clock()
        self._fault: BaseException | None = None
        self._closing = False
        self._examining = False
        self._opened: SimpleQueue[LaneReport | BaseException] = SimpleQueue()
        self._close_error: BaseException | None = None
        self._launcher = threading.Thread(target=self._run_launcher, name=f"{name}-launcher", daemon=True)

    # --- from any thread ---------------------------------------------------------------------------

    def start(self, timeout_s: float) -> LaneReport:
        """Open the device and the session on the lane, warm up, and say what was found. Blocks.

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
        if isinstance(outcome, LaneReport):
            return outcome
        self._begin_closing()
        self._launcher.join()
        raise outcome

    def launch(self, slot: int, gear: int, pack: Pack, unpack: Unpack, done: Done) -> None:
        """Post a batch and return at once.

        On the lane: `pack(inputs)`, the run, `unpack(outputs)`, `done(None)`. If any of it raises, `done`
        gets the exception and the other batches are unaffected, unless it is an `AclDeviceFault`: then the
        lane's service is over, and this and all later batches end with that fault. `done` is called exactly
        once, on a lane thread, when the slot is free again.

        Args:
            slot: index of a free slot.
            gear: the compiled size to run at.
            pack: writes the rows into the slot's inputs.
            unpack: reads the rows out of the slot's outputs; it must not keep the arrays.
            done: told how the batch ended.

        Raises:
            RuntimeError: the lane is closed or closing.
        """
        batch = _Batch(slot, gear, pack, unpack, done)
        with self._lock:
            # Under the lock, so that nothing can be posted behind the end mark, where nobody would find it.
            if self._closing:
                raise RuntimeError(f"{self._name} is closed: nothing can be launched on it")
            self._unfinished[batch] = self._clock()
            self._to_launch.put(batch)

    def examine(self) -> None:
        """Have the lane look at its device between two batches, and return at once.

        What it finds is in the heartbeats that follow. So a device that is lost while nothing runs is noticed too.
        """
        with self._lock:
            if not self._closing and not self._examining:
                self._examining = True
                self._to_launch.put(_Examination())

    def heartbeat(self) -> Heartbeat:
        """How the lane is doing. Cheap, from any thread, and without any ACL call."""
        with self._lock:
            return Heartbeat(self._progress_at, next(iter(self._unfinished.values()), None), self._fault)

    def close(self, timeout_s: float) -> None:
        """Finish what was launched, close the session on the lane, end both threads; may be called again.

        Raises:
            LaneStalled: the device did not return in time; the threads are left behind, as daemons.
            BaseException: whatever closing the session raised, once; after a device fault it is only logged.
        """
        self._begin_closing()
        if self._launcher.ident is None:  # never started
            return
        self._launcher.join(timeout_s)
        if self._launcher.is_alive():
            raise LaneStalled(f"{self._name}: the device did not return within {timeout_s:g} s of closing")
        error, self._close_error = self._close_error, None
        if error is not None:
            raise error

    def _begin_closing(self) -> None:
        with self._lock:
            if not self._closing:
                self._closing = True
                self._to_launch.put(None)

    # --- on the launcher ---------------------------------------------------------------------------

    def _run_launcher(self) -> None:
        try:
            session = self._open_session()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that called start()
            self._give_up(error)
            return
        try:
            costs = session.warm_up()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that called start()
            self._close(session)
            self._give_up(error)
            return
        self._progressed()
        waiter = threading.Thread(
            target=self._run_waiter, args=(session, costs), name=f"{self._name}-waiter", daemon=True
        )
        waiter.start()
        while (posted := self._to_launch.get()) is not None:
            if isinstance(posted, _Examination):
                self._examine(session)
            else:
                self._launch_one(session, posted)
        self._to_wait.put(None)
        waiter.join()
        self._close(session)

    def _give_up(self, error: BaseException) -> None:
        self._begin_closing()
        while (posted := self._to_launch.get()) is not None:
            if isinstance(posted, _Batch):
                self._finish(posted, copy.copy(error))
        self._opened.put(error)

    def _examine(self, session: LaneSession) -> None:
        fault: AclDeviceFault | None = None
        try:
            session.device.examine()
        except AclDeviceFault as error:
            fault = error
        except AclError as error:
            _log.debug(
                "%s: the device cannot be examined: %s", self._name, error
            )  # says nothing of its health
        with self._lock:
            self._examining = False
            self._fault = self._fault or fault

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
            batch.pack(slot.inputs)
        except BaseException as error:  # noqa: BLE001 - it is this batch's end, told through done()
            slot.release()
            self._finish(batch, error)
            return
        try:
            session.enqueue(slot, batch.gear)
        except BaseException as error:  # noqa: BLE001 - it is this batch's end, told through done()
            self._fail(batch, error)
            return
        self._progressed()
        self._to_wait.put(batch)

    def _close(self, session: LaneSession) -> None:
        try:
            session.close()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that calls close()
            if self._fault is None:
                self._close_error = error
            else:
                _log.warning("%s: closing after a device fault: %s", self._name, error)

    # --- on the waiter -----------------------------------------------------------------------------

    def _run_waiter(self, session: LaneSession, costs: dict[int, float]) -> None:
        try:
            session.bind()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that called start()
            self._opened.put(error)
        else:
            device = session.device
            self._opened.put(
                LaneReport(session.spec, device.soc_name, device.toolchain, len(session.slots), costs)
            )
        while (batch := self._to_wait.get()) is not None:
            self._wait_one(session, batch)

    def _wait_one(self, session: LaneSession, batch: _Batch) -> None:
        slot = session.slots[batch.slot]
        if self._fault is not None:
            self._finish(batch, copy.copy(self._fault))
            return
        try:
            session.wait(slot)
        except BaseException as error:  # noqa: BLE001 - it is this batch's end, told through done()
            self._fail(batch, error)
            return
        failure: BaseException | None = None
        try:
            batch.unpack(slot.outputs)
        except BaseException as error:  # noqa: BLE001 - it is this batch's end, told through done()
            failure = error
        slot.release()
        self._finish(batch, failure)

    # --- on both -----------------------------------------------------------------------------------

    def _fail(self, batch: _Batch, error: BaseException) -> None:
        if isinstance(error, AclDeviceFault):
            with self._lock:
                self._fault = self._fault or error
        self._finish(batch, error)

    def _finish(self, batch: _Batch, error: BaseException | None) -> None:
        with self._lock:
            del self._unfinished[batch]
            self._progress_at = self._clock()
        try:
            batch.done(error)
        except BaseException:  # noqa: BLE001 - the batch has been told; there is nobody left to tell this to
            _log.exception("%s: a batch's done() raised", self._name)

    def _progressed(self) -> None:
        with self._lock:
            self._progress_at = self._clock()
