"""How much faster than real time the simulator is, by CPU time, and what a request costs in it.

    python -m benchmarks simulator_speed

Single rows in a Poisson stream through one device with a host around it, at several rates: a request costs about the
same at any rate, so the factor falls as the rate grows. The policy is solved beforehand. Each figure is the best of
`REPEATS` repeats, for on a machine that is shared the least says most. A factor says nothing without its rate, so no
bound is set.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.policy import Policy, policy_named
from ascend_serve.simulating.host import Host
from ascend_serve.simulating.simulation import Settings, simulate
from ascend_serve.simulating.traces import Arrival, poisson
from ascend_serve.spec.gears import Gears
from benchmarks.figures import table
from benchmarks.node import COSTS_MS, ROOT
from benchmarks.results import write

HOST = Host(0.5, 0.05, (0.6, 0.8, 0.9, 1.0, 1.0, 1.1, 1.2, 1.4, 1.8, 2.5), timer_ms=1.0)
"""About what it is beside an emulated card."""

RATES_PER_S = (50, 200, 1000, 1600)
REQUESTS = 20_000
REPEATS = 5


def cost_s(policy: Policy, costs: CostTable, arrivals: Sequence[Arrival], repeats: int) -> float:
    """CPU seconds in which these arrivals are simulated, at the least."""
    took = []
    for _ in range(repeats):
        begin = time.process_time()
        simulate([costs], policy, arrivals, settings=Settings(host=HOST))
        took.append(time.process_time() - begin)
    return min(took)


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table of rates and policies, and keep it as a result."""
    parser = argparse.ArgumentParser(prog="benchmarks simulator_speed", description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="requests of each stream")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="runs of each stream")
    options = parser.parse_args(argv)
    costs = CostTable.of(Gears.of(COSTS_MS), COSTS_MS)
    rounds: list[dict[str, Any]] = []
    for rate in RATES_PER_S:
        arrivals = poisson(rate, options.requests / rate, seed=1)
        for name in ("pad_up", "optimal"):
            policy = policy_named(name).prepared(Settings(host=HOST).used([costs]))
            took_s = cost_s(policy, costs, arrivals, options.repeats)
            rounds.append(
                {
                    "rate_per_s": rate,
                    "policy": name,
                    "times_real_time": arrivals[-1].at / took_s,
                    "us_a_request": took_s / len(arrivals) * 1e6,
                }
            )
    rows = [
        (
            f"{one['policy']} at {one['rate_per_s']}/s",
            f"{one['times_real_time']:.0f}",
            f"{one['us_a_request']:.1f}",
        )
        for one in rounds
    ]
    print(table(("stream", "times real time", "us a request"), rows))
    written = write("simulator_speed", {"rounds": rounds})
    print(f"all rounds: {written.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
