"""How much of a CPU one replica takes, to justify the fraction it asks Ray for (`replica_cpus`)."""

from __future__ import annotations

from functools import partial

from ascend_serve.serving.config import AppConfig
from benchmarks import digits_servers
from benchmarks.figures import Spread, line, percentile, table
from benchmarks.http_load import Load, send
from benchmarks.node import Node, compile_digits
from benchmarks.servers import Server, Used, running, spent

RATES = (50, 100, 200)
_CONNECTIONS = 32
_REPLICA = "ray::ServeRepli"


def compare(node: Node, *, repeats: int, seconds: float) -> None:
    """Ask `ascend-serve run` at several rates and print the replica's CPU share at each.

    Args:
        node: the private node of this run.
        repeats: runs at each rate, alternating.
        seconds: length of one run.

    Raises:
        RuntimeError: the server did not start or gave a wrong answer.
    """
    artifact = compile_digits(node)
    way = digits_servers.ours(node)
    print(
        "\n# replica: CPU of the replica's process alone under `ascend-serve run`, open loop, one row a request\n"
    )
    shares: dict[int, list[float]] = {rate: [] for rate in RATES}
    p50: dict[int, list[float]] = {rate: [] for rate in RATES}
    answered: dict[int, list[float]] = {rate: [] for rate in RATES}
    with running([way.plan], node) as (server,):
        server.wait_until_ready(way.path, way.bodies[0], way.headers)
        for repeat in range(repeats):
            for rate in RATES:
                before: dict[int, Used] = {}
                load = Load(
                    way.plan.port,
                    way.requests(),
                    artifact.spec.output_row_bytes,
                    _CONNECTIONS,
                    seconds,
                    rate_per_s=rate,
                    seed=repeat,
                )
                seen = send(load, on_start=partial(_read_into, before, server))
                used = sum(process.cpu_s for process in spent(before, _replica_cpu(server)))
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


def _replica_cpu(server: Server) -> dict[int, Used]:
    return {number: used for number, used in server.cpu().items() if used.name.startswith(_REPLICA)}


def _read_into(reading: dict[int, Used], server: Server) -> None:
    reading.update(_replica_cpu(server))
