"""How much work goes before a ticket that is due at a given time, without looking at each ticket that waits.

Work is kept by the millisecond it is due in, with sums of 32 such bins above them, in a ring that covers the furthest
time that anything can be due. Bins that lie in the past are forgotten: what was due there goes before all that is
still to come, and only the total knows of it.
"""

from __future__ import annotations

BIN_S = 0.001
"""Width of a bin. What is due in the same bin counts as going before."""

SPAN = 32
"""Bins of one sum."""


class Backlog:
    """Work that waits, by when it is due.

    Args:
        horizon_s: nothing is ever due later than this after the time it is added.
    """

    __slots__ = ("_bins", "_furthest", "_passed", "_size", "_spans", "_sums", "total_ns")

    def __init__(self, horizon_s: float) -> None:
        self._spans = int(horizon_s / BIN_S) // SPAN + 3
        self._size = self._spans * SPAN
        self._bins = [0] * self._size
        self._sums = [0] * self._spans
        self._passed = 0  # the first span that is not forgotten
        self._furthest = 0  # the last bin that anything was added to
        self.total_ns = 0

    def add(self, now: float, due: float, work_ns: int) -> None:
        """Note work that is due at `due`, between `now` and the horizon after it."""
        current = int(now / BIN_S) // SPAN
        if current > self._passed:
            self._forget(current)
        self.total_ns += work_ns
        place = int(due / BIN_S)
        span = place // SPAN
        if span >= self._passed:
            self._bins[place % self._size] += work_ns
            self._sums[span % self._spans] += work_ns
            if place > self._furthest:
                self._furthest = place

    def remove(self, due: float, work_ns: int) -> None:
        """Note that work which was added waits no more."""
        self.total_ns -= work_ns
        place = int(due / BIN_S)
        span = place // SPAN
        if span >= self._passed:
            self._bins[place % self._size] -= work_ns
            self._sums[span % self._spans] -= work_ns

    def ahead_ns(self, now: float, due: float) -> int:
        """The work that goes before a ticket which comes at `now` and is due at `due`."""
        place = int(due / BIN_S)
        if place >= self._furthest or not self.total_ns:
            return self.total_ns
        current = int(now / BIN_S) // SPAN
        if current > self._passed:
            self._forget(current)
        spans = self._spans
        span = place // SPAN
        at = span % spans
        behind = sum(self._bins[place % self._size + 1 : (at + 1) * SPAN])
        low, high = at + 1, self._furthest // SPAN % spans + 1
        if low <= high:
            behind += sum(self._sums[low:high])
        else:
            behind += sum(self._sums[low:]) + sum(self._sums[:high])
        return self.total_ns - behind

    def _forget(self, current: int) -> None:
        """Empty the bins of the spans before `current`, which is past the first that is not forgotten."""
        if current - self._passed >= self._spans:
            self._bins = [0] * self._size
            self._sums = [0] * self._spans
        else:
            for span in range(self._passed, current):
                at = span % self._spans
                self._sums[at] = 0
                self._bins[at * SPAN : (at + 1) * SPAN] = [0] * SPAN
        self._passed = current
