"""Tickets in order of a time, of which any may end while it waits."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop

from ascend_serve.batching.ticket import Ticket, TicketState

Entry = tuple[float, int, Ticket]
"""A time, the ticket's number, and the ticket: two entries never compare tickets, for numbers are unique."""

_WAITING = TicketState.WAITING


class Ordered:
    """A heap of entries; those of tickets that wait no more stay in it until they come up.

    Attributes:
        heap: the entries, for `heapq`.
    """

    __slots__ = ("heap",)

    def __init__(self) -> None:
        self.heap: list[Entry] = []

    def settle(self) -> None:
        """Bring a ticket that waits to the top."""
        heap = self.heap
        while heap and heap[0][2].state is not _WAITING:
            heappop(heap)

    def sweep(self) -> None:
        """Drop all entries of tickets that wait no more; O(n)."""
        self.heap = list(self)
        heapify(self.heap)

    def __iter__(self) -> Iterator[Entry]:
        """The entries of tickets that wait, in no order."""
        for entry in self.heap:
            if entry[2].state is _WAITING:
                yield entry
