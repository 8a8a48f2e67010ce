"""Tickets, and the batches that they are sealed into."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import NamedTuple


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
        fits: the buckets that it may run in, cheapest shapes first; those that hold it whole if any does.
        priority: its level; 1 is the most urgent.
        large: whether it may be split, for it has more rows than any gear it could run at.
        due: its place in the order of those that wait, in seconds: the earlier goes first.
        latest: when its first row must start, in seconds, so that the deadline is met at the quickest.
        bucket: the bucket that it runs in; None until its first row is sealed.
        state: where it is.
        passed: whether a batch of other shapes went before it, although it was the first of all.
        sealed_rows: rows that are in a batch, from row 0 on.
        landed_rows: rows of batches that came back without an error.
        reason: why it EXPIRED, in words; empty unless it did.
    """

    number: int
    rows: int
    offered_at: float
    deadline: float | None
    fits: tuple[int, ...]
    priority: int
    large: bool
    due: float
    latest: float = inf
    bucket: int | None = None
    state: TicketState = TicketState.WAITING
    passed: bool = False
    sealed_rows: int = 0
    landed_rows: int = 0
    reason: str = ""

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


class Batch(NamedTuple):
    """Tickets sealed for one slot.

    Attributes:
        slot: the slot it owns until it has finished or failed.
        bucket: index of the shapes that it runs with.
        gear: rows that the device runs, a compiled gear of that bucket.
        rows: rows that are real; the rest of the gear is padding.
        pieces: what is in it, in slot order without gaps.
        sealed_at: when it was sealed, in seconds.
    """

    slot: int
    bucket: int
    gear: int
    rows: int
    pieces: tuple[Piece, ...]
    sealed_at: float


def batch_rules(batch: Batch) -> dict[str, bool]:
    """What must always hold of a running batch, in words, and whether it does."""
    ends = [piece.at + piece.rows for piece in batch.pieces]
    slot = f"slot {batch.slot}: "
    return {
        slot + "rows have room in the gear": 0 < batch.rows <= batch.gear,
        slot + "pieces lie one after the other": ends[-1] == batch.rows
        and [piece.at for piece in batch.pieces] == [0, *ends[:-1]],
        slot + "pieces are rows of their tickets": all(
            0 <= start < start + rows <= ticket.sealed_rows for ticket, start, rows, _ in batch.pieces
        ),
        slot + "tickets run in its bucket": all(
            piece.ticket.bucket == batch.bucket for piece in batch.pieces
        ),
    }
