"""The claim `prediction`: the simulator's mean latency beside a live engine's, under the same stream.

Nothing of the stream that is predicted is used to predict it. A first stream, a quarter of the device's limit in groups
of 1 to 16 rows, tells what the simulator is given: how long the host takes around a batch by its rows, with its spread;
what passes outside the engine; and by which tables the engine decides after it. Then the same engine gets the second
stream, and the simulator the same arrivals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from ascend_serve.batching.policy import policy_named
from ascend_serve.runtime.lane import Lane, LaneReport
from ascend_serve.simulating.host import Host, host_of
from ascend_serve.simulating.outcome import Outcome
from ascend_serve.simulating.replaying import host_runs, recorded
from ascend_serve.simulating.simulation import Settings, simulate
from ascend_serve.simulating.traces import Arrival
from benchmarks.arrivals import poisson
from benchmarks.claims.effort import Effort, Finding, quiet_note
from benchmarks.engine_runs import opened
from benchmarks.figures import Spread, percentile, table
from benchmarks.node import Node, compile_pictures
from benchmarks.rounds import LIMIT_PER_S
from benchmarks.steady import Group, Streamed, steady
from benchmarks.verdicts import at_most

CASES = ((0.5, "optimal"), (0.5, "pad_up"), (0.8, "optimal"), (0.8, "pad_up"))
"""Share of the device's limit, and policy."""

_AGREES_WITHIN = 0.1
_FIRST_LOAD = 0.25
_FIRST_S = 3.0
_DRAWS = 5
"""Simulations of one stream, each with other draws from the host's spread."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """One live stream, and what was predicted of it.

    Attributes:
        live: the stream.
        host: what the first stream told of the host.
        host_ms: what the engine reckoned for the host when the stream began.
        said: a simulation for each draw.
    """

    live: Streamed
    host: Host
    host_ms: float
    said: list[Outcome]

    @property
    def live_ms(self) -> float:
        """Mean latency as it was."""
        return fmean(self.live.latencies_ms)

    @property
    def said_ms(self) -> float:
        """Mean latency as predicted."""
        return fmean(one.mean_ms for one in self.said)


def prediction(node: Node, effort: Effort) -> Finding:
    """Mean latency as the simulator says it, and as the engine has it, under the same streams."""
    with opened(compile_pictures(node)) as (lane, report):
        kept = effort.alternate(
            list(CASES),
            lambda case, number: asyncio.run(_predicted(lane, report, *case, effort.seconds, number)),
        )
    verdicts, rows, shown = [], [], []
    for (share, policy), mine in kept.items():
        off = Spread.of([abs(one.said_ms / one.live_ms - 1) for one in mine.rounds])
        claim = f"prediction off by, mean latency of {policy} at {100 * share:.0f} % of the limit"
        verdicts.append(at_most(claim, off, _AGREES_WITHIN, None, digits=3, note=quiet_note([mine])))
        shown.append((f"{policy}, {100 * share:.0f} %", *_shown(mine.rounds)))
        for rounds, counts in ((mine.quiet, True), (mine.noisy, not mine.trusted)):
            rows += [{**_row(share, policy, one), "counts": counts} for one in rounds]
    head = ("stream", "mean ms", "predicted", "p99 ms", "predicted", "host ms", "a row more")
    return Finding(verdicts, rows, table(head, shown))


async def _predicted(
    lane: Lane, report: LaneReport, share: float, policy: str, seconds: float, seed: int
) -> Predicted:
    due = poisson(share * LIMIT_PER_S, seconds, seed)
    async with steady(lane, report, policy) as engine:
        first = await engine.stream(_groups(report, seed))
        live = await engine.stream([Group(at, 1) for at in due])
    was = first.recording
    door_ms = max(0.0, fmean(first.latencies_ms) - recorded(was).mean_ms)
    host = host_of(host_runs(was), door_ms=door_ms)
    arrivals = [Arrival(at) for at in due]
    said = [
        simulate(
            was.tables,
            policy_named(policy),
            arrivals,
            settings=Settings(slots=report.slots, host=host, seed=draw),
        )
        for draw in range(_DRAWS)
    ]
    return Predicted(live, host, was.tables[0].host_ms, said)


def _groups(report: LaneReport, seed: int) -> list[Group]:
    """The first stream: groups of any size up to the largest gear, most of which find the device idle."""
    (bucket,) = report.spec.buckets
    largest = bucket.gears.largest
    times = poisson(_FIRST_LOAD * LIMIT_PER_S / ((1 + largest) / 2), _FIRST_S, seed)
    sizes = np.random.default_rng(seed).integers(1, largest, len(times), endpoint=True)
    return [Group(at, int(rows)) for at, rows in zip(times, sizes, strict=True)]


def _shown(rounds: list[Predicted]) -> tuple[str, ...]:
    return (
        Spread.of([one.live_ms for one in rounds]).show(),
        Spread.of([one.said_ms for one in rounds]).show(),
        Spread.of([percentile(one.live.latencies_ms, 0.99) for one in rounds]).show(1),
        Spread.of([_p99(one) for one in rounds]).show(1),
        Spread.of([one.host.fixed_ms for one in rounds]).show(),
        Spread.of([one.host.row_ms for one in rounds]).show(3),
    )


def _p99(one: Predicted) -> float:
    return fmean(said.percentile_ms(0.99) for said in one.said)


def _row(share: float, policy: str, one: Predicted) -> Mapping[str, Any]:
    return {
        "policy": policy,
        "rate_per_s": share * LIMIT_PER_S,
        "mean_ms": one.live_ms,
        "p99_ms": percentile(one.live.latencies_ms, 0.99),
        "predicted_mean_ms": one.said_ms,
        "predicted_p99_ms": _p99(one),
        "host_fixed_ms": one.host.fixed_ms,
        "host_row_ms": one.host.row_ms,
        "door_ms": one.host.door_ms,
        "host_reckoned_ms": one.host_ms,
    }
