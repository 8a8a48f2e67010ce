"""Which of the tickets that wait must start by when, lest their deadlines pass.

Most tickets run long before they must. So an alarm that is far away is only thrown into the bin of its hundredth of a
second, and a bin is looked at when its time is near: then hardly anyone in it still waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from math import floor, inf

from ascend_serve.batching.ordered import Ordered
from ascend_serve.batching.ticket import Ticket, TicketState

BIN_S = 0.01
"""Width of a bin; an alarm is near if its bin begins before as much has passed."""

_WAITING = TicketState.WAITING


class Alarms:
    """Alarms of tickets at the time when they must start, or at an earlier one; any ticket may end while it waits."""

    __slots__ = ("_bins", "_far", "_far_alarms", "_near")

    def __init__(self) -> None:
        self._near = Ordered()
        self._far: dict[int, list[Ticket]] = {}
        self._far_alarms = 0
        self._bins: list[int] = []  # the keys of `_far`, as a heap

    def set(self, ticket: Ticket) -> None:
        """Have an alarm ring when a ticket must start."""
        self._far_alarms += 1
        place = floor(ticket.latest / BIN_S)
        try:
            self._far[place].append(ticket)
        except KeyError:
            self._far[place] = [ticket]
            heappush(self._bins, place)

    def next_at(self, now: float) -> float:
        """The earliest time by which a ticket must start, in seconds, or earlier; infinite if none must.

        It is exact where it is less than BIN_S after `now`.
        """
        near, bins = self._near, self._bins
        while bins and bins[0] * BIN_S <= now + BIN_S:
            tickets = self._far.pop(heappop(bins))
            self._far_alarms -= len(tickets)
            coming = [(one.latest, one.number, one) for one in tickets if one.state is _WAITING]
            coming.sort()
            for at, _, ticket in coming:
                near.add(at, ticket)
        far_at = bins[0] * BIN_S if bins else inf
        while near.times:
            at, ticket = near.times[0], near.tickets[0]
            if ticket.state is _WAITING:
                if ticket.latest == at:
                    return min(at, far_at)
                if ticket.latest > at:  # part of it was sealed, and the rest may start later
                    near.add(ticket.latest, ticket)
            near.drop(1)
        return far_at

    def soonest(self) -> float:
        """The earliest time by which a ticket must start, in seconds, exactly; infinite if none must."""
        at, found = -inf, self.next_at(-inf)
        while found != at:
            at, found = found, self.next_at(found)
        return found

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
        self._far = {
            place: waiting
            for place, tickets in self._far.items()
            if (waiting := [one for one in tickets if one.state is _WAITING])
        }
        self._far_alarms = sum(map(len, self._far.values()))
        self._bins = list(self._far)
        heapify(self._bins)

    def __len__(self) -> int:
        """Alarms, also those of tickets that wait no more."""
        return self._far_alarms + len(self._near)

    def __iter__(self) -> Iterator[tuple[float, Ticket]]:
        """The tickets that wait, each with a time no later than its alarm."""
        yield from self._near
        for place, tickets in self._far.items():
            yield from [(place * BIN_S, one) for one in tickets if one.state is _WAITING]
