"""The claim `prediction`: the simulator's mean latency beside a live engine's, under the same stream.

Nothing of the stream that is predicted is used to predict it, but for the tables by which the engine decided when it
began. Streams before and after it tell what the simulator is given (`telling`): a quarter of the device's limit in
groups of 1 to 16 rows, and single rows at 65 % of it. The stream that is predicted comes in two parts with such streams
before, between and after them, for what a shared machine gives changes from second to second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import uvloop

from ascend_serve.batching.policy import policy_named
from ascend_serve.runtime.lane import Lane, LaneReport
from ascend_serve.simulating.host import Host
from ascend_serve.simulating.simulation import Settings, simulate
from ascend_serve.simulating.traces import Arrival
from benchmarks.arrivals import poisson
from benchmarks.claims.effort import Effort, Finding, grounds_of
from benchmarks.claims.telling import host_told
from benchmarks.engine_runs import opened
from benchmarks.figures import Spread, percentile, table
from benchmarks.node import Node, compile_pictures
from benchmarks.rounds import LIMIT_PER_S
from benchmarks.steady import Group, Steady, Streamed, steady
from benchmarks.verdicts import at_most

CASES = ((0.5, "optimal"), (0.5, "pad_up"), (0.8, "optimal"), (0.8, "pad_up"))
"""Share of the device's limit, and policy."""

_AGREES_WITHIN = 0.1
_GROUPS_LOAD = 0.25
_SINGLES_LOAD = 0.65
_TELLING_S = 1.0
_PARTS = 2
_DRAWS = 5
"""Simulations of one stream, each with other draws from the host's spread."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """One live stream, and what was predicted of it.

    Attributes:
        live: latencies of its rows, in milliseconds.
        said: likewise as predicted, in each draw.
        host: what the other streams told of the host.
        host_ms: what the engine reckoned for the host when the parts began, as a mean.
    """

    live: list[float]
    said: list[list[float]]
    host: Host
    host_ms: float

    @property
    def live_ms(self) -> float:
        """Mean latency as it was."""
        return fmean(self.live)

    @property
    def said_ms(self) -> float:
        """Mean latency as predicted."""
        return fmean(map(fmean, self.said))


def prediction(node: Node, effort: Effort) -> Finding:
    """Mean latency as the simulator says it, and as the engine has it, under the same streams."""
    with opened(compile_pictures(node)) as (lane, report):
        kept = effort.alternate(
            list(CASES),
            lambda case, number: uvloop.run(_predicted(lane, report, *case, effort.seconds, number)),
        )
    verdicts, rows, shown = [], [], []
    for (share, policy), mine in kept.items():
        off = Spread.of([abs(one.said_ms / one.live_ms - 1) for one in mine.rounds])
        claim = f"prediction off by, mean latency of {policy} at {100 * share:.0f} % of the limit"
        verdicts.append(at_most(claim, off, _AGREES_WITHIN, None, digits=3, grounds=grounds_of([mine])))
        shown.append((f"{policy}, {100 * share:.0f} %", *_shown(mine.rounds)))
        for number, one, counts in mine.all_rounds:
            rows.append({**_row(share, policy, one), "pass": number, "counts": counts})
    head = ("stream", "mean ms", "predicted", "p99 ms", "predicted", "host ms", "a row more", "beside")
    return Finding(verdicts, rows, table(head, shown))


async def _predicted(
    lane: Lane, report: LaneReport, share: float, policy: str, seconds: float, seed: int
) -> Predicted:
    seeds = range(seed * (2 * _PARTS + 1), (seed + 1) * (2 * _PARTS + 1))
    parts = [poisson(share * LIMIT_PER_S, seconds / _PARTS, one) for one in seeds[:_PARTS]]
    telling, live = [], []
    async with steady(lane, report, policy) as engine:
        for due, one in zip(parts, seeds[_PARTS:], strict=False):
            telling.append(await _tell(engine, report, one))
            live.append(await engine.stream([Group(at, 1) for at in due]))
        telling.append(await _tell(engine, report, seeds[-1]))
    host = host_told([groups for groups, _ in telling], [singles for _, singles in telling])
    tables = [part.recording.header.tables for part in live]
    return Predicted(
        [ms for part in live for ms in part.latencies_ms],
        [
            [
                ms
                for due, one in zip(parts, tables, strict=True)
                for ms in simulate(
                    one,
                    policy_named(policy),
                    [Arrival(at) for at in due],
                    settings=Settings(slots=report.slots, host=host, seed=draw),
                ).latencies_ms
            ]
            for draw in range(_DRAWS)
        ],
        host,
        fmean(one[0].host_ms for one in tables),
    )


async def _tell(engine: Steady, report: LaneReport, seed: int) -> tuple[Streamed, Streamed]:
    """A stream of groups of any size up to the largest gear, most of which find the device idle; and one of rows."""
    (bucket,) = report.spec.buckets
    groups = groups_of_any_size(bucket.gears.largest, _TELLING_S, seed)
    singles = [Group(at, 1) for at in poisson(_SINGLES_LOAD * LIMIT_PER_S, _TELLING_S, seed)]
    return await engine.stream(groups), await engine.stream(singles)


def groups_of_any_size(largest: int, seconds: float, seed: int) -> list[Group]:
    """A Poisson stream of groups of 1 to `largest` rows, each size as likely as the others; the same by the seed."""
    times = poisson(_GROUPS_LOAD * LIMIT_PER_S / ((1 + largest) / 2), seconds, seed)
    sizes = np.random.default_rng(seed).integers(1, largest, len(times), endpoint=True)
    return [Group(at, int(rows)) for at, rows in zip(times, sizes, strict=True)]


def _shown(rounds: list[Predicted]) -> tuple[str, ...]:
    return (
        Spread.of([one.live_ms for one in rounds]).show(),
        Spread.of([one.said_ms for one in rounds]).show(),
        Spread.of([percentile(one.live, 0.99) for one in rounds]).show(1),
        Spread.of([_p99(one) for one in rounds]).show(1),
        Spread.of([one.host.fixed_ms for one in rounds]).show(),
        Spread.of([one.host.row_ms for one in rounds]).show(3),
        Spread.of([one.host.beside_ms for one in rounds]).show(),
    )


def _p99(one: Predicted) -> float:
    return fmean(percentile(said, 0.99) for said in one.said)


def _row(share: float, policy: str, one: Predicted) -> Mapping[str, Any]:
    return {
        "policy": policy,
        "rate_per_s": share * LIMIT_PER_S,
        "mean_ms": one.live_ms,
        "p99_ms": percentile(one.live, 0.99),
        "predicted_mean_ms": one.said_ms,
        "predicted_p99_ms": _p99(one),
        "host_fixed_ms": one.host.fixed_ms,
        "host_row_ms": one.host.row_ms,
        "host_beside_ms": one.host.beside_ms,
        "door_ms": one.host.door_ms,
        "host_reckoned_ms": one.host_ms,
    }
