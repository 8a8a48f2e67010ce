"""How much of a CPU one replica takes, to justify the fraction it asks Ray for (`replica_cpus`)."""

from __future__ import annotations

from functools import partial

from ascend_serve.serving.config import AppConfig
from benchmarks import sides
from benchmarks.figures import Spread, line, percentile, table
from benchmarks.http_load import Load, send
from benchmarks.node import Node
from benchmarks.servers import Server, Used, spent
from benchmarks.stage import port_of, staged, worker_of
from benchmarks.workloads import small

RATES = (50, 100, 200)
_CONNECTIONS = 32


def compare(node: Node, *, repeats: int, seconds: float) -> None:
    """Ask ours on Ray's fast data path at several rates and print the replica's CPU share at each.

    Args:
        node: the private node of this run.
        repeats: runs at each rate, alternating.
        seconds: length of one run.

    Raises:
        RuntimeError: the server did not start or gave a wrong answer.
    """
    work, cast = small(node), sides.Cast()
    sides.add_fast(cast, node, work, policies=("optimal",), waits_ms=())
    side = next(side for side in cast.sides if not side.direct)
    print(
        "\n# replica: CPU of the replica's process alone on the fast data path, open loop, one row a request\n"
    )
    shares: dict[int, list[float]] = {rate: [] for rate in RATES}
    p50: dict[int, list[float]] = {rate: [] for rate in RATES}
    answered: dict[int, list[float]] = {rate: [] for rate in RATES}
    with staged(cast.plans, [side], node) as stage:
        server = stage.turn_of(side)
        replica = worker_of(server, side)
        for repeat in range(repeats):
            for rate in RATES:
                readings: list[dict[int, Used]] = []
                load = Load(
                    port_of(server, side),
                    [whole.hex() for whole in side.requests],
                    work.output_row_bytes,
                    _CONNECTIONS,
                    seconds,
                    rate_per_s=rate,
                    seed=repeat,
                )
                read = partial(_read, readings, server, replica)
                seen = send(load, on_start=read, on_end=read)
                used = sum(process.cpu_s for process in spent(*readings))
                shares[rate].append(used / seen.elapsed_s)
                p50[rate].append(percentile(seen.latencies_ms, 0.5))
                answered[rate].append(len(seen.latencies_ms) / seen.elapsed_s)
    rows = [
        (
            f"{rate}/s",
            Spread.of(answered[rate]).show(0),
            Spread.of([100 * share for share in shares[rate]]).show(1),
            Spread.of(p50[rate]).show(1),
        )
        for rate in RATES
    ]
    print(table(("rate", "answers/s", "CPU % of one core", "p50 ms"), rows))
    points = [point for rate in RATES for point in zip(answered[rate], shares[rate], strict=True)]
    idle, each = line(points)
    asked = AppConfig.model_fields["replica_cpus"].default
    print(
        f"Fitted: {100 * idle:.1f} % at rest and {1e3 * each:.2f} ms a request; the default replica_cpus of {asked} "
        f"is reached at {(asked - idle) / each:.0f} requests/s."
    )


def _read(readings: list[dict[int, Used]], server: Server, replica: int) -> None:
    readings.append({replica: server.cpu()[replica]})
