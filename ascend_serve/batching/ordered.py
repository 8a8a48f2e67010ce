"""Tickets in order of a time, of which any may end while it waits."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from ascend_serve.batching.ticket import Ticket, TicketState

FEW = 64
"""So many entries are moved one by one as quickly as in a block."""

_WAITING = TicketState.WAITING


class Ordered:
    """Two lists, one of times in order and one of the tickets that they are of.

    Most tickets are added at the end and leave at the front, many at once, which is what lists are quick at. Those
    that wait no more stay until they come up or are swept out.

    Attributes:
        times: ascending.
        tickets: of each time; those of equal times by their numbers.
    """

    __slots__ = ("tickets", "times")

    def __init__(self) -> None:
        self.times: list[float] = []
        self.tickets: list[Ticket] = []

    def add(self, at: float, ticket: Ticket) -> None:
        """Put a ticket in its place."""
        times, tickets = self.times, self.tickets
        if not times or (at >= times[-1] and ticket.number > tickets[-1].number):
            times.append(at)
            tickets.append(ticket)
            return
        place = bisect_right(times, at)
        # Of equal times: hardly ever, for nobody new comes before those that wait.
        while place and times[place - 1] == at and tickets[place - 1].number > ticket.number:
            place -= 1
        if place + FEW > len(times):
            times.insert(place, at)
            tickets.insert(place, ticket)
        else:  # what lies behind moves as one block; `insert` moves it entry by entry, three times as slowly
            times[place:place] = (at,)
            tickets[place:place] = (ticket,)

    def drop(self, count: int) -> None:
        """Let out the first `count` entries."""
        del self.times[:count]
        del self.tickets[:count]

    def sweep(self) -> None:
        """Drop all entries of tickets that wait no more; O(n)."""
        entries = list(self)
        self.times = [at for at, _ in entries]
        self.tickets = [ticket for _, ticket in entries]

    def __len__(self) -> int:
        """Entries, also those of tickets that wait no more."""
        return len(self.times)

    def __iter__(self) -> Iterator[tuple[float, Ticket]]:
        """The entries of tickets that wait, in order."""
        for entry in zip(self.times, self.tickets, strict=True):
            if entry[1].state is _WAITING:
                yield entry
