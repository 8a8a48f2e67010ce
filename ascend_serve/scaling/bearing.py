"""What one replica bears: the highest rate of rows at which enough of them are answered in time.

The queue of one device is run through in simulated time, batch by batch: when the device is free it takes what the
policy chooses for what waits, and is busy for that gear's pace (`CostTable.pace_ms_of`). It is a reduced form of
`ascend_serve.simulating`, without deadlines, priorities and a host that swings, and some fifty times as fast: a replica
computes it when it starts, and the benchmark of autoscaling runs whole days through it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np

from ascend_serve.batching.choice import WAIT, Policy, View
from ascend_serve.batching.costs import CostTable
from ascend_serve.errors import ConfigError

GOOD = 0.99
"""The share of rows that are to be answered in time, where nothing else is said."""

TOP_LOAD = 0.95
"""The highest rate that is called bearable, as a share of what the device clears: nearer to it queues take minutes to
settle, and a test of some thousand rows says nothing of them."""

_ROWS = 12_000
_HALVINGS = 9
_DEEPEST = 8
"""Rows waiting that are told apart, in largest gears: more wait only where no choice saves the SLO."""


@dataclass(frozen=True, slots=True)
class Service:
    """How one device serves what waits, at one rate of arrivals.

    Attributes:
        gear_of: the gear to run for each number of rows that wait, from 0 on; the last holds for all above.
        pace_s: seconds from the start of a run to the next decision, for each entry of `gear_of`.
        total_s: seconds from the start of a run until its rows are answered, likewise.
    """

    gear_of: tuple[int, ...]
    pace_s: tuple[float, ...]
    total_s: tuple[float, ...]

    @classmethod
    def of(cls, table: CostTable, policy: Policy, rate_per_ms: float, *, bucket: int = 0) -> Service:
        """The service that `policy` gives, which is prepared for the table, while rows come at `rate_per_ms`."""
        gears = policy.usable(table.gears)
        chosen = [gears.sizes[0]]
        for rows in range(1, _DEEPEST * gears.largest + 1):
            gear = policy.choose(View(rows, inf, rate_per_ms, bucket, gears, table))
            if gear == WAIT:
                gear = gears.cover(rows)
            # The planner takes no larger gear than the rows need.
            chosen.append(min(gear, gears.cover(rows)))
        return cls(
            tuple(chosen),
            tuple(table.pace_ms_of(gear) / 1e3 for gear in chosen),
            tuple(table.total_ms_of(gear) / 1e3 for gear in chosen),
        )

    def late(self, arrivals: Sequence[float], slo_s: float) -> int:
        """How many of single rows that come at `arrivals` (ascending seconds) are answered later than `slo_s` after."""
        gear_of, pace_s, total_s = self.gear_of, self.pace_s, self.total_s
        deepest = len(gear_of) - 1
        late = first = 0
        free_at = 0.0
        count = len(arrivals)
        while first < count:
            start = max(free_at, arrivals[first])
            waiting = bisect_right(arrivals, start, first) - first
            place = min(waiting, deepest)
            after = first + min(gear_of[place], waiting)
            free_at = start + pace_s[place]
            # Those of the batch that came before this are late; they are in the order of their coming.
            late += max(0, bisect_right(arrivals, start + total_s[place] - slo_s, first, after) - first)
            first = after
        return late


def clears_per_s(tables: Sequence[CostTable]) -> float:
    """Rows a second that a device clears at the most, when each bucket has as many rows as every other."""
    return len(tables) * 1e3 / sum(table.clear_ms(1) for table in tables)


def bears_per_s(
    tables: Sequence[CostTable], policy: Policy, *, slo_ms: float, good: float = GOOD, seed: int = 1
) -> float:
    """The highest rate of single rows, in rows a second, at which a share `good` is answered within `slo_ms`.

    It is found by halving, for one Poisson stream that is stretched to each rate. Where there are several buckets, it
    is the rate of a load with as many rows in each, which takes the sum of the times: the harmonic mean of their rates.

    Args:
        tables: what each bucket's gears cost.
        policy: chooses gears; it is prepared here.
        slo_ms: latency in milliseconds, from a row's arrival at the engine.
        good: share of the rows, above 0 and below 1.
        seed: of the stream.

    Returns:
        Rows a second; 0 where even a row that finds the device idle takes longer.

    Raises:
        ConfigError: a latency or a share out of range.
    """
    if not (isfinite(slo_ms) and slo_ms > 0):
        raise ConfigError(f"slo_ms is {slo_ms}; it is a number of milliseconds above 0")
    if not 0 < good < 1:
        raise ConfigError(f"good is {good}; it is a share above 0 and below 1, such as {GOOD}")
    solved = policy.prepared(tables)
    # A policy that may wait for more keeps its rows for as long as that.
    slo_s = (slo_ms - (solved.patience_ms or 0.0)) / 1e3
    unit = np.cumsum(np.random.default_rng(seed).exponential(1.0, _ROWS))
    seconds_a_row = 0.0
    for bucket, table in enumerate(tables):
        rate = _bears(table, solved, bucket, unit, slo_s, good)
        if not rate:
            return 0.0
        seconds_a_row += 1.0 / rate
    return len(tables) / seconds_a_row


def _bears(
    table: CostTable, policy: Policy, bucket: int, unit: np.ndarray, slo_s: float, good: float
) -> float:
    enough = (1.0 - good) * _ROWS
    low, high = 0.0, TOP_LOAD * clears_per_s([table])

    def holds(rate: float) -> bool:
        service = Service.of(table, policy, rate / 1e3, bucket=bucket)
        arrivals: list[float] = (unit / rate).tolist()
        return service.late(arrivals, slo_s) <= enough

    if holds(high):
        return high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
