"""The planner: which tickets run next, together, in which slot and at which gear.

A pure machine. Events go in (`offer`, `cancel`, `finished`, `failed`, `drain`), decisions come out (`plan`,
`take_expired`, `next_wakeup`). It reads no clock: `now` is an argument wherever time matters, in seconds of
any monotonic clock. The same events at the same times give the same decisions.

A ticket waits, runs, and ends exactly once:

    WAITING ── its last row is sealed ──> RUNNING ── its last row came back ──> DONE
       │                                     │
       ├── a batch it is in failed ──────────┴──> FAILED
       ├── its caller left ──────────────────┴──> CANCELLED
       └── its deadline came ───────────────────> EXPIRED

*When* is a batch sealed? As late as can be, for until then it may grow: when the device has nothing to do,
or when what waits fills the best gear (most rows per millisecond). Such a batch gains nothing by waiting, and
its copy in can overlap the run before it (DESIGN, decision 4).

*Who* is in it? First come, first served: tickets are taken from the head of the queue while they fit, and
nobody overtakes. A ticket is kept whole if it fits the largest gear. A larger one is split: it fills whatever
room each batch has left, so its parts may share batches with others.

*At which gear?* The policy says, given what waits (DESIGN, decision 5).

What always holds is written down as code in `Planner.check`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.policy import Policy
from ascend_serve.errors import ConfigError, Draining, QueueFull, RequestTooLarge
from ascend_serve.spec.gears import Gears

STALE_ALARMS = 64
"""Alarms of ended tickets that may pile up, beyond one for each waiting ticket, before they are swept out."""


class TicketState(Enum):
    """Where a ticket is on its way; the last four are ends."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(slots=True, eq=False)
class Ticket:
    """A request as the planner sees it: rows, times and how far it has come.

    Attributes:
        number: counts tickets in the order of their offers.
        rows: how many rows it has.
        offered_at: when it was accepted, in seconds.
        deadline: when it is no longer wanted, in seconds, or None.
        state: where it is.
        sealed_rows: rows that are in a batch, from row 0 on.
        landed_rows: rows of batches that came back without an error.
    """

    number: int
    rows: int
    offered_at: float
    deadline: float | None
    state: TicketState = TicketState.WAITING
    sealed_rows: int = 0
    landed_rows: int = 0

    @property
    def ended(self) -> bool:
        """Whether it has come to one of its four ends."""
        return self.state is not TicketState.WAITING and self.state is not TicketState.RUNNING


class Piece(NamedTuple):
    """Rows `start` to `start + rows` of a ticket, which lie in the slot from row `at` on."""

    ticket: Ticket
    start: int
    rows: int
    at: int


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Tickets sealed for one slot.

    Attributes:
        slot: the slot it owns until it has finished or failed.
        gear: rows that the device runs, a compiled gear.
        rows: rows that are real; the rest of the gear is padding.
        pieces: what is in it, in slot order without gaps.
        sealed_at: when it was sealed, in seconds.
    """

    slot: int
    gear: int
    rows: int
    pieces: tuple[Piece, ...]
    sealed_at: float


class Planner:
    """Holds what waits and what runs, and decides.

    Args:
        gears: the compiled gears.
        costs: device time of each of them.
        policy: chooses the gear of a batch.
        slots: how many batches there is room for.
        max_queued_rows: the most rows that may wait.
        in_flight: the most batches that may run at once, 1 to `slots`; None is `slots`.

    Raises:
        ConfigError: a bound out of its range, or a policy that wants a gear which is not compiled.
    """

    def __init__(
        self,
        gears: Gears,
        costs: CostTable,
        policy: Policy,
        *,
        slots: int,
        max_queued_rows: int,
        in_flight: int | None = None,
    ) -> None:
        if slots < 1:
            raise ConfigError(f"slots is {slots}; at least 1 is needed, and 2 let copies overlap runs")
        if max_queued_rows < 1:
            raise ConfigError(f"max_queued_rows is {max_queued_rows}; at least 1 is needed")
        if in_flight is not None and not 1 <= in_flight <= slots:
            raise ConfigError(f"in_flight is {in_flight}; with {slots} slots it is 1 to {slots}")
        self._gears = policy.usable(gears)
        self._costs = costs
        self._policy = policy
        self._best_gear = costs.best_gear(self._gears)
        self._slots = slots
        self._max_queued_rows = max_queued_rows
        self._most_running = slots if in_flight is None else in_flight
        # An ordered dict is a queue out of whose middle a ticket can be taken in O(1), as cancelling needs.
        self._waiting: OrderedDict[Ticket, None] = OrderedDict()
        self._waiting_rows = 0
        self._running: dict[int, Batch] = {}
        self._free_slots = list(reversed(range(slots)))
        # A heap of (deadline, number, ticket). Tickets that wait no more stay in it until they come up.
        self._alarms: list[tuple[float, int, Ticket]] = []
        self._expired: list[Ticket] = []
        self._offers = 0
        self._draining = False

    # --- events in ------------------------------------------------------------------------------

    def offer(self, now: float, rows: int, deadline: float | None = None) -> Ticket:
        """Take a request of `rows` rows into the queue.

        Raises:
            RequestTooLarge: more rows than may ever wait.
            QueueFull: more rows than may wait beside those that do.
            Draining: after `drain`.
            ValueError: fewer rows than one.
        """
        if rows < 1:
            raise ValueError(f"a ticket of {rows} rows: it has at least 1")
        if self._draining:
            raise Draining("the replica is shutting down and takes no new requests")
        if self._waiting_rows + rows > self._max_queued_rows:
            raise self._refusal(rows)
        ticket = Ticket(self._offers, rows, now, deadline)
        self._offers += 1
        self._waiting[ticket] = None
        self._waiting_rows += rows
        if deadline is not None:
            heappush(self._alarms, (deadline, ticket.number, ticket))
            if len(self._alarms) > 2 * len(self._waiting) + STALE_ALARMS:
                self._alarms = [alarm for alarm in self._alarms if alarm[2] in self._waiting]
                heapify(self._alarms)
        return ticket

    def cancel(self, ticket: Ticket) -> bool:
        """End a ticket whose caller has left; whether it was still alive.

        Rows that wait never run. Rows that run come back and are dropped.
        """
        return self._end(ticket, TicketState.CANCELLED)

    def finished(self, batch: Batch) -> list[Ticket]:
        """Note that a batch came back, free its slot, and return the tickets that are DONE by it.

        Raises:
            ValueError: the batch is not running.
        """
        self._release(batch)
        done = []
        for piece in batch.pieces:
            ticket = piece.ticket
            ticket.landed_rows += piece.rows
            if ticket.landed_rows == ticket.rows and self._end(ticket, TicketState.DONE):
                done.append(ticket)
        return done

    def failed(self, batch: Batch) -> list[Ticket]:
        """Note that a batch failed, free its slot, and return the tickets that FAILED with it.

        All tickets with a piece in it fail, and what still waits of them is dropped; nobody else is touched.

        Raises:
            ValueError: the batch is not running.
        """
        self._release(batch)
        return [piece.ticket for piece in batch.pieces if self._end(piece.ticket, TicketState.FAILED)]

    def fail_all(self) -> list[Ticket]:
        """End every living ticket as FAILED, oldest first; a batch keeps its slot until it is back."""
        running = {piece.ticket for batch in self._running.values() for piece in batch.pieces}
        living = sorted(running.union(self._waiting), key=lambda ticket: ticket.number)
        return [ticket for ticket in living if self._end(ticket, TicketState.FAILED)]

    def drain(self) -> None:
        """Take nothing new from now on; what was accepted still runs."""
        self._draining = True

    # --- decisions out --------------------------------------------------------------------------

    def plan(self, now: float) -> Batch | None:
        """Seal the next batch, or None when nothing is to be started now.

        Call it until it answers None: more than one batch may be ready.
        """
        self._expire(now)
        if not self._waiting or len(self._running) >= self._most_running:
            return None
        if not self._running:
            return self._seal(now, self._policy.choose(self._waiting_rows, self._gears, self._costs))
        if self._waiting_rows >= self._best_gear:
            return self._seal(now, self._best_gear)
        return None

    def take_expired(self, now: float) -> list[Ticket]:
        """The tickets that EXPIRED by `now` and were not returned before.

        A ticket expires when its deadline comes while rows of it wait; none of them is sealed after that.
        """
        self._expire(now)
        expired, self._expired = self._expired, []
        return expired

    def next_wakeup(self) -> float | None:
        """When to ask again though no event comes: the earliest deadline of a waiting ticket, or None."""
        while self._alarms and self._alarms[0][2] not in self._waiting:
            heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else None

    # --- what can be seen from outside ----------------------------------------------------------

    @property
    def queued_tickets(self) -> int:
        """Tickets with rows that wait."""
        return len(self._waiting)

    @property
    def queued_rows(self) -> int:
        """Rows that wait."""
        return self._waiting_rows

    @property
    def running_batches(self) -> int:
        """Batches that were sealed and have not come back."""
        return len(self._running)

    @property
    def draining(self) -> bool:
        """Whether nothing new is taken."""
        return self._draining

    # --- inside ---------------------------------------------------------------------------------

    def _refusal(self, rows: int) -> RequestTooLarge | QueueFull:
        """Why `rows` more rows may not wait."""
        if rows > self._max_queued_rows:
            return RequestTooLarge(
                f"a request of {rows} rows: at most {self._max_queued_rows} may wait (max_queued_rows)"
            )
        return QueueFull(
            f"{self._waiting_rows} rows wait; {rows} more would pass max_queued_rows {self._max_queued_rows}",
            retry_after_s=self._costs.clear_ms(self._waiting_rows) / 1e3,
        )

    def _seal(self, now: float, target: int) -> Batch:
        """Close a batch of about `target` rows from the head of the queue, at the gear that fits it."""
        if target not in self._gears:
            raise ValueError(f"policy {self._policy} chose gear {target}; usable: {list(self._gears)}")
        head = next(iter(self._waiting))
        if head.rows <= self._gears.largest:
            target = max(target, self._gears.cover(head.rows))
        pieces = self._take(target)
        rows = pieces[-1].at + pieces[-1].rows
        batch = Batch(self._free_slots.pop(), self._gears.cover(rows), rows, pieces, now)
        self._running[batch.slot] = batch
        return batch

    def _take(self, room: int) -> tuple[Piece, ...]:
        """Rows from the head of the queue: as many as fit `room` without breaking what is kept whole."""
        pieces = []
        at = 0
        while at < room and self._waiting:
            ticket = next(iter(self._waiting))
            rows = ticket.rows - ticket.sealed_rows
            if rows > room - at:
                if ticket.rows <= self._gears.largest:
                    break
                rows = room - at
            pieces.append(Piece(ticket, ticket.sealed_rows, rows, at))
            at += rows
            ticket.sealed_rows += rows
            if ticket.sealed_rows == ticket.rows:
                ticket.state = TicketState.RUNNING
                del self._waiting[ticket]
        self._waiting_rows -= at
        return tuple(pieces)

    def _release(self, batch: Batch) -> None:
        """Free the slot of a running batch."""
        if self._running.get(batch.slot) is not batch:
            raise ValueError(f"the batch in slot {batch.slot} is not running: it finished or failed before")
        del self._running[batch.slot]
        self._free_slots.append(batch.slot)

    def _expire(self, now: float) -> None:
        """End the waiting tickets whose deadline has come, and keep them for `take_expired`."""
        while self._alarms and self._alarms[0][0] <= now:
            ticket = heappop(self._alarms)[2]
            if ticket in self._waiting:
                self._end(ticket, TicketState.EXPIRED)
                self._expired.append(ticket)

    def _end(self, ticket: Ticket, state: TicketState) -> bool:
        """Bring a ticket to its end, once; False when it had ended before."""
        if ticket.ended:
            return False
        if ticket.state is TicketState.WAITING:
            del self._waiting[ticket]
            self._waiting_rows -= ticket.rows - ticket.sealed_rows
        ticket.state = state
        return True

    def check(self) -> None:
        """Raise AssertionError unless all that must always hold does. O(n): for tests and replays."""
        waiting = list(self._waiting)
        slots = [*self._free_slots, *self._running]
        rules = {
            "whoever is in the queue waits": all(
                ticket.state is TicketState.WAITING and ticket.sealed_rows < ticket.rows for ticket in waiting
            ),
            "the queue is in the order of the offers": waiting == sorted(waiting, key=lambda t: t.number),
            "only the head of the queue has begun": not any(ticket.sealed_rows for ticket in waiting[1:]),
            "waiting rows are counted right": self._waiting_rows
            == sum(ticket.rows - ticket.sealed_rows for ticket in waiting),
            "no more rows wait than may": self._waiting_rows <= self._max_queued_rows,
            "a slot is free or owned by one batch": sorted(slots) == list(range(self._slots)),
            "no more batches run than may": len(self._running) <= self._most_running,
            "every deadline in the queue has its alarm": {t for t in waiting if t.deadline is not None}
            <= {ticket for _, _, ticket in self._alarms},
        }
        for batch in self._running.values():
            sizes = [piece.rows for piece in batch.pieces]
            starts = [sum(sizes[:i]) for i in range(len(sizes))]
            rules[f"slot {batch.slot}: a usable gear with room"] = (
                batch.gear in self._gears and 0 < batch.rows <= batch.gear
            )
            rules[f"slot {batch.slot}: pieces lie one after the other"] = (
                sum(sizes) == batch.rows and [piece.at for piece in batch.pieces] == starts
            )
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise AssertionError(f"the planner broke its rules: {'; '.join(broken)}")
