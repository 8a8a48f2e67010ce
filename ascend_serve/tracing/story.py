"""Reads a journal's events as requests that come and end, and batches that run. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ascend_serve.batching.journal import (
    Cancelled,
    Event,
    Expired,
    Failed,
    FailedAll,
    Landed,
    Offered,
    Refused,
    Sealed,
)
from ascend_serve.spec.timing import DeviceRun

UNDER_WAY = "under way"
"""How a request stands that had not ended when tracing did."""


@dataclass(slots=True)
class RequestStory:
    """One request; times in seconds.

    Attributes:
        ticket: its number.
        rows: how many it has.
        offered_at: when it was accepted.
        sealed_at: when the first of its batches was closed; None if none was.
        ended_at: when it ended, or tracing did.
        outcome: `done`, `failed`, `cancelled`, `expired` or `under way`.
        batches: numbers of the batches that its rows were in.
    """

    ticket: int
    rows: int
    offered_at: float
    sealed_at: float | None = None
    ended_at: float = 0.0
    outcome: str = UNDER_WAY
    batches: list[int] = field(default_factory=list)
    rows_out: int = 0


@dataclass(slots=True)
class BatchStory:
    """One batch, from its sealing until the engine had it back; times in seconds.

    Attributes:
        number: counts the batches of the trace.
        slot: that it went through.
        bucket: index of its row shapes.
        gear: it ran at.
        rows: of requests.
        sealed_at: when it was closed.
        ended_at: when it came back, or tracing ended.
        failed: whether it came back without results.
        run: its way through the device; None if that was not seen.
    """

    number: int
    slot: int
    bucket: int
    gear: int
    rows: int
    sealed_at: float
    ended_at: float = 0.0
    failed: bool = False
    run: DeviceRun | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """What a model's trace tells.

    Attributes:
        requests: in the order in which they came.
        batches: in the order in which they were sealed.
        refusals: when requests were refused, and by which rule.
        queue: rows that waited, from each moment on at which that changed; those from before the trace are not in it.
        strays: runs on the device of batches that were sealed before the trace.
    """

    requests: tuple[RequestStory, ...]
    batches: tuple[BatchStory, ...]
    refusals: tuple[tuple[float, str], ...]
    queue: tuple[tuple[float, int], ...]
    strays: tuple[DeviceRun, ...]


class _Teller:
    def __init__(self, runs: Iterable[DeviceRun]) -> None:
        self.requests: dict[int, RequestStory] = {}
        self.batches: list[BatchStory] = []
        self.refusals: list[tuple[float, str]] = []
        self.queue: list[tuple[float, int]] = []
        self.strays: list[DeviceRun] = []
        self._open: set[int] = set()
        self._in_slot: dict[int, tuple[BatchStory, tuple[tuple[int, int, int], ...]]] = {}
        self._waiting = 0
        self._runs: dict[int, deque[DeviceRun]] = defaultdict(deque)
        for run in runs:
            self._runs[run.slot].append(run)

    def take(self, event: Event) -> None:
        match event:
            case Offered():
                self.requests[event.ticket] = RequestStory(event.ticket, event.rows, event.at)
                self._open.add(event.ticket)
                self._queue(event.at, event.rows)
            case Refused():
                self.refusals.append((event.at, event.reason))
            case Sealed():
                self._seal(event)
            case Landed():
                self._land(event.at, event.slot, failed=False)
            case Failed():
                self._land(event.at, event.slot, failed=True)
            case Cancelled():
                self._end(event.ticket, event.at, "cancelled")
            case Expired():
                for ticket in event.tickets:
                    self._end(ticket, event.at, "expired")
            case FailedAll():
                for ticket in tuple(self._open):
                    self._end(ticket, event.at, "failed")
            case _:
                pass  # what a planner was made of is nothing to be drawn

    def finish(self, at: float) -> None:
        for ticket in tuple(self._open):
            self._end(ticket, at, UNDER_WAY)
        for batch, _ in self._in_slot.values():
            batch.ended_at = at
        for runs in self._runs.values():
            self.strays += runs

    def _seal(self, event: Sealed) -> None:
        batch = BatchStory(len(self.batches), event.slot, event.bucket, event.gear, event.rows, event.at)
        self.batches.append(batch)
        self._in_slot[event.slot] = batch, event.pieces
        left = 0
        for ticket, _, rows in event.pieces:
            request = self.requests.get(ticket)
            if request is not None:
                request.batches.append(batch.number)
                request.sealed_at = event.at if request.sealed_at is None else request.sealed_at
                left += rows
        self._queue(event.at, -left)

    def _land(self, at: float, slot: int, *, failed: bool) -> None:
        batch, pieces = self._in_slot.pop(slot, (None, ()))
        if batch is None:
            return
        batch.ended_at, batch.failed = at, failed
        batch.run = None if failed else self._run_of(batch)
        for ticket, _, rows in pieces:
            request = self.requests.get(ticket)
            if request is None:
                continue
            request.rows_out += rows
            if failed:
                self._end(ticket, at, "failed")
            elif request.rows_out >= request.rows:
                self._end(ticket, at, "done")

    def _run_of(self, batch: BatchStory) -> DeviceRun | None:
        runs = self._runs[batch.slot]
        # A slot holds one batch at a time, so what began before the sealing was another's.
        while runs and runs[0].ended_at < batch.sealed_at:
            self.strays.append(runs.popleft())
        if runs and runs[0].copy_in_at < batch.ended_at:
            return runs.popleft()
        return None

    def _end(self, ticket: int, at: float, outcome: str) -> None:
        if ticket not in self._open:
            return
        self._open.remove(ticket)
        request = self.requests[ticket]
        request.ended_at, request.outcome = at, outcome
        if request.sealed_at is None and outcome != UNDER_WAY:
            self._queue(at, -request.rows)

    def _queue(self, at: float, change: int) -> None:
        if change:
            self._waiting = max(0, self._waiting + change)
            self.queue.append((at, self._waiting))


def tell(events: Iterable[Event], runs: Iterable[DeviceRun], ended_at: float) -> Story:
    """The story of a model's trace.

    Args:
        events: of its journal, in their order; the journal may have begun before.
        runs: on the device, in the order in which they ended.
        ended_at: when tracing ended.
    """
    teller = _Teller(runs)
    for event in events:
        teller.take(event)
    teller.finish(ended_at)
    return Story(
        tuple(teller.requests.values()),
        tuple(teller.batches),
        tuple(teller.refusals),
        tuple(teller.queue),
        tuple(teller.strays),
    )
