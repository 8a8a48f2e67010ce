"""The claim `planner`: CPU microseconds per ticket, from its offer to its end, with many that wait.

Single rows come and go while `WAITING` others wait: the price of the decisions alone, without tensors, threads or a
device. A round is the median of some repeats, which take half a second together.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from itertools import cycle, islice
from statistics import median
from typing import NamedTuple

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.planner import Batch, Planner
from ascend_serve.batching.policy import Policy, policy_named
from ascend_serve.spec.gears import Gears
from benchmarks.baselines.process import set_as_ours
from benchmarks.claims.effort import Effort, Finding, grounds_of
from benchmarks.figures import Spread
from benchmarks.node import COSTS_MS, Node
from benchmarks.verdicts import at_most

MOST_US = 5.0
"""What a ticket may cost."""

WAITING = 1000
TICKETS = 8000
_REPEATS = 9


class Mix(NamedTuple):
    """One kind of load.

    Attributes:
        name: what it is called in the table.
        deadlines_s: seconds that the tickets are given, in turn; empty for no deadlines.
        levels: levels of priority, which the tickets have in turn.
        buckets: buckets that there are; the tickets fit the last one, two, three, ... of them in turn.
        policy: chooses the gears.
    """

    name: str
    deadlines_s: tuple[float, ...] = ()
    levels: int = 1
    buckets: int = 1
    policy: str = "pad_up"


MIXES = (
    Mix("plain"),
    Mix("plain, policy optimal", policy="optimal"),
    Mix("deadlines", deadlines_s=(2.0, 2.5, 3.0)),
    Mix("deadlines that are near", deadlines_s=(0.515, 0.52, 0.525)),
    Mix("3 priorities", levels=3),
    Mix("deadlines, 3 priorities", deadlines_s=(2.0, 2.5, 3.0), levels=3),
    Mix("4 buckets", buckets=4),
)


def cost_us(mix: Mix, policy: Policy, tables: Sequence[CostTable]) -> float:
    """CPU microseconds of a ticket: its offer, and its share of planning and landing."""
    planner = Planner(tables, policy, slots=2, max_queued_rows=10 * WAITING, priority_levels=mix.levels)
    turns = range(max(1, len(mix.deadlines_s)) * mix.levels * mix.buckets)
    asked = cycle(
        (
            mix.deadlines_s[turn % len(mix.deadlines_s)] if mix.deadlines_s else None,
            1 + turn % mix.levels if mix.levels > 1 else None,
            tuple(range(turn % mix.buckets, mix.buckets)),
        )
        for turn in turns
    )
    now = 1000.0
    running: list[Batch] = []
    started = 0.0
    ended, coming = 0, WAITING
    while ended < WAITING + TICKETS:
        if ended >= WAITING and not started:
            started = time.process_time()
            ended = WAITING
        for within, priority, fits in islice(asked, coming):
            deadline = None if within is None else now + within
            planner.offer(now, 1, fits=fits, deadline=deadline, priority=priority)
        coming = 16
        now += 0.008
        while (batch := planner.plan(now)) is not None:
            running.append(batch)
        if planner.take_expired(now):
            raise RuntimeError(f"{mix.name}: tickets expired; the figure would be of fewer")
        planner.next_wakeup()
        ended += len(planner.finished(now, running.pop(0)))
    return (time.process_time() - started) / (ended - WAITING) * 1e6


def planner(node: Node, effort: Effort) -> Finding:
    """CPU microseconds of a ticket in the planner alone, with many that wait."""
    del node
    # As in a replica, whichever claims were measured before.
    set_as_ours()

    def run(mix: Mix, number: int) -> float:
        del number
        tables = [
            CostTable.of(Gears.of(COSTS_MS), {gear: ms * 2**bucket for gear, ms in COSTS_MS.items()})
            for bucket in range(mix.buckets)
        ]
        policy = policy_named(mix.policy).prepared(tables)
        gc.collect()
        return median(cost_us(mix, policy, tables) for _ in range(_REPEATS))

    kept = effort.alternate(MIXES, run)
    verdicts = [
        at_most(
            f"CPU us a ticket, {WAITING} waiting, {mix.name}",
            Spread.of(mine.rounds),
            MOST_US,
            None,
            grounds=grounds_of([mine]),
        )
        for mix, mine in kept.items()
    ]
    rows = [
        {"mix": mix.name, "us": us, "pass": number, "counts": counts}
        for mix, mine in kept.items()
        for number, us, counts in mine.all_rounds
    ]
    return Finding(verdicts, rows)
