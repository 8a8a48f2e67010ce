"""What the planner itself costs: CPU microseconds per ticket, from its offer to its end, with many that wait.

    python -m benchmarks planner_cost

Single rows come and go while `WAITING` others wait: the price of the decisions alone, without tensors, threads or a
device. Each figure is the median of `REPEATS` repeats, with the least beside it: on a machine that is shared the
least says more. The median of each mix is held against `MOST_US`.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Sequence
from itertools import cycle, islice
from typing import NamedTuple

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.planner import Batch, Planner
from ascend_serve.batching.policy import Policy, policy_named
from ascend_serve.spec.gears import Gears
from benchmarks.figures import Spread
from benchmarks.verdicts import at_most

COSTS = {1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0}
"""Device milliseconds of each gear."""

MOST_US = 5.0
"""What a ticket may cost."""

WAITING = 1000
TICKETS = 8000
REPEATS = 9


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


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table of all mixes, with PASS or MISS; the exit status is 1 after a MISS."""
    parser = argparse.ArgumentParser(prog="benchmarks planner_cost", description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS, help="runs of each mix")
    repeats = parser.parse_args(argv).repeats
    print(f"CPU us per ticket, {WAITING} waiting: median (least-most) of {repeats} repeats")
    holds = True
    for mix in MIXES:
        gears = Gears.of(COSTS)
        tables = [
            CostTable.of(gears, {gear: ms * 2**bucket for gear, ms in COSTS.items()})
            for bucket in range(mix.buckets)
        ]
        policy = policy_named(mix.policy).prepared(tables)
        gc.collect()
        verdict = at_most(
            mix.name, Spread.of([cost_us(mix, policy, tables) for _ in range(repeats)]), MOST_US, None
        )
        print(verdict.line())
        holds = holds and verdict.holds
    if not holds:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
