"""The same model on the same kind of emulated card behind four servers, asked over HTTP by the same client."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from benchmarks import digits_servers
from benchmarks.digits_servers import Way
from benchmarks.figures import Spread, pairwise, percentile, table
from benchmarks.http_load import Load, Seen, send
from benchmarks.node import COSTS_MS, Cores, Node, compile_digits
from benchmarks.servers import DATA_PATH, Server, Used, running, spent

CONNECTIONS = 32
_IDLE_S = 1.0


@dataclass(slots=True)
class _Side:
    """What was measured of one way to serve, a value for each repeat."""

    answers_per_s: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    path_ms: list[float] = field(default_factory=list)
    all_ms: list[float] = field(default_factory=list)
    client_ms: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)


def compare(node: Node, *, repeats: int, seconds: float) -> None:
    """Run the comparison and print its table.

    All servers are up at the same time and asked in turn, so that neighbours in time saw the same machine. What
    the idle ones take is printed, too.

    Args:
        node: the private node of this run.
        repeats: runs of each server, alternating.
        seconds: length of one run.

    Raises:
        RuntimeError: a server did not start or gave a wrong answer.
    """
    artifact = compile_digits(node)
    ways = [
        digits_servers.glue(artifact),
        digits_servers.serve_batch(node, artifact),
        digits_servers.ours(node),
        digits_servers.ours_stock(node),
    ]
    times = ", ".join(f"{gear}: {ms}" for gear, ms in COSTS_MS.items())
    print(
        f"\n# serving: {CONNECTIONS} keep-alive connections, closed loop, one 4 KB row a request, device ms {{{times}}}"
    )
    for way in ways:
        print(f"  {way.letter}  {way.told}")
    print("Client, servers and emulated cards share the cores: only ratios mean anything.\n", flush=True)
    sides = {way.letter: _Side() for way in ways}
    with running([way.plan for way in ways], node) as servers:
        for server, way in zip(servers, ways, strict=True):
            server.wait_until_ready(way.path, way.bodies[0], way.headers)
        outputs: list[list[str]] = []
        for _ in range(repeats):
            for server, way in zip(servers, ways, strict=True):
                seen = _measure(server, way, artifact.spec.output_row_bytes, seconds, sides[way.letter])
                outputs.append(seen.outputs)
        idle = _idle_share(servers)
    if any(other != outputs[0] for other in outputs):
        raise RuntimeError("the servers do not give the same answers to the same pictures")
    base = sides[ways[0].letter]
    rows = [_row(way.letter, sides[way.letter], base) for way in ways]
    head = (
        "",
        "answers/s",
        "x a",
        "p50 ms",
        "p99 ms",
        "x a",
        "path CPU ms",
        "all CPU ms",
        "x a",
        "client CPU ms",
        "machine busy %",
    )
    print(table(head, rows))
    print(
        "CPU is for each answer. 'path': the process of (a); proxy or HAProxy, and the replica, of the others."
    )
    print("'all': every process of the server, Ray's own included; the emulated cards are in neither.")
    print(
        "'machine busy': of all cores, by whomever; near 100 the CPU was the limit, and Ray's workers are niced."
    )
    told = ", ".join(f"{way.letter} {100 * share:.0f} %" for way, share in zip(ways, idle, strict=True))
    print(f"An idle server takes of one core: {told}. All gave the same answers.", flush=True)


def _measure(server: Server, way: Way, output_bytes: int, seconds: float, side: _Side) -> Seen:
    load = Load(server.plan.port, way.requests(), output_bytes, CONNECTIONS, seconds)
    before: dict[int, Used] = {}
    cores: list[Cores] = []

    def read() -> None:
        before.update(server.cpu())
        cores.append(Cores.now())

    seen = send(load, on_start=read)
    side.busy.append(100 * Cores.now().busy_since(cores[0]))
    used = spent(before, server.cpu())
    answers = len(seen.latencies_ms)
    on_path = sum(process.cpu_s for process in used if process.name.startswith(DATA_PATH))
    side.answers_per_s.append(answers / seen.elapsed_s)
    side.p50_ms.append(percentile(seen.latencies_ms, 0.5))
    side.p99_ms.append(percentile(seen.latencies_ms, 0.99))
    side.all_ms.append(1e3 * sum(process.cpu_s for process in used) / answers)
    side.path_ms.append(1e3 * on_path / answers if on_path else side.all_ms[-1])
    side.client_ms.append(1e3 * seen.client_cpu_s / answers)
    return seen


def _idle_share(servers: list[Server]) -> list[float]:
    before = [server.cpu() for server in servers]
    time.sleep(_IDLE_S)
    return [
        sum(process.cpu_s for process in spent(earlier, server.cpu())) / _IDLE_S
        for earlier, server in zip(before, servers, strict=True)
    ]


def _row(letter: str, side: _Side, base: _Side) -> tuple[str, ...]:
    return (
        letter,
        Spread.of(side.answers_per_s).show(0),
        pairwise(side.answers_per_s, base.answers_per_s).show(),
        Spread.of(side.p50_ms).show(1),
        Spread.of(side.p99_ms).show(1),
        pairwise(side.p99_ms, base.p99_ms).show(),
        Spread.of(side.path_ms).show(),
        Spread.of(side.all_ms).show(),
        pairwise(side.all_ms, base.all_ms).show(),
        Spread.of(side.client_ms).show(),
        Spread.of(side.busy).show(0),
    )
