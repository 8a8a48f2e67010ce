"""What a bucket's gears cost, worked out once for each cost table so that a decision only looks it up."""

from __future__ import annotations

from bisect import bisect_left
from math import inf

from ascend_serve.batching.costs import CostTable
from ascend_serve.spec.gears import Gears

MOST_LOOKED_AT = 4
"""How many of the largest gear the exact cost of clearing looks at; what lies beyond runs at the best gear."""

StageSeconds = tuple[float, float, float]
"""Seconds of copy in, compute and copy out."""


class Prices:
    """The costs of one bucket for the gears that a policy may use.

    Args:
        costs: device time of each compiled gear.
        gears: the usable ones.

    Attributes:
        costs: as given.
        gears: as given.
        best: the usable gear with the most rows per millisecond.
        stages_s: the stages of each usable gear.
        longest_s: the longest copy in, compute and copy out of any usable gear.
        row_ns: nanoseconds a row takes at the best gear, one batch after the other.
    """

    def __init__(self, costs: CostTable, gears: Gears) -> None:
        self.costs = costs
        self.gears = gears
        self.best = costs.best_gear(gears)
        places = {gear: costs.gears.sizes.index(gear) for gear in gears}
        self.stages_s: dict[int, StageSeconds] = {
            gear: (costs.copy_in_ms[at] / 1e3, costs.ms[at] / 1e3, costs.copy_out_ms[at] / 1e3)
            for gear, at in places.items()
        }
        copies_in, computes, copies_out = zip(*self.stages_s.values(), strict=True)
        self.longest_s: StageSeconds = (max(copies_in), max(computes), max(copies_out))
        self._best_ms = costs.pace_ms_of(self.best)
        self.row_ns = max(1, int(self._best_ms / self.best * 1e6))
        # The least seconds of any gear with that much room or more: a larger gear may be the quicker one.
        self._least_s: list[float] = [inf] * len(gears)
        least = inf
        for place in reversed(range(len(gears))):
            least = min(least, costs.total_ms_of(gears.sizes[place]) / 1e3)
            self._least_s[place] = least
        self._largest = gears.largest
        self._most = MOST_LOOKED_AT * gears.largest
        self._covers = [gears.cover(rows) for rows in range(gears.largest)]
        self._paces = [(gear, costs.pace_ms_of(gear)) for gear in gears]
        self._clear_ms = [0.0]

    def cover(self, rows: int) -> int:
        """The smallest usable gear with room for `rows`; the largest one if none has."""
        return self._covers[rows] if rows < self._largest else self._largest

    def least_s(self, rows: int) -> float:
        """Seconds in which `rows` rows, at most those of the largest gear, are back at the quickest in one batch."""
        return self._least_s[bisect_left(self.gears.sizes, rows)]

    def least_split_s(self, rows: int) -> float:
        """Likewise if they may be split; never less for more rows, so that what is left of them has no less time."""
        return max(self._least_s[0], self.clear_ms(rows) / 1e3)

    def clear_ms(self, rows: int) -> float:
        """The least device milliseconds that clear `rows` rows: C(n) = min over g of t(g) + C(n - g).

        It is exact as far as decisions look, and best gears beyond (facts: peers §4.6).
        """
        known = self._clear_ms
        if rows < len(known):
            return known[rows]
        beyond = rows - self._most
        if beyond > 0:
            runs = -(-beyond // self.best)
            return runs * self._best_ms + self.clear_ms(rows - runs * self.best)
        for size in range(len(known), rows + 1):
            known.append(min([pace + known[max(0, size - gear)] for gear, pace in self._paces]))
        return known[rows]
