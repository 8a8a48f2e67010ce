"""How much faster than real time the simulator is, by CPU time, and what a request costs in it.

    python -m benchmarks simulator_speed

Single rows in a Poisson stream through one device with a host around it, at several rates: a request costs about the
same at any rate, so the factor falls as the rate grows. The policy is solved beforehand. Each figure is the best of
`REPEATS` repeats, for on a machine that is shared the least says most.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.policy import Policy, policy_named
from ascend_serve.simulating.host import Host
from ascend_serve.simulating.simulation import Settings, simulate
from ascend_serve.simulating.traces import Arrival, poisson
from ascend_serve.spec.gears import Gears
from benchmarks.figures import table

COSTS = {1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0}
"""Device milliseconds of each gear."""

HOST = Host(0.5, 0.05, (0.6, 0.8, 0.9, 1.0, 1.0, 1.1, 1.2, 1.4, 1.8, 2.5), timer_ms=1.0)
"""About what it is beside an emulated card."""

RATES_PER_S = (50, 200, 1000)
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
    """Print a table of rates and policies."""
    parser = argparse.ArgumentParser(prog="benchmarks simulator_speed", description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="requests of each stream")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="runs of each stream")
    options = parser.parse_args(argv)
    costs = CostTable.of(Gears.of(COSTS), COSTS)
    rows = []
    for rate in RATES_PER_S:
        arrivals = poisson(rate, options.requests / rate, seed=1)
        for name in ("pad_up", "optimal"):
            policy = policy_named(name).prepared(Settings(host=HOST).used([costs]))
            took_s = cost_s(policy, costs, arrivals, options.repeats)
            times = arrivals[-1].at / took_s
            rows.append((f"{rate}", name, f"{times:.0f}", f"{took_s / len(arrivals) * 1e6:.1f}"))
    print(table(("rows a second", "policy", "times real time", "us a request"), rows))


if __name__ == "__main__":
    main()
