"""Which gears to compile, and how many devices a load needs.

Both are answered with the policy and the planner that would serve: sets of gears are ranked by the mean latency that
the optimal policy reaches with them, and the first of them, like the number of devices, are tried in simulation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from math import ceil, comb, isfinite
from typing import NamedTuple

import numpy as np

from ascend_serve.batching.choice import Policy
from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.optimal import RATE_STEP, TOP_LOAD
from ascend_serve.batching.smdp import Process
from ascend_serve.errors import ConfigError
from ascend_serve.simulating.outcome import Outcome
from ascend_serve.simulating.simulation import Settings, simulate
from ascend_serve.simulating.traces import Arrival
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages, Timing

MOST_SETS = 2000
"""Sets of gears that are ranked; each takes some milliseconds."""

MOST_DEVICES = 256
"""Devices that are tried."""

_WINDOW_S = 0.5
_GROUPS = 4


class Fit(NamedTuple):
    """Times of all gears, measured or guessed.

    Attributes:
        times: the stages of each gear.
        guessed: the gears among them that were not measured.
    """

    times: Mapping[int, Stages]
    guessed: tuple[int, ...]

    def table(self, gears: Iterable[int]) -> CostTable:
        """The cost table of some of them."""
        chosen = Gears.of(gears)
        return CostTable.of(chosen, {gear: Timing(self.times[gear], 0.0, 0) for gear in chosen})


class Ranked(NamedTuple):
    """A set of gears.

    Attributes:
        gears: the sizes.
        overload: share of the rows that come beyond the capacity; 0 when the set can take the load.
        mean_ms: mean latency under the optimal policy for Poisson arrivals, of rates up to 96 % of the capacity.
    """

    gears: Gears
    overload: float
    mean_ms: float


class Provision(NamedTuple):
    """How many devices a load needs.

    Attributes:
        devices: the least number that is good enough; None when none up to the limit was.
        outcome: what the last number that was tried gives.
    """

    devices: int | None
    outcome: Outcome


def fitted(measured: CostTable, gears: Iterable[int]) -> Fit:
    """The times of `gears`: as measured, or on a straight line a + b x gear through what was measured.

    The line is fitted to each stage by least squares of the relative error, and never goes below 0. With one measured
    gear the time is taken to be in proportion to the gear.
    """
    sizes = measured.gears.sizes
    stages = [_line(sizes, ms) for ms in (measured.copy_in_ms, measured.ms, measured.copy_out_ms)]
    times, guessed = {}, []
    for gear in sorted(set(gears)):
        if gear in measured.gears:
            at = sizes.index(gear)
            times[gear] = Stages(measured.copy_in_ms[at], measured.ms[at], measured.copy_out_ms[at])
        else:
            times[gear] = Stages(*(max(0.0, a + b * gear) for a, b in stages))
            guessed.append(gear)
    return Fit(times, tuple(guessed))


def rank_gears(fit: Fit, arrivals: Sequence[Arrival], *, at_most: int, devices: int = 1) -> list[Ranked]:
    """Sets of up to `at_most` of the fit's gears, the best first: by what is too much for them, then by mean latency.

    The load is cut into windows of 0.5 s, and these into four groups from calm to busy; the mean latency of a set is
    that at the rate of each group, weighed with its rows. Bursts within a window are not seen.

    Raises:
        ConfigError: `at_most` is no number of gears, there are more sets than can be ranked, or no arrivals.
    """
    if not arrivals or not arrivals[-1].at > 0:
        raise ConfigError("gears are ranked for a load: give at least two arrivals at different times")
    sizes = sorted(fit.times)
    if not 1 <= at_most <= len(sizes):
        raise ConfigError(
            f"at most {at_most} gears of {len(sizes)} candidates: give a number from 1 to {len(sizes)}"
        )
    if (sets := sum(comb(len(sizes), count) for count in range(1, at_most + 1))) > MOST_SETS:
        raise ConfigError(f"{sets} sets of gears; at most {MOST_SETS} are ranked: give fewer candidates")
    rates = _typical_rates(arrivals, devices)
    ranked = []
    for chosen in _subsets(sizes, at_most):
        process = Process(fit.table(chosen))
        capacity = process.capacity_per_ms
        # By Little's law the gain, a mean number of rows, is rate x mean latency.
        rows_there = sum(process.solve(min(rate, TOP_LOAD * capacity)).gain for rate in rates)
        taken = sum(min(rate, TOP_LOAD * capacity) for rate in rates)
        overload = sum(max(0.0, rate - capacity) for rate in rates) / sum(rates)
        ranked.append(Ranked(process.gears, overload, rows_there / taken))
    return sorted(ranked, key=lambda one: (one.overload, one.mean_ms, len(one.gears), one.gears.sizes))


def devices_for(
    tables: Sequence[CostTable],
    policy: Policy,
    arrivals: Sequence[Arrival],
    *,
    slo_ms: float,
    good: float,
    settings: Settings | None = None,
    most: int = MOST_DEVICES,
) -> Provision:
    """The least number of devices with which `good` of the requests are answered within `slo_ms`.

    Tried from the number on that has the capacity for so many rows in that time. It is doubled until it is enough; then
    the least one is found by halving the gap.

    Args:
        tables: cost table of each bucket.
        policy: is prepared here.
        arrivals: the load of all devices together.
        slo_ms: latency in milliseconds.
        good: share of the requests, above 0 and at most 1.
        settings: of the planners; None is the defaults.
        most: the most devices to try.

    Raises:
        ConfigError: a share or a latency out of range.
    """
    if not 0 < good <= 1:
        raise ConfigError(f"good is {good}; it is a share above 0 and at most 1, such as 0.99")
    if not (isfinite(slo_ms) and slo_ms > 0):
        raise ConfigError(f"slo_ms is {slo_ms}; it is a number of milliseconds above 0")
    ready = policy.prepared(tables)
    tried: dict[int, Outcome] = {}

    def enough(devices: int) -> bool:
        tried[devices] = simulate(tables, ready, arrivals, devices=devices, settings=settings)
        return tried[devices].good(slo_ms) >= good

    low = _too_few(tables, arrivals, slo_ms=slo_ms, good=good)
    high = min(low + 1, most)
    while not enough(high):
        low = high
        if high >= most:
            return Provision(None, tried[high])
        high = min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return Provision(high, tried[high])


def _too_few(tables: Sequence[CostTable], arrivals: Sequence[Arrival], *, slo_ms: float, good: float) -> int:
    """A number of devices that cannot answer `good` of the requests within `slo_ms`, whatever the policy; 0 or more."""
    if not arrivals:
        return 0
    fewest = int(good * len(arrivals)) * min(arrival.rows for arrival in arrivals)
    paces = [
        table.best_gear(table.gears) / table.pace_ms_of(table.best_gear(table.gears)) for table in tables
    ]
    return max(0, ceil(fewest / max(paces) / (arrivals[-1].at * 1e3 + slo_ms)) - 1)


def _line(sizes: Sequence[int], ms: Sequence[float]) -> tuple[float, float]:
    """The line a + b x size through times, by least squares of the relative error."""
    if len(sizes) == 1:
        return 0.0, ms[0] / sizes[0]
    weights = 1.0 / np.array(ms) if all(ms) else np.ones(len(ms))
    columns = np.stack([np.ones(len(sizes)), np.array(sizes, np.float64)], axis=1) * weights[:, None]
    (a, b), *_ = np.linalg.lstsq(columns, np.array(ms) * weights, rcond=None)
    return float(a), float(b)


def _subsets(sizes: Sequence[int], at_most: int) -> Iterator[tuple[int, ...]]:
    for count in range(1, at_most + 1):
        yield from combinations(sizes, count)


def _typical_rates(arrivals: Sequence[Arrival], devices: int) -> list[float]:
    """Rows a millisecond for one device, ascending: the means of a quarter each of the windows, from calm to busy.

    Where these are nearer to each other than the rates that a policy tells apart, it is their mean alone.
    """
    times = np.array([arrival.at for arrival in arrivals])
    rows = np.array([arrival.rows for arrival in arrivals], np.float64)
    windows = max(1, int(times[-1] / _WINDOW_S))
    ends = np.linspace(0.0, times[-1], windows + 1)
    counted, _ = np.histogram(times, ends, weights=rows)
    groups = np.array_split(np.sort(counted), min(windows, _GROUPS))
    rates = [float(group.mean()) / (ends[1] * 1e3 * devices) for group in groups]
    if rates[-1] <= RATE_STEP * rates[0]:
        return [sum(rates) / len(rates)]
    return [rate for rate in rates if rate > 0]
