"""What a policy should give on a device whose only cost is t(gear): the real planner, in simulated time.

Copies, threads, the event loop and the GIL cost nothing here, so the distance between these figures and the
measured ones is what they cost. The formulation is that of facts/batching_policy.md §1.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.planner import Batch, Planner, Ticket
from ascend_serve.batching.policy import Policy
from ascend_serve.spec.gears import Gears


@dataclass(frozen=True, slots=True)
class Expectation:
    """What happened in simulated time.

    Attributes:
        latencies_ms: of each answered row, from its arrival to the end of its batch.
        answers_per_s: rows answered by the end, a second.
        busy: share of the time in which the device ran.
        batches: how many ran.
        padding: share of the rows run that were padding.
    """

    latencies_ms: list[float]
    answers_per_s: float
    busy: float
    batches: int
    padding: float


def simulate(
    policy: Policy,
    costs_ms: Mapping[int, float],
    *,
    slots: int,
    seconds: float,
    arrivals: Sequence[float] = (),
    clients: int = 0,
) -> Expectation:
    """Run single-row requests through a planner and a device that runs one batch after another.

    Args:
        policy: chooses gears.
        costs_ms: device milliseconds of each gear.
        slots: batches that may be sealed at once.
        seconds: length of a closed loop; an open one ends with its last answer.
        arrivals: when rows come, in seconds (open loop).
        clients: callers that send their next row the moment they have an answer (closed loop).
    """
    gears = Gears.of(costs_ms)
    costs = CostTable.of(gears, costs_ms)
    planner = Planner(gears, costs, policy, slots=slots, max_queued_rows=len(arrivals) + clients)
    waiting = list(reversed(arrivals)) or [0.0] * clients
    running: list[tuple[float, int, Batch]] = []
    latencies: list[float] = []
    free_at = busy = 0.0
    sealed = padded = run_rows = 0
    while waiting or running:
        if waiting and (not running or waiting[-1] <= running[0][0]):
            now = waiting.pop()
            planner.offer(now, 1)
        else:
            now, _, batch = heapq.heappop(running)
            ended: list[Ticket] = planner.finished(batch)
            latencies += [(now - ticket.offered_at) * 1e3 for ticket in ended]
            if clients and now < seconds:
                waiting.extend([now] * len(ended))
        if waiting and waiting[-1] == now:
            continue  # all that comes at one moment is planned together, as the engine does
        while batch_now := planner.plan(now):
            cost_s = costs.ms_of(batch_now.gear) / 1e3
            free_at = max(free_at, now) + cost_s
            busy += cost_s
            heapq.heappush(running, (free_at, sealed, batch_now))
            sealed += 1
            padded += batch_now.gear - batch_now.rows
            run_rows += batch_now.gear
    return Expectation(latencies, len(latencies) / free_at, busy / free_at, sealed, padded / run_rows)
