"""Which requests of a failed batch make the device fail: found by running parts of the batch again.

A failed batch is cut in halves between its requests, and a half that fails is cut again, so that in the end whatever
fails stands alone; everybody else has a result by then. One bad request among n costs about 2 log2(n) runs, of which
half fail. A request that was alone in its batch is run once more, for a failure may pass.

This is the plan alone: the engine runs the parts, one at a time and in the slot that the batch owns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ascend_serve.batching.planner import Batch, Piece, Ticket
from ascend_serve.errors import AscendServeError

MOST_RUNS = 3
"""Runs of one request that fail while other models' batches are on the device too; then it is blamed all the same."""


@dataclass(eq=False, slots=True)
class Group:
    """A part of a failed batch, to be run by itself.

    Attributes:
        batch: whose slot and shapes it has.
        pieces: what is in it.
        runs: how often it ran by itself and failed.
    """

    batch: Batch
    pieces: tuple[Piece, ...]
    runs: int = 0


class Isolation:
    """The parts of failed batches that are still to be run, the last one first."""

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._batches: list[Batch] = []

    @property
    def batches(self) -> int:
        """Failed batches that are not settled; their slots are taken."""
        return len(self._batches)

    def add(self, batch: Batch) -> None:
        """Take a batch that has failed."""
        self._batches.append(batch)
        self._push(batch, batch.pieces)

    def next(self, lives: Callable[[Ticket], bool]) -> Group | None:
        """The part that is to be run now, without requests that have ended; None when there is none left.

        Args:
            lives: whether a ticket's result is still wanted.
        """
        while self._groups:
            group = self._groups.pop()
            group.pieces = tuple(piece for piece in group.pieces if lives(piece.ticket))
            if group.pieces:
                return group
        return None

    def failed(self, group: Group, *, alone: bool) -> Piece | None:
        """Note that a part failed again; the piece that is to blame, if it is found now.

        Args:
            group: as `next` gave it.
            alone: whether nothing else ran on the device, which could have failed in its stead.
        """
        group.runs += 1
        if len(group.pieces) > 1:
            self._push(group.batch, group.pieces)
        elif alone or group.runs >= MOST_RUNS:
            return group.pieces[0]
        else:
            self._groups.append(group)
        return None

    def settled(self) -> list[Batch]:
        """The batches of which no part is left to be run; each is told once."""
        left = {id(group.batch) for group in self._groups}
        done = [batch for batch in self._batches if id(batch) not in left]
        self._batches = [batch for batch in self._batches if id(batch) in left]
        return done

    def give_up(self) -> list[Batch]:
        """Forget everything: the device is lost. The batches that were not settled."""
        batches, self._batches, self._groups = self._batches, [], []
        return batches

    def _push(self, batch: Batch, pieces: Sequence[Piece]) -> None:
        half = (len(pieces) + 1) // 2
        for part in (pieces[half:], pieces[:half]):
            if part:
                self._groups.append(Group(batch, tuple(part)))


def blame(piece: Piece, error: AscendServeError) -> str:
    """What is said to the caller of a request that makes the device fail."""
    return (
        f"the device fails whenever it computes this request of {piece.ticket.rows} "
        f"row{'s' * (piece.ticket.rows > 1)}, and computes others: {error}. Look for values that the model cannot "
        "take, such as an index past the end of a table"
    )
