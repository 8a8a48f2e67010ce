"""The gear decision as a semi-Markov decision process, and its optimal stationary policy.

State: n rows are there when the device is free. Action: run a gear, or wait for the next row. During an action rows
come as a Poisson stream; then the next state is what was left plus what came. Each row that is there costs, so the
least cost per unit of time is the least mean latency, by Little's law (facts: batching policy §1).

Solved by Howard's policy iteration: the value of a policy is one linear system, and a policy that no single change
improves is optimal. It takes a handful of rounds from the policy of a neighbouring rate, where value iteration takes
thousands of sweeps near saturation (facts: batching policy §2).

Values are kept at *knots*: every state while there are few, and ever wider apart above, with values between them in
proportion. So the work does not grow with the size of the gears. The decision is then taken for each single state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lgamma, log, sqrt

import numpy as np
from numpy.typing import NDArray

from ascend_serve.batching.costs import CostTable

LEAST_STATES = 160
"""Enough for gears up to 16 at 96 % load (facts: batching policy §1)."""

STATES_PER_ROW = 10
"""States for each row of the largest gear."""

_UNIT_KNOTS = 192
_KNOT_GROWTH = 32
_TAIL_SIGMAS = 9.0
_MOST_ROUNDS = 60
_TIE = 1e-10

Vector = NDArray[np.float64]
Actions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Holding:
    """What it costs a unit of time to have n rows there: n + weight x max(0, n - rate x slo_ms).

    When more rows are there than came within `slo_ms`, the oldest has been there for longer than that; so the second
    part makes waiting beyond it cost more. Without weight it is the mean latency.

    Attributes:
        weight: what a row beyond costs more than a row.
        slo_ms: the latency, in milliseconds, that should seldom be passed.
    """

    weight: float = 0.0
    slo_ms: float = 0.0

    def of(self, rows: Vector, rate_per_ms: float) -> Vector:
        """The cost of each number of rows."""
        return rows + self.weight * np.maximum(0.0, rows - rate_per_ms * self.slo_ms)


@dataclass(frozen=True, slots=True)
class Solution:
    """The optimal stationary policy at one rate of arrivals.

    Attributes:
        gain: the least cost per millisecond; without a weight it is the mean number of rows there, and divided by the
            rate the mean latency.
        runs: for each number of rows, from 0 on, the best gear to run (index into the gears; 0 where nothing is
            there).
        waits: for each number of rows whether waiting for the next one is better still.
        at_knots: the actions at the knots, as a start for a neighbouring rate.
    """

    gain: float
    runs: Actions
    waits: NDArray[np.bool_]
    at_knots: Actions


@dataclass(frozen=True, slots=True)
class _Action:
    """What one action does: rows it takes, and how many come meanwhile.

    Attributes:
        takes: rows it takes at most; 0 for waiting.
        beyond: probability that more than j rows come, for j = 0, 1, ...; beyond that it is 0.
        ms: how long it takes on average.
    """

    takes: int
    beyond: Vector
    ms: float


class Process:
    """The decision process of one cost table, for any rate.

    The time of a run is that to the next decision (`CostTable.pace_ms_of`): its longest stage where the next batch is
    chosen while it runs, else all of it.

    Args:
        costs: the device time of each gear.
        states: the most rows that are told apart; None is enough for loads of up to 96 %.
    """

    def __init__(self, costs: CostTable, *, states: int | None = None) -> None:
        self.gears = costs.gears
        self.states = states or max(LEAST_STATES, STATES_PER_ROW * costs.gears.largest)
        self._ms = [costs.pace_ms_of(gear) for gear in costs.gears]
        self._knots = _knots(self.states, costs.gears.sizes)
        rows = np.arange(self.states + 1)
        takes = [*costs.gears, 0]
        self._left = [np.maximum(0, rows - take) for take in takes]
        # Where the sums of `_weights` are found: the distance of each knot from what an action leaves.
        self._distance = [
            self._knots[None, :] - left[self._knots][:, None] + self.states for left in self._left
        ]

    @property
    def capacity_per_ms(self) -> float:
        """Rows a millisecond that the device clears at the most, one batch after the other."""
        return max(gear / ms for gear, ms in zip(self.gears, self._ms, strict=True))

    def solve(
        self,
        rate_per_ms: float,
        *,
        holding: Holding | None = None,
        may_wait: bool = False,
        start: Actions | None = None,
    ) -> Solution:
        """The optimal policy for a Poisson stream of `rate_per_ms` rows a millisecond.

        Args:
            rate_per_ms: above 0.
            holding: what rows cost; None is the mean latency.
            may_wait: whether it may wait for the next row although some are there; else that is done at 0 rows only.
            start: `at_knots` of the solution at a neighbouring rate, with the same `may_wait`.
        """
        actions = [_run(gear, ms, rate_per_ms) for gear, ms in zip(self.gears, self._ms, strict=True)]
        actions.append(_Action(0, np.ones(1), 1.0 / rate_per_ms))
        costs = self._costs(actions, holding or Holding(), rate_per_ms, may_wait=may_wait)
        moves = [
            self._weights(action, distance) for action, distance in zip(actions, self._distance, strict=True)
        ]
        at_knots = costs[:, self._knots]
        times = np.array([action.ms for action in actions])
        chosen = self._first() if start is None else start
        places = np.arange(len(self._knots))
        stacked = np.stack(moves)
        for _ in range(_MOST_ROUNDS):
            values, gain = _value(stacked[chosen, places], at_knots[chosen, places], times[chosen])
            totals = at_knots - gain * times[:, None] + stacked @ values
            better = totals.argmin(axis=0)
            kept = totals[chosen, places] <= totals[better, places] + _TIE * (1.0 + np.abs(values))
            better = np.where(kept, chosen, better)
            if (better == chosen).all():
                break
            chosen = better
        runs, waits = self._decide(actions, costs, values, gain)
        return Solution(gain, runs, waits, chosen)

    def _first(self) -> Actions:
        """A policy to start from: at 0 rows wait, else what clears them with the least flow time if no more come."""
        table = np.array(least_flow(self.gears.sizes, tuple(self._ms), self.states))
        table[0] = len(self.gears)
        first: Actions = table[self._knots]
        return first

    def _costs(
        self, actions: Sequence[_Action], holding: Holding, rate_per_ms: float, *, may_wait: bool
    ) -> Vector:
        """Cost of each action, in each state, until the next decision; infinite where it may not be taken."""
        longest = max(len(action.beyond) for action in actions)
        per_ms = holding.of(np.arange(self.states + longest, dtype=np.float64), rate_per_ms)
        # The expected time with j more rows there is that of the step from j to j + 1: P(more than j come) / rate.
        costs = np.stack(
            [
                np.correlate(per_ms[: self.states + len(action.beyond)], action.beyond, "valid") / rate_per_ms
                for action in actions
            ]
        )
        costs[:-1, 0] = np.inf
        costs[-1, (self.gears.largest if may_wait else 1) :] = np.inf
        return costs

    def _weights(self, action: _Action, distance: NDArray[np.int64]) -> Vector:
        """Probability of each knot after the action, from each knot; between two knots it is shared in proportion."""
        # below[x + states] is the sum of P(more than u come) over u < x; below 0 each of them is 1.
        counted = np.zeros(self.states + 1)
        counted[: len(action.beyond)] = action.beyond[: self.states + 1]
        below = np.concatenate([np.arange(-self.states, 0.0), [0.0], np.cumsum(counted)[:-1]])
        # The mean of P(state > y) over the y from one knot to the next is the expected part of that way that is gone.
        gone = np.diff(below[distance], axis=1) / np.diff(self._knots)
        weights = np.empty_like(distance, dtype=np.float64)
        weights[:, 0] = 1.0 - gone[:, 0]
        weights[:, 1:-1] = gone[:, :-1] - gone[:, 1:]
        weights[:, -1] = gone[:, -1]
        return weights

    def _decide(
        self, actions: Sequence[_Action], costs: Vector, values: Vector, gain: float
    ) -> tuple[Actions, NDArray[np.bool_]]:
        """The best run in each state, and whether waiting is better; by one look ahead from the values."""
        all_values = np.interp(np.arange(self.states + 1), self._knots, values)
        totals = np.empty_like(costs)
        for place, (action, left) in enumerate(zip(actions, self._left, strict=True)):
            come = -np.diff(np.concatenate([[1.0], action.beyond, [0.0]]))
            padded = np.concatenate([all_values, np.full(len(come) - 1, all_values[-1])])
            totals[place] = costs[place] - gain * action.ms + np.correlate(padded, come, "valid")[left]
        runs = totals[:-1].argmin(axis=0)
        best = totals[:-1].min(axis=0)
        waits = totals[-1] < best - _TIE * (1.0 + np.abs(all_values))
        return runs, waits


def least_flow(gears: tuple[int, ...], ms: tuple[float, ...], most_rows: int) -> list[int]:
    """For 0 to `most_rows` rows the first gear to run (its index) so that they are there for the least time in total.

    It is the optimum if no more rows come: a run costs its time for each row that is there. 0 rows get index 0.
    """
    costs = [0.0]
    first = [0]
    for rows in range(1, most_rows + 1):
        cost, place = min(
            (rows * time + costs[max(0, rows - gear)], place)
            for place, (gear, time) in enumerate(zip(gears, ms, strict=True))
        )
        costs.append(cost)
        first.append(place)
    return first


def _run(gear: int, ms: float, rate_per_ms: float) -> _Action:
    """Running a gear: rows come by the law of Poisson while it runs."""
    mean = rate_per_ms * ms
    most = int(mean + _TAIL_SIGMAS * sqrt(mean) + 3 * _TAIL_SIGMAS)
    counts = np.arange(most + 1)
    logs = counts * log(mean) - mean - np.array([lgamma(count + 1) for count in range(most + 1)])
    chances = np.exp(logs)
    beyond = np.cumsum(chances[::-1])[::-1][1:]
    return _Action(gear, beyond, ms)


def _value(moves: Vector, costs: Vector, times: Vector) -> tuple[Vector, float]:
    """Relative values of a policy, with that of the first knot 0, and its cost per millisecond.

    Solves value = cost - gain x time + moves x value; the gain takes the place of the first value.
    """
    system = np.eye(len(costs)) - moves
    system[:, 0] = times
    solved = np.linalg.solve(system, costs).astype(np.float64, copy=False)
    gain = float(solved[0])
    solved[0] = 0.0
    return solved, gain


def _knots(states: int, gears: Sequence[int]) -> NDArray[np.int64]:
    """The states whose values are kept: all of the first, ever fewer of the others, and those around a gear."""
    knots = set(range(min(states, _UNIT_KNOTS) + 1)) | {states}
    at = _UNIT_KNOTS
    while at < states:
        knots.add(at)
        at += max(1, at // _KNOT_GROWTH)
    knots |= {near for gear in gears for near in (gear, gear + 1) if near <= states}
    return np.array(sorted(knots))
