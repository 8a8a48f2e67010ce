"""Lines: tickets that may run in the same buckets, ordered by when they are due and then by their offers.

The large ones, which may be split, stand in lines of their own. So who comes next in a bucket is the earliest of the
heads of a few lines, and how much could run there is the sum of their rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heapreplace
from math import inf

from ascend_serve.batching.ordered import Ordered
from ascend_serve.batching.prices import Prices
from ascend_serve.batching.ticket import Ticket, TicketState

ROUNDING_S = 1e-6
"""What rounding may make of a time that was added up."""

_WAITING = TicketState.WAITING


class Line(Ordered):
    """Tickets that fit the same buckets, by when they are due; the first one always waits.

    Attributes:
        fits: the buckets, cheapest shapes first.
        large: whether its tickets may be split.
        rows: rows of it that wait.
        ended: tickets in it that wait no more.
        most_rows: a ticket of at most so many rows is whole in each of the buckets.
        row_ns: device nanoseconds of a row where rows are the cheapest.
        lead_s: the most by which a ticket of it had to start before it was due, in seconds.
        ahead_s: the most of a batch that may overlap the one before it: the host's part and the copy in.
        known_s: `least_s` of those numbers of rows that were asked about.
    """

    __slots__ = (
        "_prices",
        "ahead_s",
        "ended",
        "fits",
        "known_s",
        "large",
        "lead_s",
        "most_rows",
        "row_ns",
        "rows",
    )

    def __init__(self, fits: tuple[int, ...], large: bool, prices: Sequence[Prices]) -> None:
        super().__init__()
        self.fits = fits
        self.large = large
        self.rows = self.ended = 0
        self.lead_s = -inf
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
        return self.tickets[0]

    @property
    def place(self) -> tuple[float, int]:
        """By which it is compared with other lines: the earliest goes first. There must be a ticket."""
        return self.times[0], self.tickets[0].number

    def least_s(self, rows: int) -> float:
        """Seconds that a ticket of `rows` rows takes where it is the quickest."""
        if self.large:
            return min(one.least_split_s(rows) for one in self._prices)
        least_s = self.known_s[rows] = min(one.least_s(rows) for one in self._prices)
        return least_s

    def least_latest(self) -> float:
        """A time before which none of its tickets must start, in seconds; there must be one."""
        return self.times[0] - self.lead_s - ROUNDING_S

    def take(self, room: int, until: float, by: float) -> list[Ticket]:
        """Take whole tickets in order while they fit into `room` rows; see `take_whole`."""
        choosy = until < inf or by > -inf
        if not self.ended and self.rows == len(self.tickets) and not choosy:  # each of them has one row
            taken = self.tickets[:room]
            self.drop(len(taken))
            self.rows -= len(taken)
            return taken
        taken = []
        left = room
        passed = 0
        for ticket in self.tickets:
            if ticket.state is _WAITING:
                rows = ticket.rows
                if rows > left or (choosy and not _wanted(ticket, until, by)):
                    break
                left -= rows
                taken.append(ticket)
            passed += 1
        self.drop(passed)
        self.ended -= passed - len(taken)
        self.rows -= room - left
        return taken

    def take_head(self) -> Ticket:
        """Take the first ticket with all rows of it that wait; there must be one."""
        ticket = self.tickets[0]
        self.drop(1)
        self.settle()
        self.rows -= ticket.rows - ticket.sealed_rows
        return ticket

    def settle(self) -> None:
        """Bring a ticket that waits to the front."""
        gone = 0
        for ticket in self.tickets:
            if ticket.state is _WAITING:
                break
            gone += 1
        if gone:
            self.drop(gone)
            self.ended -= gone

    def sweep(self) -> None:
        """Drop all entries of tickets that wait no more; O(n)."""
        super().sweep()
        self.ended = 0


def earliest(lines: Iterable[Line]) -> Line | None:
    """The line whose head is due first, or None if all are empty."""
    first: Line | None = None
    due = inf
    for line in lines:
        if not line.times:
            continue
        at = line.times[0]
        if first is None or at < due or (at == due and line.head.number < first.head.number):
            first, due = line, at
    return first


def _wanted(ticket: Ticket, until: float, by: float) -> bool:
    """Whether a ticket was offered no later than `until`, and has no deadline before `by`."""
    return ticket.offered_at <= until and (ticket.deadline is None or ticket.deadline >= by)


def take_whole(lines: Sequence[Line], room: int, until: float = inf, by: float = -inf) -> list[Ticket]:
    """Take whole tickets in order while they fit into `room` rows; who does not fit ends it.

    Args:
        lines: whose tickets, none of them large.
        room: rows.
        until: nobody who was offered later than this.
        by: nobody whose deadline is before this.
    """
    filled = [line for line in lines if line.tickets]
    if len(filled) == 1:
        return filled[0].take(room, until, by)
    taken: list[Ticket] = []
    heads = [(*line.place, 0, line) for line in filled]
    heapify(heads)
    passed: dict[Line, int] = {}
    while heads:
        _, _, place, line = heads[0]
        ticket = line.tickets[place]
        if ticket.state is _WAITING:
            rows = ticket.rows
            if rows > room or not _wanted(ticket, until, by):
                break
            room -= rows
            line.rows -= rows
            taken.append(ticket)
        else:
            line.ended -= 1
        passed[line] = place = place + 1
        if place < len(line.tickets):
            heapreplace(heads, (line.times[place], line.tickets[place].number, place, line))
        else:
            heappop(heads)
    for line, count in passed.items():
        line.drop(count)
        line.settle()
    return taken
