"""All gear policies through the real engine and lane, in this process and without Ray, beside the simulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import uvloop

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.policy import policy_named
from ascend_serve.simulating.outcome import Outcome
from ascend_serve.simulating.simulation import Settings, simulate, simulate_clients
from ascend_serve.simulating.traces import Arrival
from ascend_serve.spec.gears import Gears
from benchmarks.arrivals import poisson
from benchmarks.engine_runs import SLOTS, EngineBench, Run, opened
from benchmarks.figures import Spread, pairwise, percentile, table
from benchmarks.node import COSTS_MS, Node, compile_pictures

NAMES = ("pad_up", "optimal", "step_down", "min_cost", "fixed_wait", "fixed")
"""The first is what the others are compared with."""

RATES = (100, 600, 1000, 1600)
CLIENTS = (9, 64)
_TABLE = CostTable.of(Gears.of(COSTS_MS), COSTS_MS)
_SETTINGS = Settings(slots=SLOTS)


def compare(node: Node, *, repeats: int, seconds: float) -> None:
    """Run the comparison and print its tables.

    Args:
        node: the private node of this run.
        repeats: runs of each policy under each load, alternating.
        seconds: length of one run.
    """
    with opened(compile_pictures(node)) as (lane, report):
        measured = ", ".join(
            f"{gear}: {timing.stages.compute_ms:.2f}" for (_, gear), timing in report.times.items()
        )
        print(
            f"\n# policies: one row a request, 150 KB a row, {report.slots} slots; warm-up measured ms {{{measured}}}"
        )
        print(
            "'sim.' is the simulator with t(g) as the only cost and the same arrivals; copies, threads and loop cost\n"
            "nothing there.\n"
        )
        bench = EngineBench(lane, report)
        uvloop.run(bench.learn())
        _open_loops(bench, repeats, seconds)
        _closed_loops(bench, repeats, seconds)


def _open_loops(bench: EngineBench, repeats: int, seconds: float) -> None:
    rows = []
    for rate in RATES:
        runs: dict[str, list[Run]] = {name: [] for name in NAMES}
        simulated: dict[str, list[Outcome]] = {name: [] for name in NAMES}
        for repeat in range(repeats):
            due = poisson(rate, seconds, seed=repeat)
            arrivals = [Arrival(at) for at in due]
            for name in NAMES:
                runs[name].append(uvloop.run(bench.open_loop(name, due)))
                simulated[name].append(simulate([_TABLE], policy_named(name), arrivals, settings=_SETTINGS))
        rows += [_open_row(f"{rate}/s", name, runs[name], simulated[name], runs[NAMES[0]]) for name in NAMES]
    head = ("open loop", "policy", "mean ms", "sim.", f"mean x {NAMES[0]}", "p99 ms", "sim.", "busy %", "sim.",
            "rows/batch", "padding %", "refused")  # fmt: skip
    print(table(head, rows) + "\n", flush=True)


def _closed_loops(bench: EngineBench, repeats: int, seconds: float) -> None:
    rows = []
    for clients in CLIENTS:
        runs: dict[str, list[Run]] = {name: [] for name in NAMES}
        for _ in range(repeats):
            for name in NAMES:
                runs[name].append(uvloop.run(bench.closed_loop(name, clients, seconds)))
        for name in NAMES:
            simulated = simulate_clients([_TABLE], policy_named(name), clients, seconds, settings=_SETTINGS)
            rows.append(_closed_row(clients, name, runs[name], simulated, runs[NAMES[0]]))
    head = (
        "closed loop",
        "policy",
        "rows/s",
        "sim.",
        f"rows/s x {NAMES[0]}",
        "p99 ms",
        "busy %",
        "CPU us a row",
    )
    print(table(head, rows))


def _of(runs: Sequence[Run], value: Callable[[Run], float], digits: int) -> str:
    return Spread.of([value(run) for run in runs]).show(digits)


def _p99(run: Run) -> float:
    return percentile(run.latencies_ms, 0.99)


def _open_row(
    load: str, name: str, runs: list[Run], simulated: list[Outcome], baseline: list[Run]
) -> tuple[str, ...]:
    return (
        load,
        name,
        _of(runs, lambda run: run.mean_ms, 2),
        Spread.of([one.mean_ms for one in simulated]).show(),
        pairwise([run.mean_ms for run in runs], [run.mean_ms for run in baseline]).show(),
        _of(runs, _p99, 1),
        Spread.of([one.percentile_ms(0.99) for one in simulated]).show(1),
        _of(runs, lambda run: 100 * run.busy, 0),
        Spread.of([100 * one.busy for one in simulated]).show(0),
        _of(runs, lambda run: run.rows_per_batch, 1),
        _of(runs, lambda run: 100 * run.padding, 0),
        str(sum(run.refused for run in runs)),
    )


def _closed_row(
    clients: int, name: str, runs: list[Run], simulated: Outcome, baseline: list[Run]
) -> tuple[str, ...]:
    return (
        f"{clients} clients",
        name,
        _of(runs, lambda run: run.rows_per_s, 0),
        f"{simulated.rows_per_s:.0f}",
        pairwise([run.rows_per_s for run in runs], [run.rows_per_s for run in baseline]).show(),
        _of(runs, _p99, 1),
        _of(runs, lambda run: 100 * run.busy, 0),
        _of(runs, lambda run: run.cpu_us, 0),
    )
