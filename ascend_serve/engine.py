"""The engine: tensors in, tensors out, and batches between.

It joins the planner, which decides, to the lane, which runs. All of its state lives on one event loop, so it
needs no lock:

    offer ──> a ticket in the planner ──> pump: plan ──> runner.launch(pack, unpack, done)
                                           ^                               │ lane threads
    Request.result <── what ended <────────┴──────────────── done ─────────┘

*Arrivals of one turn of the loop are planned together.* `offer` only queues the ticket and schedules one
`pump` for the next turn. If it pumped at once, the first of sixteen requests that come together would be
sealed alone for an idle device, and the other fifteen would wait for it.

*Every request ends once*: with its results, or with one error. An error that ends several is copied for each,
with the original as its cause: a shared one would gather the tracebacks of all who raise it.

*A fault of the device ends everything.* What waits could only run into it; a caller can try another replica.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from numpy.typing import NDArray

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.packing import Packer, Part, Tensors
from ascend_serve.batching.planner import Batch, Planner, Ticket
from ascend_serve.batching.policy import Policy
from ascend_serve.errors import (
    AclDeviceFault,
    AscendServeError,
    DeadlineExpired,
    DeviceError,
    LaneStalled,
    Refusal,
    TicketCancelled,
)
from ascend_serve.metrics import NullRecorder, Outcome, Recorder
from ascend_serve.spec.model import ModelSpec

Results = dict[str, NDArray[Any]]
"""Output arrays by name, each of shape (rows, *row shape)."""


class Runner(Protocol):
    """What the engine needs of a lane."""

    def launch(
        self,
        slot: int,
        gear: int,
        pack: Callable[[Tensors], None],
        unpack: Callable[[Tensors], None],
        done: Callable[[BaseException | None], None],
    ) -> None:
        """Run one batch; return at once.

        On threads of the runner, in this order: `pack` with the slot's input arrays, the run at `gear`,
        `unpack` with its output arrays, `done(None)`; or `done(error)` as soon as one of them fails. `done`
        is called exactly once.
        """
        ...


class Request:
    """A request that the engine has accepted.

    Attributes:
        result: ends with the outputs, or with DeadlineExpired, TicketCancelled or a DeviceError.
    """

    __slots__ = ("_engine", "inputs", "outputs", "result", "ticket")

    def __init__(
        self, engine: Engine, ticket: Ticket, inputs: Tensors, result: asyncio.Future[Results]
    ) -> None:
        self._engine = engine
        self.ticket = ticket
        self.inputs = inputs
        self.outputs: Results = {}
        self.result = result

    def cancel(self) -> None:
        """Say that nobody waits for the result any more.

        Rows that wait never run; rows that run are dropped when they come back. `result` ends with
        TicketCancelled. Nothing happens if the request had ended.
        """
        self._engine.cancel(self)


@dataclass(frozen=True, slots=True)
class EngineState:
    """The engine at one moment, for health checks and logs.

    Attributes:
        queued_tickets: tickets that wait.
        queued_rows: rows that wait.
        running_batches: batches at the lane.
        live_requests: requests that have not ended.
        draining: whether nothing new is taken.
        fault: the device's fault that ended everything, or None.
    """

    queued_tickets: int
    queued_rows: int
    running_batches: int
    live_requests: int
    draining: bool
    fault: AscendServeError | None


class Engine:
    """Serves one model from one lane. Made and used on one running event loop.

    Args:
        spec: the model's signature.
        runner: the lane.
        slots: how many slots the lane has.
        costs: device milliseconds of each gear, from warm-up; empty if nothing was measured.
        policy: chooses the gear of a batch.
        max_queued_rows: the most rows that may wait.
        in_flight: the most batches that may be at the lane at once; None is `slots`.
        clock: monotonic seconds; deadlines are times of this clock.
        recorder: takes the metrics.

    Raises:
        ConfigError: a bound out of its range, costs that do not fit the gears, or a policy that does not.
    """

    def __init__(
        self,
        spec: ModelSpec,
        runner: Runner,
        *,
        slots: int,
        costs: Mapping[int, float],
        policy: Policy,
        max_queued_rows: int,
        in_flight: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        recorder: Recorder | None = None,
    ) -> None:
        self._runner = runner
        self._clock = clock
        self._recorder: Recorder = NullRecorder() if recorder is None else recorder
        self._loop = asyncio.get_running_loop()
        self._packer = Packer(spec, slots)
        self._planner = Planner(
            spec.gears,
            CostTable.of(spec.gears, costs),
            policy,
            slots=slots,
            max_queued_rows=max_queued_rows,
            in_flight=in_flight,
        )
        self._requests: dict[Ticket, Request] = {}
        self._fault: AscendServeError | None = None
        self._pump_scheduled = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._last_landing = float("-inf")
        self._idle = asyncio.Event()
        self._idle.set()

    # --- requests -------------------------------------------------------------------------------

    async def submit(self, tensors: Tensors, *, deadline: float | None = None) -> Results:
        """Offer a request and wait for its results; a caller that is cancelled cancels the request.

        Raises:
            What `offer` raises, and what ends `Request.result`.
        """
        request = self.offer(tensors, deadline=deadline)
        try:
            return await request.result
        except asyncio.CancelledError:
            request.cancel()
            raise

    def offer(self, tensors: Tensors, *, deadline: float | None = None) -> Request:
        """Accept a request, or say why not.

        Args:
            tensors: all inputs by name, checked against the signature; they must not change before the result
                is there, since they are copied when the batch is packed.
            deadline: when the result is no longer wanted, in seconds of the engine's clock.

        Raises:
            InvalidTensor: the tensors do not fit the signature.
            RequestTooLarge: more rows than may ever wait.
            QueueFull: more rows than may wait now.
            Draining: the engine takes nothing new.
            DeviceError: the fault that ended everything.
        """
        if self._fault is not None:
            raise _copy_of(self._fault)
        rows = self._packer.rows(tensors)
        try:
            ticket = self._planner.offer(self._clock(), rows, deadline)
        except Refusal:
            self._recorder.request_refused(rows)
            raise
        request = self._requests[ticket] = Request(self, ticket, tensors, self._loop.create_future())
        self._idle.clear()
        if not self._pump_scheduled:
            self._pump_scheduled = True
            self._loop.call_soon(self._scheduled_pump)
        return request

    def cancel(self, request: Request) -> None:
        """End a request whose caller has left; see `Request.cancel`."""
        if self._planner.cancel(request.ticket):
            error = TicketCancelled("the caller left before the result was there")
            self._end(request.ticket, Outcome.CANCELLED, error)
            # Nobody is left to look at the error; having been looked at, it is not logged as forgotten.
            if not request.result.cancelled():
                request.result.exception()

    async def drain(self) -> None:
        """Take nothing new, and return when all that was accepted has ended."""
        self._planner.drain()
        await self._idle.wait()

    def fail(self, error: AscendServeError) -> None:
        """End every request with `error`, and refuse all later ones with it: the device is lost.

        The engine calls it itself when a batch comes back with a fault of the device; a health check calls it
        when the lane does not come back at all.
        """
        if self._fault is None:
            self._fault = error
            self._fail_tickets(self._planner.fail_all(), error)

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

    # --- batches --------------------------------------------------------------------------------

    def pump(self) -> None:
        """Launch whatever the planner wants run now, and end what has expired."""
        now = self._clock()
        while batch := self._planner.plan(now):
            self._launch(batch)
        for ticket in self._planner.take_expired(now):
            waited_ms = (now - ticket.offered_at) * 1e3
            error = DeadlineExpired(f"the deadline passed after {waited_ms:.1f} ms in the queue")
            self._end(ticket, Outcome.EXPIRED, error)
        self._recorder.queued_rows(self._planner.queued_rows)
        self._set_alarm(now)

    def _scheduled_pump(self) -> None:
        self._pump_scheduled = False
        self.pump()

    def _launch(self, batch: Batch) -> None:
        """Hand a sealed batch to the lane."""

        def done(error: BaseException | None) -> None:
            # Called by the lane. A closed loop raises RuntimeError: then nobody is left to tell.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._landed, batch, error)

        try:
            parts = self._parts(batch)
            self._runner.launch(
                batch.slot,
                batch.gear,
                partial(self._packer.pack, batch.slot, batch.gear, parts),
                partial(self._packer.unpack, parts),
                done,
            )
        except Exception as error:  # noqa: BLE001  # whatever it is, the tickets of this batch end with it
            self._loop.call_soon(self._landed, batch, error)

    def _parts(self, batch: Batch) -> list[Part]:
        """Where the rows of a sealed batch come from and go to; makes room for results when a request begins."""
        parts = []
        waits_ms = []
        for ticket, start, rows, at in batch.pieces:
            request = self._requests[ticket]
            if start == 0:
                request.outputs = self._packer.outputs(ticket.rows)
                waits_ms.append((batch.sealed_at - ticket.offered_at) * 1e3)
            parts.append(Part(request.inputs, request.outputs, start, rows, at))
        self._recorder.batch_sealed(batch.gear, batch.rows, waits_ms)
        return parts

    def _landed(self, batch: Batch, error: BaseException | None) -> None:
        """Take a batch back from the lane."""
        now = self._clock()
        self._recorder.batch_ended(batch.gear, (now - max(batch.sealed_at, self._last_landing)) * 1e3)
        self._last_landing = now
        if error is None:
            ended = self._planner.finished(batch)
            # The device first: it idles until the next launch, while the callers can wait some microseconds.
            self.pump()
            for ticket in ended:
                self._end(ticket, Outcome.DONE)
            return
        named = error if isinstance(error, AscendServeError) else _named(error, batch)
        self._fail_tickets(self._planner.failed(batch), named)
        if isinstance(named, AclDeviceFault | LaneStalled):
            self.fail(named)
        self.pump()

    # --- ends -----------------------------------------------------------------------------------

    def _fail_tickets(self, tickets: list[Ticket], error: AscendServeError) -> None:
        """End tickets with an error, each with a copy of its own."""
        for ticket in tickets:
            self._end(ticket, Outcome.FAILED, _copy_of(error))

    def _end(self, ticket: Ticket, outcome: Outcome, error: AscendServeError | None = None) -> None:
        """Bring the request of an ended ticket to its end, with its outputs or an error."""
        request = self._requests.pop(ticket)
        if not self._requests:
            self._idle.set()
        self._recorder.request_ended(outcome, ticket.rows, (self._clock() - ticket.offered_at) * 1e3)
        if request.result.done():
            return  # a caller that awaited the result itself was cancelled, and the result with it
        if error is None:
            request.result.set_result(request.outputs)
        else:
            request.result.set_exception(error)

    def _set_alarm(self, now: float) -> None:
        """Have `pump` called by the next deadline; a call that comes too early does no harm."""
        wakeup = self._planner.next_wakeup()
        if self._alarm is not None:
            if wakeup is not None and self._alarm_at <= wakeup:
                return
            self._alarm.cancel()
            self._alarm = None
        if wakeup is not None:
            self._alarm = self._loop.call_later(max(0.0, wakeup - now), self._ring)
            self._alarm_at = wakeup

    def _ring(self) -> None:
        self._alarm = None
        self.pump()


def _copy_of(error: AscendServeError) -> AscendServeError:
    """A new exception of the same class and content, raised from the original."""
    fresh = copy.copy(error)
    fresh.__cause__ = error
    return fresh


def _named(error: BaseException, batch: Batch) -> DeviceError:
    """An error of ours for one that has no name in our tree."""
    named = DeviceError(f"a batch at gear {batch.gear} failed: {type(error).__name__}: {error}")
    named.__cause__ = error
    return named
