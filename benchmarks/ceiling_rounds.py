"""The load's client against a server that does nothing (`ceiling.py`): it must not be what limits a comparison."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.ceiling import BODY
from benchmarks.http_load import Load, send
from benchmarks.node import Node
from benchmarks.servers import Plan, Server, free_ports, running, spent
from benchmarks.workloads import Workload


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What client and trivial server do together.

    Attributes:
        connections: kept open, closed loop.
        answers_per_s: of them all.
        client_us: CPU microseconds of the client for each answer.
        server_us: CPU microseconds of the server for each answer; nearly all of it the kernel's, for the bytes.
    """

    connections: int
    answers_per_s: float
    client_us: float
    server_us: float


def ceilings(node: Node, work: Workload, connections: Sequence[int], seconds: float) -> list[Ceiling]:
    """Measure at some numbers of connections, once each.

    Raises:
        RuntimeError: the client or the server failed.
    """
    # All of one length, for the server counts bytes.
    (whole, *_) = work.raw("/", {})
    (port,) = free_ports(1)
    command = (sys.executable, "-m", "benchmarks.ceiling", str(port), str(len(whole)))
    with running([Plan("ceiling", command, port, {})], node) as (server,):
        server.wait_until_answering(lambda: port, whole)
        return [_one(server, whole, number, seconds) for number in connections]


def _one(server: Server, whole: bytes, connections: int, seconds: float) -> Ceiling:
    readings = []
    load = Load(server.plan.port, [whole.hex()], len(BODY), connections, seconds)

    def note() -> None:
        readings.append(server.cpu())

    seen = send(load, on_start=note, on_end=note)
    answers = len(seen.latencies_ms)
    used = sum(process.cpu_s for process in spent(*readings))
    return Ceiling(
        connections, answers / seen.elapsed_s, 1e6 * seen.client_cpu_s / answers, 1e6 * used / answers
    )
