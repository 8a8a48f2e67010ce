"""The engine: tensors in, tensors out, and batches between.

It joins the planner, which decides, to the lane, which runs. All of its state lives on one event loop, so it
needs no lock:

    offer ──> a ticket in the planner ──> pump: plan ──> runner.launch(pack, unpack, done)
                                           ^                               │ lane threads
    Request.result <── what ended <────────┴──────── done(error, stages) ──┘

*Arrivals of one turn of the loop are planned together.* `offer` only queues the ticket and schedules one
`pump` for the next turn. If it pumped at once, the first of sixteen requests that come together would be
sealed alone for an idle device, and the other fifteen would wait for it.

*The device first.* When a batch comes back, the next one is launched before anybody is told of the results: the
device idles until then, while the callers can wait some microseconds.

*Every request ends once*: with its results, or with one error.

*A fault of the device ends everything.* What waits could only run into it. `submit` hands what was lost so to
`elsewhere`, if there is such a place, once: to infer twice does no harm.

*A failed task ends nobody but who caused it.* The parts of its batch are run again, smaller and smaller, until whatever
fails stands alone (`trials.py`); meanwhile everything else waits. Requests that run when their deadline has passed,
because the device hangs, end all the same.

*Costs are refined by every batch that was timed.* When a gear has drifted, the policy is solved again on another
thread; until that is done the planner decides by what it had.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from math import ceil

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.journal import (
    Both,
    Bounded,
    Cancelled,
    Drained,
    Expired,
    Failed,
    FailedAll,
    Header,
    Journal,
    Landed,
    Offered,
    Refused,
    Retuned,
    Sealed,
    Told,
)
from ascend_serve.batching.packing import Packer, Part, Tensors
from ascend_serve.batching.planner import Batch, Planner, Ticket, TicketState
from ascend_serve.batching.policy import Policy
from ascend_serve.batching.refining import CostBook
from ascend_serve.batching.sharing import Share
from ascend_serve.engine.request import Request, Results, copy_of, expiry_of, named, overrun_of
from ascend_serve.engine.runner import Runner
from ascend_serve.engine.solving import Solver
from ascend_serve.engine.state import EngineState
from ascend_serve.engine.trials import Back, Trials
from ascend_serve.errors import (
    AclDeviceFault,
    AclResourceError,
    AclTaskFault,
    AscendServeError,
    LaneStalled,
    Refusal,
    TicketCancelled,
)
from ascend_serve.metrics import NullRecorder, Outcome, Recorder
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.padding import PaddedLength
from ascend_serve.spec.timing import GearTimes, Stages

FLUSH_S = 1.0
"""Seconds between two flushes of the recorder; whoever collects metrics looks less often."""

TICK_S = 0.001
"""The step of an event loop's timers."""

OVERDUE_S = 0.25
"""A request that runs is ended so many seconds after its deadline, or up to twice as many."""

Elsewhere = Callable[[AscendServeError, Tensors, float | None, int | None], Awaitable[Results]]
"""Answers a request that a fault of the device ended here, or raises: takes that fault, and the request's tensors,
deadline (seconds of the engine's clock) and priority."""


class Engine:
    """Serves one model from one lane. Made and used on one running event loop.

    Args:
        spec: the model's signature.
        runner: the lane.
        slots: how many slots the lane has.
        times: what each gear of each bucket takes on the device, from warm-up; empty if nothing was measured.
        policy: chooses the gear of a batch. It decides as it is until `prepared` was awaited.
        max_queued_rows: the most rows that may wait.
        in_flight: the most batches that may be at the lane at once; None is `slots`.
        padded: the axes of requests that are padded up to a bucket.
        priority_levels: how many levels of urgency there are; 1 is the most urgent.
        default_deadline_s: seconds from the offer to the deadline of a request that names none; None: it has none.
        deferred: whether batches are held back for as long as deadlines allow, to fill up.
        share: the lane's, when several models are served from it; all of them on this event loop.
        weight: this model's part of the device, relative to the others' of the share.
        elsewhere: answers what `submit` was given and a fault of the device has ended; None: the fault is raised.
        clock: monotonic seconds; deadlines are times of this clock.
        recorder: takes the metrics.
        journal: takes what went into the planner and what came out of it.

    Raises:
        ConfigError: a bound out of its range, times that do not fit the gears, or a policy that does not; or a journal
            with a policy that has no name.
    """

    def __init__(
        self,
        spec: ModelSpec,
        runner: Runner,
        *,
        slots: int,
        times: GearTimes,
        policy: Policy,
        max_queued_rows: int,
        in_flight: int | None = None,
        padded: Sequence[PaddedLength] = (),
        priority_levels: int = 1,
        default_deadline_s: float | None = None,
        deferred: bool = False,
        share: Share | None = None,
        weight: float = 1.0,
        elsewhere: Elsewhere | None = None,
        clock: Callable[[], float] = time.monotonic,
        recorder: Recorder | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._runner = runner
        self._elsewhere = elsewhere
        self._default_deadline_s = default_deadline_s
        self._clock = clock
        self._recorder: Recorder = NullRecorder() if recorder is None else recorder
        self._journal = self._own_journal = journal
        self._loop = asyncio.get_running_loop()
        self._packer = Packer(spec, slots, padded)
        overlap = (slots if in_flight is None else in_flight) > 1
        self._book = CostBook([bucket.gears for bucket in spec.buckets], times, overlap=overlap)
        self._tables = self._book.tables()
        self._planner = Planner(
            self._tables,
            policy,
            slots=slots,
            max_queued_rows=max_queued_rows,
            in_flight=in_flight,
            priority_levels=priority_levels,
            deferred=deferred,
        )
        if journal is not None:
            told = Told.of(policy)
            journal.note(
                Header(self._tables, told, slots, max_queued_rows, in_flight, priority_levels, deferred)
            )
        # Alone on its lane, a model has a share to itself.
        self._share = Share(slots) if share is None else share
        self._member = self._share.join(self._start_batch, weight)
        self._requests: dict[Ticket, Request] = {}
        self._fault: AscendServeError | None = None
        self._trials = Trials(
            [bucket.gears for bucket in spec.buckets],
            self._requests,
            self._share,
            post=self._post,
            blame=self._blame,
            settled=self._settled,
            fail=self.fail,
            resume=self.pump,
        )
        self._overdue: asyncio.TimerHandle | None = None
        self._pump_scheduled = False
        self._is_settled = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._flush: asyncio.TimerHandle | None = None
        self._solver = Solver(policy, self._book, self._adopt)
        self._idle = asyncio.Event()
        self._idle.set()

    # --- requests -------------------------------------------------------------------------------

    async def submit(
        self, tensors: Tensors, *, deadline: float | None = None, priority: int | None = None
    ) -> Results:
        """Offer a request and wait for its results; a caller that is cancelled cancels the request.

        Raises:
            What `offer` raises, what ends `Request.result`, and what `elsewhere` raises.
        """
        request = None
        try:
            request = self.offer(tensors, deadline=deadline, priority=priority)
            return await request.result
        except asyncio.CancelledError:
            if request is not None:
                request.cancel()
            raise
        except (AclDeviceFault, LaneStalled) as error:
            if self._elsewhere is None:
                raise
            fault = error
        return await self._elsewhere(fault, tensors, deadline, priority)

    def offer(
        self, tensors: Tensors, *, deadline: float | None = None, priority: int | None = None
    ) -> Request:
        """Accept a request, or say why not.

        Args:
            tensors: all inputs by name, checked against the signature; they must not change before the result
                is there, since they are copied when the batch is packed.
            deadline: when the result is no longer wanted, in seconds of the engine's clock; None: the default.
            priority: 1 is the most urgent level; None is the middle one.

        Raises:
            InvalidTensor: the tensors do not fit the signature.
            RequestError: a level of priority that there is not.
            RequestTooLarge: more rows than may ever wait.
            QueueFull: more rows than may wait now.
            DeadlineUnmet: the deadline cannot be met, even if nothing else came.
            Draining: the engine takes nothing new.
            DeviceError: the fault that ended everything.
        """
        if self._fault is not None:
            raise copy_of(self._fault)
        size = self._packer.measure(tensors)
        now = self._clock()
        if deadline is None and self._default_deadline_s is not None:
            deadline = now + self._default_deadline_s
        if self._flush is None:
            self._flush = self._loop.call_later(FLUSH_S, self._flush_recorder)
            if self._overdue is None:
                self._overdue = self._loop.call_later(OVERDUE_S, self._end_overdue)
        try:
            ticket = self._planner.offer(now, size.rows, fits=size.fits, deadline=deadline, priority=priority)
        except Refusal as refusal:
            reason = type(refusal).__name__
            self._recorder.request_refused(size.rows, reason)
            if self._journal is not None:
                self._journal.note(Refused(now, size.rows, size.fits, deadline, priority, reason))
            raise
        if self._journal is not None:
            self._journal.note(Offered(now, ticket.number, size.rows, size.fits, deadline, priority))
        request = Request(ticket, size, tensors, self._loop.create_future(), self.cancel)
        self._requests[ticket] = request
        self._idle.clear()
        if not self._pump_scheduled:
            self._pump_scheduled = True
            self._loop.call_soon(self._scheduled_pump)
        return request

    def cancel(self, request: Request) -> None:
        """End a request whose caller has left; see `Request.cancel`."""
        ticket = request.ticket
        if self._left(ticket):
            self._end(
                ticket, Outcome.CANCELLED, TicketCancelled("the caller left before the result was there")
            )
            # Nobody is left to look at the error; having been looked at, it is not logged as forgotten.
            if not request.result.cancelled():
                request.result.exception()

    async def drain(self) -> None:
        """Take nothing new, and return when all that was accepted has ended."""
        self._planner.drain()
        if self._journal is not None:
            self._journal.note(Drained(self._clock()))
        self.pump()  # what was held back for more to come has nothing left to wait for
        await self._idle.wait()
        self._recorder.flush(0, self._book.drift())

    def fail(self, error: AscendServeError) -> None:
        """End every request with `error`, and refuse all later ones with it: the device is lost.

        The engine calls it itself when a batch comes back with a fault of the device; a health check calls it
        when the lane does not come back at all.
        """
        if self._fault is None:
            self._fault = error
            for ticket in self._planner.fail_all():
                self._end(ticket, Outcome.FAILED, copy_of(error))
            if self._journal is not None:
                self._journal.note(FailedAll(self._clock()))
            for batch in self._trials.give_up():
                self._planner.failed(batch)
                if self._journal is not None:
                    self._journal.note(Failed(self._clock(), batch.slot))

    def state(self) -> EngineState:
        """What waits and what runs, now."""
        return EngineState(
            queued_tickets=self._planner.queued_tickets,
            queued_rows=self._planner.queued_rows,
            running_batches=self._planner.running_batches,
            live_requests=len(self._requests),
            draining=self._planner.draining,
            fault=self._fault,
        )

    def follow(self, journal: Journal | None) -> None:
        """Have a second journal take what happens from now on, beside the engine's own; None ends that."""
        if journal is None or self._own_journal is None:
            self._journal = journal or self._own_journal
        else:
            self._journal = Both(self._own_journal, journal)

    def times(self) -> GearTimes:
        """What each gear takes by now, refined by the batches that were timed; empty if nothing was measured."""
        return self._book.times()

    # --- the policy -----------------------------------------------------------------------------

    async def prepared(self) -> None:
        """Solve the policy for the costs, on another thread, and return when the planner decides by it.

        Raises:
            Whatever the policy's own `prepared` raises.
        """
        await self._solver.first()

    async def change(self, *, policy: Policy, max_queued_rows: int, default_deadline_s: float | None) -> None:
        """Go by other settings from now on, and return when it does; what waits and what runs goes on.

        Args:
            policy: solved on another thread, while the old one decides.
            max_queued_rows: the most rows that may wait; those that wait beyond it stay.
            default_deadline_s: as for the constructor; requests that were accepted keep their deadlines.

        Raises:
            ConfigError: a bound below 1, or a policy that wants a gear which is not compiled; nothing has changed.
        """
        await self._solver.change(policy)
        self._planner.bound(max_queued_rows)
        self._default_deadline_s = default_deadline_s
        if self._journal is not None:
            self._journal.note(Bounded(self._clock(), max_queued_rows))

    def _adopt(self, tables: Sequence[CostTable], policy: Policy) -> None:
        """Decide by other tables from now on."""
        self._tables = tuple(tables)
        self._planner.retune(self._tables, policy)
        if self._journal is not None:
            self._journal.note(Retuned(self._clock(), self._tables, Told.of(policy)))
        self.pump()

    # --- batches --------------------------------------------------------------------------------

    def pump(self) -> None:
        """Launch whatever is to run now, and end what has expired."""
        self._is_settled = False
        self._share.dispatch()
        if not self._is_settled:
            self._settle(self._clock())

    def _scheduled_pump(self) -> None:
        self._pump_scheduled = False
        self.pump()

    def _start_batch(self) -> float | None:
        """Launch the batch that is to run now, if there is one; the milliseconds of the device that it needs."""
        if self._trials.going_on or not self._planner.queued_rows:
            return None
        now = self._clock()
        try:
            batch = self._planner.plan(now)
            return None if batch is None else self._launch(batch)
        finally:
            # At the time of the decision, since it may have dropped tickets; and here, for the share asks also when
            # another model's batch came back, and nobody else looks after this one then. Deadlines hold even for
            # tickets that a policy cannot decide about.
            self._settle(now)

    def _launch(self, batch: Batch) -> float:
        """Hand a sealed batch to the lane; the milliseconds that the device is taken by it."""
        expected_ms = self._tables[batch.bucket].pace_ms_of(batch.gear)
        alone = not self._share.running_batches
        landed = partial(self._landed, batch, expected_ms, alone)
        try:
            if self._journal is not None:
                pieces = tuple((ticket.number, start, rows) for ticket, start, rows, _ in batch.pieces)
                self._journal.note(
                    Sealed(batch.sealed_at, batch.slot, batch.bucket, batch.gear, batch.rows, pieces)
                )
            parts = self._parts(batch)
        except Exception as error:  # noqa: BLE001  # whatever it is, the tickets of this batch end with it
            self._loop.call_soon(landed, error, None)
        else:
            self._post(batch, batch.gear, parts, landed)
        return expected_ms

    def _post(self, batch: Batch, gear: int, parts: Sequence[Part], landed: Back) -> None:
        """Have the lane run rows in a batch's slot; `landed` is called on this loop when they are back, or failed."""

        def done(error: BaseException | None, stages: Stages | None) -> None:
            # Called by the lane. A closed loop raises RuntimeError: then nobody is left to tell.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(landed, error, stages)

        slot, bucket = batch.slot, batch.bucket
        pack = partial(self._packer.pack, slot, bucket, gear, parts)
        unpack = partial(self._packer.unpack, bucket, parts)
        try:
            self._runner.launch(slot, bucket, gear, pack, unpack, done)
        except Exception as error:  # noqa: BLE001  # whatever it is, the tickets in it end with it
            self._loop.call_soon(landed, error, None)

    def _parts(self, batch: Batch) -> list[Part]:
        """Where the rows of a sealed batch come from and go to."""
        parts = []
        offered_at = batch.sealed_at
        for ticket, start, rows, at in batch.pieces:
            request = self._requests[ticket]
            if start == 0:
                request.outputs = self._packer.room(request.size, batch.bucket, rows)
            if ticket.offered_at < offered_at:
                offered_at = ticket.offered_at
            parts.append(Part(request.inputs, request.outputs, start, rows, at))
        self._recorder.batch_sealed(batch.gear, batch.rows, (batch.sealed_at - offered_at) * 1e3)
        return parts

    def _landed(
        self,
        batch: Batch,
        expected_ms: float,
        alone: bool,
        error: BaseException | None,
        stages: Stages | None,
    ) -> None:
        """Take a batch back from the lane; `alone` if the device was idle when it was sealed."""
        now = self._clock()
        share = self._share
        measured_ms = None if stages is None else self._tables[batch.bucket].pace_of(stages)
        share.landed(self._member, expected_ms, measured_ms)
        device_ms = (now - max(batch.sealed_at, share.last_landing)) * 1e3
        share.last_landing = now
        try:
            if error is not None:
                self._landed_ill(batch, named(error, batch), now)
            else:
                if alone:
                    took_ms = (now - batch.sealed_at) * 1e3
                    self._book.update_host(batch.bucket, batch.gear, took_ms, stages)
                self._landed_well(batch, now, stages)
        finally:
            self._recorder.batch_ended(batch.gear, device_ms, stages)
            if self._trials.going_on:
                self._trials.go_on(self._planner.running_batches)

    def _landed_well(self, batch: Batch, now: float, stages: Stages | None) -> None:
        """Take back a batch that has its results."""
        ended = self._planner.finished(now, batch)
        try:
            try:
                if self._journal is not None:
                    self._journal.note(Landed(now, batch.slot, stages))
            finally:
                self.pump()
        finally:
            # Whatever becomes of the next batch, these are done.
            self._end_done(ended, now)
            if stages is not None:
                self._book.update(batch.bucket, batch.gear, stages)
            self._solver.look()

    def _landed_ill(self, batch: Batch, error: AscendServeError, now: float) -> None:
        """Take back a batch that failed."""
        if isinstance(error, AclTaskFault | AclResourceError) and self._fault is None:
            self._trials.add(batch)
            return
        for ticket in self._planner.failed(batch):
            self._end(ticket, Outcome.FAILED, copy_of(error))
        try:
            if self._journal is not None:
                self._journal.note(Failed(now, batch.slot))
        finally:
            if isinstance(error, AclDeviceFault | LaneStalled):
                self.fail(error)
            self.pump()

    # --- failed batches -------------------------------------------------------------------------

    def _blame(self, ticket: Ticket, error: AscendServeError) -> None:
        """End the request that makes the device fail."""
        if self._left(ticket):
            self._end(ticket, Outcome.FAILED, error)

    def _settled(self, batches: Sequence[Batch]) -> None:
        """Bring failed batches to their end of which everybody has a result, or the blame."""
        now = self._clock()
        for batch in batches:
            ended = self._planner.finished(now, batch)
            if self._journal is not None:
                self._journal.note(Landed(now, batch.slot, None))
            self._end_done(ended, now)

    def _end_overdue(self) -> None:
        """End requests that run although their deadline has passed, some time ago: the device hangs, or nearly."""
        now = self._clock()
        for ticket in list(self._requests):
            if ticket.deadline is None or ticket.state is not TicketState.RUNNING:
                continue
            if ticket.deadline + OVERDUE_S <= now and self._left(ticket):
                self._end(ticket, Outcome.EXPIRED, overrun_of(ticket, now))
        # It goes on as long as the flushing does, which is started with it.
        going_on = self._flush is not None
        self._overdue = self._loop.call_later(OVERDUE_S, self._end_overdue) if going_on else None

    # --- ends -----------------------------------------------------------------------------------

    def _end_done(self, tickets: Sequence[Ticket], now: float) -> None:
        """Bring requests whose rows have all come back to their end."""
        if not tickets:
            return
        rows = 0
        times_ms = []
        for ticket in tickets:
            request = self._requests.pop(ticket)
            rows += ticket.rows
            times_ms.append((now - ticket.offered_at) * 1e3)
            # A caller that awaited the result itself may have been cancelled, and the result with it.
            if not request.result.done():
                request.result.set_result(request.outputs)
        if not self._requests:
            self._idle.set()
        self._recorder.requests_ended(Outcome.DONE, rows, times_ms)

    def _left(self, ticket: Ticket) -> bool:
        """Have the planner drop a ticket; False if it had ended."""
        alive = self._planner.cancel(ticket)
        if alive and self._journal is not None:
            self._journal.note(Cancelled(self._clock(), ticket.number))
        return alive

    def _end(self, ticket: Ticket, outcome: Outcome, error: AscendServeError) -> None:
        """Bring the request of an ended ticket to its end, with an error."""
        request = self._requests.pop(ticket)
        if not self._requests:
            self._idle.set()
        if not request.result.done():
            request.result.set_exception(error)
        waited_ms = (self._clock() - ticket.offered_at) * 1e3
        self._recorder.requests_ended(outcome, ticket.rows, [waited_ms])

    def _settle(self, now: float) -> None:
        """End what has expired, and have `pump` called when the planner wants to be asked again."""
        self._is_settled = True
        expired = self._planner.take_expired(now)
        if expired:
            if self._journal is not None:
                self._journal.note(Expired(now, tuple(ticket.number for ticket in expired)))
            for ticket in expired:
                self._end(ticket, Outcome.EXPIRED, expiry_of(ticket, now))
        wakeup = self._planner.next_wakeup()
        if wakeup is not None and wakeup <= now and (self._share.full or self._trials.going_on):
            # It wants to be asked whether to start a batch, which can only be answered when one comes back, and that
            # may be another model's and long, or when a failed one is settled. Until then only deadlines matter.
            wakeup = self._planner.next_expiry()
        if self._alarm is not None:
            if wakeup is not None and self._alarm_at <= wakeup:
                return
            self._alarm.cancel()
            self._alarm = None
        if wakeup is not None:
            # Up to whole milliseconds, as asyncio has it: uvloop rounds to the nearest one, and what rings early is set
            # again for less than half a millisecond, which it takes for none: the loop would not rest until then.
            self._alarm = self._loop.call_later(max(0.0, ceil((wakeup - now) / TICK_S) * TICK_S), self._ring)
            self._alarm_at = wakeup

    def _ring(self) -> None:
        self._alarm = None
        self.pump()

    def _flush_recorder(self) -> None:
        self._recorder.flush(self._planner.queued_rows, self._book.drift())
        going_on = bool(self._requests)
        self._flush = self._loop.call_later(FLUSH_S, self._flush_recorder) if going_on else None
