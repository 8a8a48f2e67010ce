"""The planner: which tickets run next, together, in which slot, with which shapes and at which gear.

A pure machine. Events go in (`offer`, `cancel`, `finished`, `failed`, `drain`, `retune`), decisions come out (`plan`,
`take_expired`, `next_wakeup`). It reads no clock: `now` is an argument wherever time matters, in seconds of
any monotonic clock. The same events at the same times give the same decisions.

A ticket waits, runs, and ends exactly once:

    WAITING ── its last row is sealed ──> RUNNING ── its last row came back ──> DONE
       │                                     │
       ├── a batch it is in failed ──────────┴──> FAILED
       ├── its caller left ──────────────────┴──> CANCELLED
       └── its deadline cannot be met any more ─> EXPIRED

*When* is a batch sealed? As late as can be, for until then it may grow: when the device has nothing to do, or will
have nothing to do as soon as the batch has been packed and copied in (`Forecast.latest_start`), so that its copy in
overlaps the run before it; or when what waits fills the best gear (most rows per millisecond), for such a batch gains
nothing by waiting (DESIGN, decision 4). With one batch in flight the device has to be idle. With `deferred`, and only
while every ticket that waits has a deadline, an idle device waits until these deadlines leave no more time for the rows
that wait and one more (Symphony's window, facts: peers §4.3); shapes that do not run together leave each other time. A
policy's WAIT ends then, too: an idle device lets no deadline pass that it was asked about in time. Once the planner
drains, nothing waits for more.

*Who* is in it? Tickets go by when they are due: at their deadline, or PATIENCE_S after their offer if that is
earlier or they have none; and STEP_S later for each level of priority below the first. So of tickets that come
together the more urgent level goes first, and once a ticket has waited for PATIENCE_S and STEP_S for each level,
nobody who comes later goes before it. Nobody overtakes within a batch. A ticket is kept whole if it fits a gear. A
larger one is split, and takes turns: after a batch with rows of such a ticket the small ones that wait go first and
large ones get the room they leave; if there was none, the first large one leads the batch after. So large tickets
hold up small ones for one batch at a time, and are never starved by them. Until it is past due, a large ticket takes
no turn before a more urgent level, and leads no batch that makes a small one late which must start before it.

*With which shapes?* The head of the order decides, among the buckets that it fits (`grouping`). Padding that is left
is filled from other lines that fit, which costs nothing. While the device is busy, a batch of other shapes that fills
its best gear may go before the head, unless the head is late then; nobody is passed like that twice.

*At which gear?* The policy says, given what waits (DESIGN, decision 5). A deadline that the gear would break makes the
planner step down (`meeting`); tickets that cannot be met at all are dropped before they cost device time.

What always holds is written down as code in `Planner.check`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from ascend_serve.batching.choice import Policy
from ascend_serve.batching.composing import Composer
from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.forecast import EARLY_S, Forecast
from ascend_serve.batching.meeting import check_in_time
from ascend_serve.batching.prices import Prices
from ascend_serve.batching.rates import RateMeter
from ascend_serve.batching.ticket import Batch, Piece, Ticket, TicketState, batch_rules
from ascend_serve.batching.waiting import Waiting
from ascend_serve.errors import (
    ConfigError,
    Draining,
    QueueFull,
    RequestError,
    RequestTooLarge,
)

__all__ = ["PATIENCE_S", "STEP_S", "Batch", "Piece", "Planner", "Ticket", "TicketState"]

PATIENCE_S = 1.0
"""A ticket is due at the latest so long after its offer, level of priority aside."""

STEP_S = 1.0
"""How much later a ticket is due for each level of priority; not less than PATIENCE_S, so that levels come first."""

_RUNNING = TicketState.RUNNING
_DONE = TicketState.DONE
_new = tuple.__new__  # Batch(...) takes three times as long


class Planner:
    """Holds what waits and what runs, and decides.

    Args:
        tables: device time of each compiled gear, one table for each bucket.
        policy: chooses the gear of a batch; prepared for the tables, if it is to be.
        slots: how many batches there is room for.
        max_queued_rows: the most rows that may wait.
        in_flight: the most batches that may run at once, 1 to `slots`; None is `slots`.
        priority_levels: how many levels of priority there are.
        deferred: whether an idle device may wait while all deadlines allow it, for larger batches.
        early_s: how many seconds earlier than needed the next batch is chosen while one runs, for timers are late.

    Raises:
        ConfigError: a bound out of its range, or a policy that wants a gear which is not compiled.
    """

    def __init__(
        self,
        tables: Sequence[CostTable],
        policy: Policy,
        *,
        slots: int,
        max_queued_rows: int,
        in_flight: int | None = None,
        priority_levels: int = 1,
        deferred: bool = False,
        early_s: float = EARLY_S,
    ) -> None:
        if not tables:
            raise ConfigError("no cost table: give one for each bucket")
        if slots < 1:
            raise ConfigError(f"slots is {slots}; at least 1 is needed")
        if max_queued_rows < 1:
            raise ConfigError(f"max_queued_rows is {max_queued_rows}; at least 1 is needed")
        if in_flight is not None and not 1 <= in_flight <= slots:
            raise ConfigError(f"in_flight is {in_flight}; with {slots} slots it is 1 to {slots}")
        if priority_levels < 1:
            raise ConfigError(f"priority_levels is {priority_levels}; at least 1 is needed")
        self._slots = slots
        self._max_queued_rows = max_queued_rows
        self._rows_when_bound = 0
        self._most_running = slots if in_flight is None else in_flight
        self._levels = priority_levels
        self._middle = (priority_levels + 1) // 2
        self._deferred = deferred
        self._early_s = early_s
        self._buckets = len(tables)
        self._forecast = Forecast()
        self._rate = RateMeter()
        self._tune(tables, policy)
        self._running: dict[int, Batch] = {}
        self._free_slots = list(reversed(range(slots)))
        self._asked_at = -inf
        self._expired: list[Ticket] = []
        self._offers = 0
        self._draining = False

    # --- events in ------------------------------------------------------------------------------

    def offer(
        self,
        now: float,
        rows: int,
        *,
        fits: tuple[int, ...] = (0,),
        deadline: float | None = None,
        priority: int | None = None,
    ) -> Ticket:
        """Take a request of `rows` rows into the queue.

        Args:
            now: the time, in seconds.
            rows: how many rows it has.
            fits: the buckets that it may run in, cheapest shapes first.
            deadline: when its result is no longer wanted, in seconds.
            priority: its level; 1 is the most urgent, None is the middle one.

        Raises:
            RequestTooLarge: more rows than may ever wait.
            RequestError: a level of priority that there is not.
            QueueFull: more rows than may wait beside those that do.
            DeadlineUnmet: its deadline would pass even if all before it ran at the best rate.
            Draining: after `drain`.
            ValueError: fewer rows than one, or a bucket that is not there.
        """
        if rows < 1:
            raise ValueError(f"a ticket of {rows} rows: it has at least 1")
        if self._draining:
            raise Draining("the replica is shutting down and takes no new requests")
        self._asked_at = now
        waiting = self._waiting
        if waiting.rows + rows > self._max_queued_rows:
            raise self._refusal(rows)
        if priority is None:
            level = self._middle
        elif 1 <= priority <= self._levels:
            level = priority
        else:
            raise self._no_level(priority)
        line = waiting.small.get(fits)
        if line is None or rows > line.most_rows:
            line = waiting.line_for(fits, rows)
        due = now + PATIENCE_S
        latest = inf
        if deadline is not None and deadline < due:
            due = deadline
        if level > 1:
            due += (level - 1) * STEP_S
        if deadline is not None:
            latest = deadline - (line.known_s.get(rows) or line.least_s(rows))
            # Most often there is time for all that waits, whoever goes before it.
            forecast = self._forecast
            if now > forecast.oldest_back_at:
                forecast.catch_up(now)
            free_at = forecast.free_until
            if free_at < now:
                free_at = now
            if free_at + (waiting.work_ns + rows * line.row_ns) / 1e9 >= latest:
                ahead_s = waiting.ahead_ns(now, due) / 1e9
                check_in_time(deadline - now, rows, line, free_at - now, ahead_s)
        ticket = Ticket(self._offers, rows, now, deadline, line.fits, level, line.large, due, latest)
        self._offers += 1
        self._rate.arrived(now, rows)
        waiting.join(now, ticket, line)
        return ticket

    def cancel(self, ticket: Ticket) -> bool:
        """End a ticket whose caller has left; whether it was still alive.

        Rows that wait never run. Rows that run come back and are dropped.
        """
        return self._end(ticket, TicketState.CANCELLED)

    def finished(self, now: float, batch: Batch) -> list[Ticket]:
        """Note that a batch came back at `now`, free its slot, and return the tickets that are DONE by it.

        Raises:
            ValueError: the batch is not running.
        """
        self._release(batch)
        self._forecast.landed(batch.slot, now)
        done = []
        for ticket, _, rows, _ in batch.pieces:
            ticket.landed_rows += rows
            if ticket.landed_rows == ticket.rows and ticket.state is _RUNNING:
                ticket.state = _DONE
                done.append(ticket)
        return done

    def failed(self, batch: Batch) -> list[Ticket]:
        """Note that a batch failed, free its slot, and return the tickets that FAILED with it.

        All tickets with a piece in it fail, and what still waits of them is dropped; nobody else is touched.

        Raises:
            ValueError: the batch is not running.
        """
        self._release(batch)
        self._forecast.gone(batch.slot)
        return [piece.ticket for piece in batch.pieces if self._end(piece.ticket, TicketState.FAILED)]

    def fail_all(self) -> list[Ticket]:
        """End every living ticket as FAILED, oldest first; a batch keeps its slot until it is back."""
        running = {piece.ticket for batch in self._running.values() for piece in batch.pieces}
        living = sorted(running.union(self._waiting), key=lambda ticket: ticket.number)
        return [ticket for ticket in living if self._end(ticket, TicketState.FAILED)]

    def drain(self) -> None:
        """Take nothing new from now on; what was accepted still runs."""
        self._draining = True

    def retune(self, tables: Sequence[CostTable], policy: Policy) -> None:
        """Go by other costs and another policy from now on; what waits and what runs stays. O(n).

        Raises:
            ConfigError: not as many tables as before, or a policy that wants a gear which is not compiled.
        """
        if len(tables) != self._buckets:
            raise ConfigError(f"{len(tables)} cost tables for {self._buckets} buckets")
        tickets = sorted(self._waiting, key=lambda ticket: ticket.number)
        self._tune(tables, policy)
        for ticket in tickets:
            self._waiting.rejoin(ticket)

    def bound(self, max_queued_rows: int) -> None:
        """Let at most so many rows wait from now on; those that wait beyond it stay.

        Raises:
            ConfigError: fewer than one.
        """
        if max_queued_rows < 1:
            raise ConfigError(f"max_queued_rows is {max_queued_rows}; at least 1 is needed")
        self._max_queued_rows = max_queued_rows
        self._rows_when_bound = self._waiting.rows

    # --- decisions out --------------------------------------------------------------------------

    def plan(self, now: float) -> Batch | None:
        """Seal the next batch, or None when nothing is to be started now.

        Call it until it answers None: more than one batch may be ready.
        """
        self._asked_at = now
        self._expire(now)
        self._forecast.catch_up(now)
        if not self._waiting.tickets or len(self._running) >= self._most_running:
            self._composer.ask_at = inf
            return None
        composed = self._composer.compose(now, busy=bool(self._running), draining=self._draining)
        if composed is None:
            return None
        bucket, pieces = composed
        prices = self._prices[bucket]
        rows = pieces[-1].at + pieces[-1].rows
        gear = prices.cover(rows)
        batch = _new(Batch, (self._free_slots.pop(), bucket, gear, rows, tuple(pieces), now))
        self._running[batch.slot] = batch
        self._forecast.sealed(batch.slot, now, prices.stages_s[gear])
        return batch

    def quiet(self, now: float) -> bool:
        """Whether `plan` would find nothing to do at `now`, as far as can be told at once; asking it does no harm."""
        if self._waiting.with_deadline or not self._running:
            return False
        return len(self._running) >= self._most_running or self._composer.is_shut(now)

    def take_expired(self, now: float) -> list[Ticket]:
        """The tickets that EXPIRED by `now` and were not returned before; `Ticket.reason` says why.

        A ticket expires while rows of it wait: when there is no time left for them before its deadline even at the
        quickest gear, or none after the batch that goes before. None of its rows is sealed after that.
        """
        self._expire(now)
        expired, self._expired = self._expired, []
        return expired

    def next_wakeup(self) -> float | None:
        """When to ask again though no event comes, in seconds; None if there is no need.

        It is when the next ticket expires, or when a decision to wait ends; where that is far away, it may be earlier.
        """
        if not self._waiting.tickets:
            return None
        wakeup = min(self._waiting.next_latest(self._asked_at), self._composer.ask_at)
        return None if wakeup == inf else wakeup

    def next_expiry(self) -> float | None:
        """When the next ticket expires, in seconds, or earlier where that is far away; None if none does."""
        expiry = self._waiting.next_latest(self._asked_at)
        return None if expiry == inf else expiry

    # --- what can be seen from outside ----------------------------------------------------------

    @property
    def queued_tickets(self) -> int:
        """Tickets with rows that wait."""
        return self._waiting.tickets

    @property
    def queued_rows(self) -> int:
        """Rows that wait."""
        return self._waiting.rows

    @property
    def running_batches(self) -> int:
        """Batches that were sealed and have not come back."""
        return len(self._running)

    @property
    def draining(self) -> bool:
        """Whether nothing new is taken."""
        return self._draining

    def rate_per_ms(self, now: float) -> float:
        """Rows that are accepted per millisecond, as estimated at `now`."""
        return self._rate.per_ms(now)

    # --- accepting ------------------------------------------------------------------------------

    def _tune(self, tables: Sequence[CostTable], policy: Policy) -> None:
        """Make an empty queue, and what composes batches out of it, for these costs and this policy."""
        prices = [Prices(table, policy.usable(table.gears)) for table in tables]
        self._forecast.tune(
            host_s=max(table.host_ms for table in tables) / 1e3,
            overlap=all(table.overlap for table in tables),
        )
        # No ticket is due later than this after its offer.
        waiting = Waiting(prices, PATIENCE_S + (self._levels - 1) * STEP_S)
        self._composer = Composer(
            waiting,
            prices,
            policy,
            rate=self._rate,
            forecast=self._forecast,
            drop=self._drop,
            deferred=self._deferred,
            early_s=self._early_s,
        )
        self._prices = prices
        self._waiting = waiting

    def _no_level(self, priority: int) -> RequestError:
        """Why a request may not have this level."""
        return RequestError(
            f"priority {priority}: this model has {self._levels} level{'s' * (self._levels > 1)}; "
            "1 is the most urgent"
        )

    def _refusal(self, rows: int) -> RequestTooLarge | QueueFull:
        """Why `rows` more rows may not wait."""
        if rows > self._max_queued_rows:
            return RequestTooLarge(
                f"a request of {rows} rows: at most {self._max_queued_rows} may wait (max_queued_rows)"
            )
        clear_ns = sum(line.rows * line.row_ns for line in self._waiting.lines)
        return QueueFull(
            f"{self._waiting.rows} rows wait; {rows} more would pass max_queued_rows {self._max_queued_rows}",
            retry_after_s=clear_ns / 1e9,
        )

    # --- ends -----------------------------------------------------------------------------------

    def _release(self, batch: Batch) -> None:
        """Free the slot of a running batch."""
        if self._running.get(batch.slot) is not batch:
            raise ValueError(f"the batch in slot {batch.slot} is not running: it finished or failed before")
        del self._running[batch.slot]
        self._free_slots.append(batch.slot)

    def _expire(self, now: float) -> None:
        """End the tickets that can no longer be met by themselves, and keep them for `take_expired`."""
        if not self._waiting.with_deadline:
            return
        while (ticket := self._waiting.next_too_late(now)) is not None:
            deadline = ticket.deadline or 0.0
            if deadline <= now:
                reason = "the deadline passed while it waited"
            else:
                reason = (
                    f"the deadline is {(deadline - now) * 1e3:.1f} ms away, but its rows take at least "
                    f"{(deadline - ticket.latest) * 1e3:.1f} ms"
                )
            self._drop(ticket, reason)

    def _drop(self, ticket: Ticket, reason: str) -> None:
        """End a ticket that cannot be in time."""
        self._end(ticket, TicketState.EXPIRED, reason)

    def _end(self, ticket: Ticket, state: TicketState, reason: str = "") -> bool:
        """Bring a ticket to its end, once; False when it had ended before."""
        if ticket.ended:
            return False
        waits = ticket.state is TicketState.WAITING
        ticket.state = state
        ticket.reason = reason
        if waits:
            self._waiting.leave(ticket)
        if state is TicketState.EXPIRED:
            self._expired.append(ticket)
        return True

    def check(self) -> None:
        """Raise AssertionError unless all that must always hold does. O(n): for tests and replays."""
        slots = [*self._free_slots, *self._running]
        rules = {
            **self._waiting.rules(),
            "no more rows wait than may": self._waiting.rows
            <= max(self._max_queued_rows, self._rows_when_bound),
            "a slot is free or owned by one batch": sorted(slots) == list(range(self._slots)),
            "no more batches run than may": len(self._running) <= self._most_running,
        }
        for batch in self._running.values():
            rules |= batch_rules(batch)
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise AssertionError(f"the planner broke its rules: {'; '.join(broken)}")
