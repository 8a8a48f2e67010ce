"""The tickets that wait: in what order they go, how old the oldest is, and which must start by when.

They stand in lines (`lines`), a line for each combination of buckets that tickets fit. A ticket that ends while it
waits stays in its line until it comes up, and all such are swept out when they are more than those that live.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from math import inf

from ascend_serve.batching.alarms import Alarms
from ascend_serve.batching.backlog import Backlog
from ascend_serve.batching.lines import ROUNDING_S, Line, earliest, take_whole
from ascend_serve.batching.prices import Prices
from ascend_serve.batching.ticket import Ticket, TicketState

STALE = 64
"""Entries of tickets long gone that may pile up, beyond one for each that waits, before they are swept out."""

_WAITING = TicketState.WAITING
_RUNNING = TicketState.RUNNING


class Turn(Enum):
    """Who leads the next batch: whoever is due first, or those of one kind."""

    EITHER = "either"
    SMALL = "small"
    LARGE = "large"


class Waiting:
    """All tickets with rows that wait.

    Args:
        prices: what the gears of each bucket cost.
        horizon_s: no ticket is due later than this after its offer.

    Attributes:
        rows: rows that wait.
        tickets: tickets with rows that wait.
        large_tickets: those of them that may be split.
        with_deadline: those of them with a deadline.
        lines: every line, small ones first; some may be empty.
        small: the lines of tickets that are not large, by what they fit.
        work_ns: device nanoseconds of those that are not large, at the best rate.
    """

    def __init__(self, prices: Sequence[Prices], horizon_s: float) -> None:
        self._horizon_s = horizon_s
        self._prices = prices
        self.lines: list[Line] = []
        self.small: dict[tuple[int, ...], Line] = {}
        self._large: dict[tuple[int, ...], Line] = {}
        # Kept while it matters how much goes before whom, and some work waits; see _forget.
        self._backlog: Backlog | None = None
        self._by_age: dict[int, Ticket] = {}
        self._alarms = Alarms(self._by_age, self.lines)
        self._stale = 0
        self.rows = self.tickets = self.large_tickets = self.with_deadline = self.work_ns = 0

    # --- in and out -----------------------------------------------------------------------------

    def line_for(self, fits: tuple[int, ...], rows: int) -> Line:
        """The line of a ticket of `rows` rows that fits these buckets.

        Only the buckets that hold it whole count, if any does.

        Raises:
            ValueError: no bucket, or one that is not there.
        """
        line = self.small.get(fits)
        if line is not None and rows <= line.most_rows:
            return line
        if not fits or not all(0 <= bucket < len(self._prices) for bucket in fits):
            raise ValueError(f"a ticket fits buckets {list(fits)}; there are {len(self._prices)}, from 0 on")
        whole = tuple(bucket for bucket in fits if rows <= self._prices[bucket].gears.largest)
        return self._line(whole, large=False) if whole else self._line(fits, large=True)

    def join(self, now: float, ticket: Ticket, line: Line) -> None:
        """Take in a ticket, at `now`; the older ones first."""
        self._by_age[ticket.number] = ticket
        due, times = ticket.due, line.times
        if times and due < times[-1]:
            line.add(due, ticket)
        else:  # most often, and nobody there is younger
            times.append(due)
            line.tickets.append(ticket)
        # As `_count` does: each call less is a hundredth of what a ticket costs.
        rows = ticket.rows - ticket.sealed_rows
        line.rows += rows
        self.rows += rows
        self.tickets += 1
        if ticket.deadline is not None:
            self.with_deadline += 1
            latest = ticket.latest
            if due - latest > line.lead_s:
                line.lead_s = due - latest
            if latest < self._alarms.until:
                self._alarms.set(ticket)
        if line.large:
            self.large_tickets += 1
        else:
            work_ns = rows * line.row_ns
            self.work_ns += work_ns
            if self._backlog is not None:
                self._backlog.add(now, due, work_ns)

    def rejoin(self, ticket: Ticket) -> None:
        """Take in a ticket that has waited in another queue, for other prices; the older ones first.

        It stays in the buckets that it fitted there.
        """
        begun = ticket.bucket is not None
        line = self._line(ticket.fits, large=True) if begun else self.line_for(ticket.fits, ticket.rows)
        ticket.fits, ticket.large = line.fits, line.large
        if ticket.deadline is not None:
            ticket.latest = ticket.deadline - line.least_s(ticket.rows - ticket.sealed_rows)
        self.join(ticket.offered_at, ticket, line)

    def leave(self, ticket: Ticket) -> None:
        """Let out a ticket that has just ended; its state says so already."""
        line = (self._large if ticket.large else self.small)[ticket.fits]
        left = ticket.rows - ticket.sealed_rows
        line.rows -= left
        line.ended += 1
        line.settle()
        self._forget_rows(left, line)
        self._forget([ticket])
        del self._by_age[ticket.number]
        self._stale += 1
        if self._stale > self.tickets + STALE:
            self._stale = 0
            for line in self.lines:
                line.sweep()

    def take(self, lines: Sequence[Line], room: int, until: float = inf, by: float = -inf) -> list[Ticket]:
        """Take whole tickets in order while they fit into `room` rows; who does not fit ends it.

        Args:
            lines: whose tickets, none of them large.
            room: rows.
            until: nobody who was offered later than this.
            by: nobody whose deadline is before this.
        """
        if len(lines) == 1:
            (line,) = lines
            rows = line.rows
            taken = line.take(room, until, by)
            self._forget_rows(rows - line.rows, line)
        else:
            before = [line.rows for line in lines]
            taken = take_whole(lines, room, until, by)
            for line, rows in zip(lines, before, strict=True):
                self._forget_rows(rows - line.rows, line)
        self._forget(taken)
        return taken

    def take_large(
        self, lines: Sequence[Line], room: int, until: float = inf, by: float = -inf
    ) -> list[Ticket]:
        """Take large tickets in order until `room` rows are full; the last one need not fit whole.

        Args:
            lines: whose tickets, all of them large.
            room: rows.
            until: nobody who was offered later than this.
            by: nobody whose deadline is before this.
        """
        taken: list[Ticket] = []
        while room > 0 and (line := earliest(lines)) is not None:
            ticket = line.head
            if ticket.offered_at > until or (ticket.deadline is not None and ticket.deadline < by):
                break
            room -= ticket.rows - ticket.sealed_rows
            taken.append(self.take_head(line))
        return taken

    def take_head(self, line: Line) -> Ticket:
        """Take the first ticket of a line, with all rows of it that wait; there must be one."""
        ticket = line.take_head()
        self._forget_rows(ticket.rows - ticket.sealed_rows, line)
        self._forget([ticket])
        return ticket

    def put_back(self, now: float, ticket: Ticket) -> None:
        """Let a ticket that was taken wait on: all of it, or what is left of a large one, in its bucket."""
        if ticket.bucket is not None:
            ticket.fits = (ticket.bucket,)
        line = self._line(ticket.fits, large=ticket.large)
        line.add(ticket.due, ticket)
        self._count(now, ticket, line)
        if ticket.deadline is not None:
            before = ticket.latest
            ticket.latest = ticket.deadline - line.least_s(ticket.rows - ticket.sealed_rows)
            line.lead_s = max(line.lead_s, ticket.due - ticket.latest)
            if ticket.latest < before:  # a later one is noticed when the alarm rings
                self._alarms.set(ticket)

    def started(self, tickets: Sequence[Ticket]) -> None:
        """Note that no row waits any more of those of these tickets that run; they were taken."""
        by_age = self._by_age
        for ticket in tickets:
            if ticket.state is _RUNNING:
                del by_age[ticket.number]

    # --- what waits -----------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Ticket]:
        """All that wait, in no order."""
        for line in self.lines:
            for _, ticket in line:
                yield ticket

    def leading(self, turn: Turn) -> Line:
        """The line whose head leads the next batch; something must wait."""
        if not self.large_tickets or turn is Turn.EITHER or self.large_tickets == self.tickets:
            line = earliest(self.lines)
        else:
            line = earliest((self.small if turn is Turn.SMALL else self._large).values())
        if line is None:
            raise ValueError("nothing waits")
        return line

    def oldest_at(self) -> float:
        """When the oldest of them was offered, in seconds; there must be one."""
        return next(iter(self._by_age.values())).offered_at

    def ahead_ns(self, now: float, due: float) -> int:
        """Device nanoseconds of the small tickets that go before one due at `due`, at the best rate.

        Large ones do not count: they hold up the others for a batch at a time only.
        """
        if self._backlog is None:
            self._backlog = Backlog(self._horizon_s)
            for line in self.small.values():
                for _, ticket in line:
                    self._backlog.add(now, ticket.due, ticket.rows * line.row_ns)
        return self._backlog.ahead_ns(now, due)

    # --- who must start by when -----------------------------------------------------------------

    def next_latest(self, now: float) -> float:
        """The earliest time by which a ticket must start, in seconds, or earlier; infinite if none must.

        It may be earlier only where it is far away (`Alarms.next_at`).
        """
        return self._alarms.next_at(now) if self.with_deadline else inf

    def soonest_latest(self) -> float:
        """The earliest time by which a ticket must start, in seconds, exactly; infinite if none must."""
        return self._alarms.soonest() if self.with_deadline else inf

    def next_too_late(self, now: float) -> Ticket | None:
        """A ticket that should have started by `now`, or None."""
        return self._alarms.next_too_late(now) if self.with_deadline else None

    def small_latest(self, by: float) -> float:
        """The earliest time before `by` at which a ticket that is not large must start; infinite if none must."""
        return self._alarms.small_at(by) if self.with_deadline else inf

    # --- inside ---------------------------------------------------------------------------------

    def _line(self, fits: tuple[int, ...], *, large: bool) -> Line:
        lines = self._large if large else self.small
        line = lines.get(fits)
        if line is None:
            line = lines[fits] = Line(fits, large, self._prices)
            self.lines[:] = *self.small.values(), *self._large.values()
        return line

    def _count(self, now: float, ticket: Ticket, line: Line) -> None:
        """Count a ticket that waits from now on, in a line."""
        left = ticket.rows - ticket.sealed_rows
        line.rows += left
        self.rows += left
        self.tickets += 1
        if ticket.deadline is not None:
            self.with_deadline += 1
        if line.large:
            self.large_tickets += 1
            return
        work_ns = left * line.row_ns
        self.work_ns += work_ns
        if self._backlog is not None:
            self._backlog.add(now, ticket.due, work_ns)

    def _forget_rows(self, rows: int, line: Line) -> None:
        """Count rows no more, which have left a line."""
        self.rows -= rows
        if not line.large:
            self.work_ns -= rows * line.row_ns

    def _forget(self, tickets: Sequence[Ticket]) -> None:
        """Count tickets no more, whose rows are counted no more; all of them large, or none."""
        self.tickets -= len(tickets)
        if self.with_deadline:
            self.with_deadline -= len([1 for one in tickets if one.deadline is not None])
        if self.large_tickets:
            self.large_tickets -= len([1 for one in tickets if one.large])
        if self._backlog is not None:
            for ticket in tickets:
                if not ticket.large:
                    self._backlog.remove(ticket.due, ticket.rows * self.small[ticket.fits].row_ns)
            if not self.work_ns:
                self._backlog = None
        if len(self._alarms) > 2 * self.with_deadline + STALE:
            self._alarms.sweep()

    def rules(self) -> dict[str, bool]:
        """What must always hold, in words, and whether it does. O(n)."""
        tickets = list(self)
        in_small = {ticket for line in self.small.values() for _, ticket in line}
        return {
            "whoever is counted waits, in one line": len(tickets) == len(set(tickets)) == self.tickets,
            "tickets are known by their age": list(self._by_age.values())
            == sorted(tickets, key=lambda one: one.number),
            "a ticket that waits has rows left": all(one.sealed_rows < one.rows for one in tickets),
            "waiting rows are counted right": self.rows
            == sum(line.rows for line in self.lines)
            == sum(one.rows - one.sealed_rows for one in tickets),
            "the head of a line waits": all(
                line.head.state is _WAITING for line in self.lines if line.tickets
            ),
            "large tickets are counted right": self.large_tickets == sum(one.large for one in tickets),
            "deadlines are counted right": self.with_deadline
            == sum(one.deadline is not None for one in tickets),
            "only large tickets are split": not any(
                one.sealed_rows or one.bucket is not None for one in tickets if not one.large
            ),
            "a split ticket stays in its bucket": all(
                one.fits == (one.bucket,) for one in tickets if one.sealed_rows
            ),
            "large and small stand apart": not any(one.large for one in in_small),
            "a small ticket is whole in each bucket it fits": all(
                one.rows <= self._prices[bucket].gears.largest
                for one in tickets
                if not one.large
                for bucket in one.fits
            ),
            "every deadline has its alarm": {one for one in tickets if one.deadline is not None}
            <= {one for at, one in self._alarms if at <= one.latest},
            "nobody must start before its line says": all(
                one.latest >= line.least_latest() for line in self.lines for _, one in line
            ),
            "lines are in order": all(map(_in_order, self.lines)),
            "who waits no more is counted right": all(
                line.ended == len(line) - len(list(line)) for line in self.lines
            ),
            "nobody is due later than the horizon": all(
                one.due <= one.offered_at + self._horizon_s + ROUNDING_S for one in tickets
            ),
            "the work that waits is counted right": self.work_ns
            == sum(one.rows * self.small[one.fits].row_ns for one in tickets if not one.large)
            == (self.work_ns if self._backlog is None else self._backlog.total_ns),
        }


def _in_order(line: Line) -> bool:
    places = [(at, ticket.number) for at, ticket in line]
    return places == sorted(places)
