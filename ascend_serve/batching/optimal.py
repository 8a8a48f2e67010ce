"""The policy `optimal`: the gear that the optimal stationary policy runs, for what waits and how fast rows come.

The decision process of `smdp` is solved beforehand for a geometric grid of arrival rates. So a decision on the request
path is two look-ups: the rate that the planner measured, and the number of rows that wait. Above the capacity of the
device no policy is stable; there the table of the highest rate holds, and admission control does the rest
(facts: batching policy §2, §3).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import isfinite

from ascend_serve.batching.choice import WAIT, View
from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.smdp import LEAST_STATES, Holding, Process, least_flow
from ascend_serve.errors import ConfigError
from ascend_serve.spec.gears import Gears

RATES = 18
"""Rates in the grid."""

RATE_STEP = 1.25
"""From one rate of the grid to the next."""

TOP_LOAD = 0.96
"""The highest rate of the grid, as a share of what the device clears at the most."""

TAIL_WEIGHT = 10.0
"""What a row beyond the SLO counts more than a row, where nothing else is said."""

_OBJECTIVES = ("mean", "tail")


@dataclass(frozen=True, slots=True)
class Optimal:
    """Least mean latency, or with objective `tail` also few beyond an SLO, for Poisson arrivals.

    It runs by `least_flow` until it is `prepared`: what would be best if no more rows came.

    The least mean is nearly the least tail too: in simulation `tail` lowers p99 by 1 to 3 % where few gears lie far
    apart and the load is near the capacity, and changes nothing where gears are close.

    A run is reckoned with the time until the next one is chosen (`CostTable.pace_ms_of`). What the host and the copies
    add to the way of each row is the same for all that it could choose, or nearly so.

    Attributes:
        objective: `mean`, or `tail`, which weighs rows that wait for longer than `slo_ms` more.
        slo_ms: the latency that should seldom be passed, in milliseconds; needed for `tail`, and for it alone.
        tail_weight: what a row beyond `slo_ms` counts more than a row, with `tail` and for it alone; None is
            `TAIL_WEIGHT`.
        may_wait: whether it may leave the device idle although rows wait, for the next one to come. That pays near
            saturation and in few states only, under 2 % of the mean latency, so it is off.

    Raises:
        ConfigError: a value that is not one of these, or an objective without what it needs.
    """

    objective: str = "mean"
    slo_ms: float | None = None
    tail_weight: float | None = None
    may_wait: bool = False

    def __post_init__(self) -> None:
        if self.objective not in _OBJECTIVES:
            raise ConfigError(f"policy 'optimal': objective is {self.objective!r}; it is 'mean' or 'tail'")
        if self.objective == "tail" and self.slo_ms is None:
            raise ConfigError("policy 'optimal': objective 'tail' needs slo_ms, the latency to stay below")
        if self.objective == "mean" and self.slo_ms is not None:
            raise ConfigError(
                "policy 'optimal': slo_ms means nothing to objective 'mean': give objective 'tail'"
            )
        if self.slo_ms is not None and not _positive(self.slo_ms):
            raise ConfigError(f"policy 'optimal': slo_ms is {self.slo_ms!r}; it is a number above 0")
        if self.objective == "mean" and self.tail_weight is not None:
            raise ConfigError(
                "policy 'optimal': tail_weight means nothing to objective 'mean': give objective 'tail'"
            )
        if self.tail_weight is not None and not _positive(self.tail_weight):
            raise ConfigError(
                f"policy 'optimal': tail_weight is {self.tail_weight!r}; it is a number above 0"
            )
        if not isinstance(self.may_wait, bool):
            raise ConfigError(f"policy 'optimal': may_wait is {self.may_wait!r}; it is true or false")

    @property
    def patience_ms(self) -> float | None:
        """None: unprepared it never waits."""
        return None

    def usable(self, compiled: Gears) -> Gears:
        """All of them."""
        return compiled

    def prepared(self, tables: Sequence[CostTable]) -> Solved:
        """The same policy with the decision process of each bucket solved.

        It takes 0.1 s of CPU for four gears of up to 16 rows, and 0.5 s for eight of up to 256; nearly all of it is
        numpy's, which lets go of the GIL.
        """
        return Solved(
            self,
            tuple(tables),
            tuple(_grid(self, *_paces(costs)) for costs in tables),
            self._patience(tables),
        )

    def choose(self, view: View) -> int:
        """The gear that clears what waits with the least flow time, if no more rows come."""
        table = _least_flow_gears(*_paces(view.costs))
        gear = table[min(view.rows, len(table) - 1)]
        return gear if gear in view.gears else view.gears.cover(view.rows)

    def _patience(self, tables: Sequence[CostTable]) -> float | None:
        """Waiting ends when the oldest row could have seen the longest run and the shortest, and still waits."""
        if not self.may_wait:
            return None
        times = [costs.pace_ms_of(gear) for costs in tables for gear in costs.gears]
        return max(times) + min(times)


@dataclass(frozen=True, slots=True)
class Grid:
    """What to do in one bucket.

    Attributes:
        rates_per_ms: the rates that were solved, ascending.
        runs: for each rate, and each number of rows from 0 on, the gear to run.
        waits: likewise whether to wait for one more row instead.
    """

    rates_per_ms: list[float]
    runs: list[list[int]]
    waits: list[list[bool]]


@dataclass(frozen=True, slots=True)
class Solved:
    """`Optimal` with its tables.

    Attributes:
        policy: what it was made from.
        tables: what it was solved for.
        grids: a grid of each bucket.
        patience_ms: how old the oldest row may become while it waits for more; None where it never does.
    """

    policy: Optimal
    tables: tuple[CostTable, ...]
    grids: tuple[Grid, ...] = field(repr=False)
    patience_ms: float | None

    def usable(self, compiled: Gears) -> Gears:
        """All of them."""
        return compiled

    def prepared(self, tables: Sequence[CostTable]) -> Solved:
        """Itself for the costs it was solved for; else solved anew."""
        return self if tuple(tables) == self.tables else self.policy.prepared(tables)

    def choose(self, view: View) -> int:
        """The gear, or WAIT, of the table whose rate is next above the measured one."""
        grid = self.grids[view.bucket]
        place = min(bisect_left(grid.rates_per_ms, view.rate_per_ms), len(grid.rates_per_ms) - 1)
        runs = grid.runs[place]
        rows = min(view.rows, len(runs) - 1)
        if self.patience_ms is not None and grid.waits[place][rows] and view.oldest_ms < self.patience_ms:
            return WAIT
        gear = runs[rows]
        return gear if gear in view.gears.sizes else view.gears.cover(view.rows)


def _paces(costs: CostTable) -> tuple[Gears, tuple[float, ...]]:
    """What the decision depends on: the gears, and for each of them the milliseconds to the next decision."""
    return costs.gears, tuple(costs.pace_ms_of(gear) for gear in costs.gears)


@lru_cache(maxsize=16)
def _grid(policy: Optimal, gears: Gears, paces_ms: tuple[float, ...]) -> Grid:
    """One bucket solved; kept, for when costs drift they seldom do so in all buckets."""
    process = Process(CostTable(gears, paces_ms))
    holding = Holding()
    if policy.slo_ms is not None:
        holding = Holding(policy.tail_weight or TAIL_WEIGHT, policy.slo_ms)
    top = TOP_LOAD * process.capacity_per_ms
    rates = [top / RATE_STEP**step for step in reversed(range(RATES))]
    runs, waits = [], []
    start = None
    for rate in rates:
        solution = process.solve(rate, holding=holding, may_wait=policy.may_wait, start=start)
        start = solution.at_knots
        runs.append([gears.sizes[place] for place in solution.runs])
        waits.append(solution.waits.tolist())
    return Grid(rates, runs, waits)


@lru_cache(maxsize=64)
def _least_flow_gears(gears: Gears, paces_ms: tuple[float, ...]) -> tuple[int, ...]:
    """`least_flow` as gears; kept, for it is asked at each decision until the policy is prepared."""
    most = max(LEAST_STATES, 4 * gears.largest)
    return tuple(gears.sizes[place] for place in least_flow(gears.sizes, paces_ms, most))


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value > 0
