"""Which of the tickets that wait must start by when, lest their deadlines pass.

Most tickets run long before they must. So an alarm is only set when its time is near: what must start later is left
alone until then, and by then hardly anyone of those still waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf

from ascend_serve.batching.lines import Line
from ascend_serve.batching.ordered import Ordered
from ascend_serve.batching.ticket import Ticket, TicketState

NEAR_S = 0.01
"""A time that is no further away is known exactly."""

AHEAD_S = 0.1
"""How far ahead alarms are set at once. Each time all that wait are looked at, which may not be often."""

FURTHEST_S = 1.0
"""After so long all that wait are looked at again, though none of them is near: others with less time have come."""

_WAITING = TicketState.WAITING


class Alarms:
    """Alarms of tickets at the time when they must start, or at an earlier one; any ticket may end while it waits.

    Args:
        tickets: all that wait, by their numbers; kept up to date by whoever made this, as are the lines.
        lines: every line that they stand in.

    Attributes:
        until: a ticket has an alarm if it must start before that, in seconds.
    """

    __slots__ = ("_lines", "_near", "_tickets", "until")

    def __init__(self, tickets: Mapping[int, Ticket], lines: Sequence[Line]) -> None:
        self._tickets = tickets
        self._lines = lines
        self._near = Ordered()
        self.until = -inf

    def set(self, ticket: Ticket) -> None:
        """Have an alarm ring when a ticket must start; nothing needs to be done if that is at `until` or later."""
        if ticket.latest < self.until:
            self._near.add(ticket.latest, ticket)

    def next_at(self, now: float) -> float:
        """The earliest time by which a ticket must start, in seconds, or earlier; infinite if none must.

        It is exact where it is less than NEAR_S after `now`.
        """
        if self.until <= now + NEAR_S:
            self._look_ahead(now)
        near = self._near
        while near.times:
            at, ticket = near.times[0], near.tickets[0]
            if ticket.state is _WAITING:
                if ticket.latest == at:
                    return at
                if ticket.latest > at:  # part of it was sealed, and the rest may start later
                    self.set(ticket)
            near.drop(1)
        return self.until

    def soonest(self) -> float:
        """The earliest time by which a ticket must start, in seconds, exactly; infinite if none must. O(n)."""
        at = self.next_at(-inf)
        return at if at < self.until else min([one.latest for one in self._tickets.values()], default=inf)

    def next_too_late(self, now: float) -> Ticket | None:
        """A ticket that should have started by `now`, or None."""
        return self._near.tickets[0] if self.next_at(now) <= now else None

    def small_at(self, by: float) -> float:
        """The earliest time before `by` at which a ticket that is not large must start; infinite if none must.

        O(1) while nobody must start before `by`, else O(n).
        """
        if self.next_at(by) >= by:
            return inf
        return min([one.latest for at, one in self._near if at < by and not one.large], default=inf)

    def sweep(self) -> None:
        """Drop the alarms of tickets that wait no more; O(n)."""
        self._near.sweep()

    def _look_ahead(self, now: float) -> None:
        """Set the alarms of the next AHEAD_S, or find that none is near; O(n) unless the lines tell that."""
        bound = min([line.least_latest() for line in self._lines if line.times], default=-inf)
        if bound > now + NEAR_S:
            self.until = min(bound, now + FURTHEST_S)
            return
        since, by = self.until, now + AHEAD_S
        later = [one.latest for one in self._tickets.values() if one.latest >= by]
        self.until = min(min(later, default=by), now + FURTHEST_S)
        coming = [(one.latest, one.number) for one in self._tickets.values() if since <= one.latest < by]
        coming.sort()
        for at, number in coming:
            self._near.add(at, self._tickets[number])

    def __len__(self) -> int:
        """Alarms that are set, also those of tickets that wait no more."""
        return len(self._near)

    def __iter__(self) -> Iterator[tuple[float, Ticket]]:
        """The tickets that wait, each with a time no later than it must start."""
        yield from self._near
        for ticket in self._tickets.values():
            if ticket.latest >= self.until:
                yield self.until, ticket
