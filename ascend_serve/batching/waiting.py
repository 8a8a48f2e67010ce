"""The tickets that wait: in what order they go, how old the oldest is, and which must start by when.

Tickets that may run in the same buckets stand in one line, ordered by when they are due and then by their offers; the
large ones, which may be split, in a line of their own. So who comes next in a bucket is the earliest of the heads of
a few lines, and how much could run there is the sum of their rows.

A ticket that ends while it waits stays in its line until it comes up, and all such are swept out when they are more
than those that live.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from heapq import heappop, heappush
from math import inf

from ascend_serve.batching.backlog import Backlog
from ascend_serve.batching.ordered import Ordered
from ascend_serve.batching.prices import Prices
from ascend_serve.batching.ticket import Ticket, TicketState

STALE = 64
"""Entries of tickets long gone that may pile up, beyond one for each that waits, before they are swept out."""

ROUNDING_S = 1e-6
"""What rounding may make of a time that was added up."""

CLOSE_S = 0.05
"""How near a time by which a ticket must start has to be, to be looked at closely."""

_WAITING = TicketState.WAITING


class Turn(Enum):
    """Who leads the next batch: whoever is due first, or those of one kind."""

    EITHER = "either"
    SMALL = "small"
    LARGE = "large"


class Line(Ordered):
    """Tickets that fit the same buckets; the one at the top always waits.

    Attributes:
        fits: the buckets, cheapest shapes first.
        large: whether its tickets may be split.
        rows: rows of it that wait.
        most_rows: a ticket of at most so many rows is whole in each of the buckets.
        row_ns: device nanoseconds of a row where rows are the cheapest.
        ahead_s: the most of a batch that may overlap the one before it: the host's part and the copy in.
        known_s: `least_s` of those numbers of rows that were asked about.
    """

    __slots__ = ("_prices", "ahead_s", "fits", "known_s", "large", "most_rows", "row_ns", "rows")

    def __init__(self, fits: tuple[int, ...], large: bool, prices: Sequence[Prices]) -> None:
        super().__init__()
        self.fits = fits
        self.large = large
        self.rows = 0
        self._prices = [prices[bucket] for bucket in fits]
        self.most_rows = min(one.gears.largest for one in self._prices)
        self.row_ns = min(one.row_ns for one in self._prices)
        self.known_s: dict[int, float] = {}
        self.ahead_s = max(
            one.costs.host_ms / 1e3 + one.longest_s[0] if one.costs.overlap else 0.0 for one in self._prices
        )

    @property
    def head(self) -> Ticket:
        """Its first ticket; there must be one."""
        return self.heap[0][2]

    def least_s(self, rows: int) -> float:
        """Seconds that a ticket of `rows` rows takes where it is the quickest."""
        if self.large:
            return min(one.least_split_s(rows) for one in self._prices)
        least_s = self.known_s[rows] = min(one.least_s(rows) for one in self._prices)
        return least_s


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
        small: the lines of tickets that are not large, by what they fit.
        work_ns: device nanoseconds of those that are not large, at the best rate.
    """

    def __init__(self, prices: Sequence[Prices], horizon_s: float) -> None:
        self._horizon_s = horizon_s
        self._prices = prices
        self.small: dict[tuple[int, ...], Line] = {}
        self._large: dict[tuple[int, ...], Line] = {}
        # Kept while it matters how much goes before whom, and some work waits; see _forget.
        self._backlog: Backlog | None = None
        self._by_age: deque[Ticket] = deque()
        self._alarms = Ordered()  # by when they must start
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

    def join(self, now: float, ticket: Ticket, line: Line, *, new: bool = True) -> None:
        """Take in a ticket, at `now`; one that is not new has its age and its alarm noted already."""
        heappush(line.heap, (ticket.due, ticket.number, ticket))
        left = ticket.rows - ticket.sealed_rows
        line.rows += left
        self.rows += left
        self.tickets += 1
        if line.large:
            self.large_tickets += 1
        else:
            work_ns = left * line.row_ns
            self.work_ns += work_ns
            if self._backlog is not None:
                self._backlog.add(now, ticket.due, work_ns)
        if ticket.deadline is not None:
            self.with_deadline += 1
            if new:
                heappush(self._alarms.heap, (ticket.latest, ticket.number, ticket))
        if new:
            by_age = self._by_age
            by_age.append(ticket)
            if len(by_age) > 2 * self.tickets + STALE:
                self._by_age = deque([one for one in by_age if one.state is _WAITING])
                self._alarms.sweep()

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
        self._forget([ticket], ticket.rows - ticket.sealed_rows, line)
        line.settle()
        self._stale += 1
        if self._stale > self.tickets + STALE:
            self._stale = 0
            for line in self.lines():
                line.sweep()

    def take(self, lines: Sequence[Line], room: int, until: float = inf, by: float = -inf) -> list[Ticket]:
        """Take whole tickets in order while they fit into `room` rows; who does not fit ends it.

        Args:
            lines: whose tickets, none of them large.
            room: rows.
            until: nobody who was offered later than this.
            by: nobody whose deadline is before this.
        """
        taken: list[Ticket] = []
        alone, stale = len(lines) == 1, self._stale
        while room and (line := lines[0] if alone else earliest(lines)) is not None:
            some: list[Ticket] = []
            heap = line.heap
            before = room
            while heap:
                ticket = heap[0][2]
                rows = ticket.rows
                if rows > room or ticket.offered_at > until:
                    break
                if ticket.deadline is not None and ticket.deadline < by:
                    break
                heappop(heap)
                if stale:
                    line.settle()
                room -= rows
                some.append(ticket)
                if not alone:
                    break
            self._forget(some, before - room, line)
            taken += some
            if alone or not some:
                break
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
        ticket = heappop(line.heap)[2]
        line.settle()
        self._forget([ticket], ticket.rows - ticket.sealed_rows, line)
        return ticket

    def put_back(self, now: float, ticket: Ticket) -> None:
        """Let a ticket that was taken wait on: all of it, or what is left of a large one, in its bucket."""
        if ticket.bucket is not None:
            ticket.fits = (ticket.bucket,)
        line = self._line(ticket.fits, large=ticket.large)
        self.join(now, ticket, line, new=False)
        if ticket.deadline is not None:
            latest = ticket.deadline - line.least_s(ticket.rows - ticket.sealed_rows)
            if latest < ticket.latest:  # a later one is noticed when the alarm rings
                heappush(self._alarms.heap, (latest, ticket.number, ticket))
            ticket.latest = latest

    # --- what waits -----------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Ticket]:
        """All that wait, in no order."""
        for line in self.lines():
            for entry in line:
                yield entry[2]

    def lines(self) -> list[Line]:
        """Every line, small ones first; some may be empty."""
        return [*self.small.values(), *self._large.values()]

    def leading(self, turn: Turn) -> Line:
        """The line whose head leads the next batch; something must wait."""
        if turn is Turn.EITHER or not self.large_tickets or self.large_tickets == self.tickets:
            lines = self.lines()
        else:
            lines = list((self.small if turn is Turn.SMALL else self._large).values())
        line = earliest(lines)
        if line is None:
            raise ValueError("nothing waits")
        return line

    def oldest_at(self) -> float:
        """When the oldest of them was offered, in seconds; there must be one."""
        by_age = self._by_age
        while by_age[0].state is not _WAITING:
            by_age.popleft()
        return by_age[0].offered_at

    def ahead_ns(self, now: float, due: float) -> int:
        """Device nanoseconds of the small tickets that go before one due at `due`, at the best rate.

        Large ones do not count: they hold up the others for a batch at a time only.
        """
        if self._backlog is None:
            self._backlog = Backlog(self._horizon_s)
            for line in self.small.values():
                for _, _, ticket in line:
                    self._backlog.add(now, ticket.due, ticket.rows * line.row_ns)
        return self._backlog.ahead_ns(now, due)

    # --- who must start by when -----------------------------------------------------------------

    def next_latest(self, now: float) -> float:
        """The earliest time by which a ticket must start, in seconds; infinite if none must.

        More than CLOSE_S after `now` it may be too early: it is that of a ticket that waits no more. To look closely
        costs as much as the rest of the queue, and most tickets run long before.
        """
        if not self.with_deadline:
            return inf
        alarms = self._alarms.heap
        close = now + CLOSE_S
        while alarms:
            at, number, ticket = alarms[0]
            if at > close or (ticket.state is _WAITING and ticket.latest == at):
                return at
            heappop(alarms)
            if (
                ticket.state is _WAITING and ticket.latest > at
            ):  # part of it was sealed: the rest may start later
                heappush(alarms, (ticket.latest, number, ticket))
        return inf

    def next_too_late(self, now: float) -> Ticket | None:
        """A ticket that should have started by `now`, or None."""
        alarms = self._alarms.heap
        if not alarms or alarms[0][0] > now or self.next_latest(now) > now:
            return None
        return alarms[0][2]

    def small_latest(self, by: float) -> float:
        """The earliest time before `by` at which a ticket that is not large must start; infinite if none must.

        O(1) while nobody must start before `by`, else O(n).
        """
        if self.next_latest(by) >= by:
            return inf
        return min((one.latest for at, _, one in self._alarms if at < by and not one.large), default=inf)

    # --- inside ---------------------------------------------------------------------------------

    def _line(self, fits: tuple[int, ...], *, large: bool) -> Line:
        lines = self._large if large else self.small
        line = lines.get(fits)
        if line is None:
            line = lines[fits] = Line(fits, large, self._prices)
        return line

    def _forget(self, tickets: Sequence[Ticket], rows: int, line: Line) -> None:
        """Count tickets of a line no more, which have left it with so many rows."""
        line.rows -= rows
        self.rows -= rows
        self.tickets -= len(tickets)
        if self.with_deadline:
            self.with_deadline -= sum([one.deadline is not None for one in tickets])
        if line.large:
            self.large_tickets -= len(tickets)
            return
        self.work_ns -= rows * line.row_ns
        if self._backlog is not None:
            for ticket in tickets:
                self._backlog.remove(ticket.due, ticket.rows * line.row_ns)
            if not self.work_ns:
                self._backlog = None

    def rules(self) -> dict[str, bool]:
        """What must always hold, in words, and whether it does. O(n)."""
        tickets = list(self)
        in_small = {ticket for line in self.small.values() for _, _, ticket in line}
        return {
            "whoever is counted waits, in one line": len(tickets) == len(set(tickets)) == self.tickets,
            "a ticket that waits has rows left": all(one.sealed_rows < one.rows for one in tickets),
            "waiting rows are counted right": self.rows
            == sum(line.rows for line in self.lines())
            == sum(one.rows - one.sealed_rows for one in tickets),
            "the head of a line waits": all(
                line.head.state is _WAITING for line in self.lines() if line.heap
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
            <= {ticket for at, _, ticket in self._alarms if at <= ticket.latest},
            "nobody is due later than the horizon": all(
                one.due <= one.offered_at + self._horizon_s + ROUNDING_S for one in tickets
            ),
            "the work that waits is counted right": self.work_ns
            == sum(one.rows * self.small[one.fits].row_ns for one in tickets if not one.large)
            == (self.work_ns if self._backlog is None else self._backlog.total_ns),
        }


def earliest(lines: Iterable[Line]) -> Line | None:
    """The line whose head is due first, or None if all are empty."""
    earliest = first = None
    for line in lines:
        if line.heap and (first is None or line.heap[0] < first):
            earliest, first = line, line.heap[0]
    return earliest
