"""One round: a side under a load, and all that is seen of it."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from benchmarks.cards import Work
from benchmarks.figures import percentile
from benchmarks.http_load import Load, Seen, send
from benchmarks.node import COSTS_MS
from benchmarks.quiet import Reading, foreign_cores
from benchmarks.servers import Used, spent
from benchmarks.sides import Side
from benchmarks.stage import Stage, card_work, cpu_of, port_of
from benchmarks.workloads import Workload

LIMIT_PER_S = max(gear / ms for gear, ms in COSTS_MS.items()) * 1e3
"""Rows a second at which the device never rests."""

SLO_MS = 20.0
"""What goodput counts: good answers within two and a half runs of the largest gear."""

OPEN_CONNECTIONS = 128
_QUANTILES = 200


@dataclass(frozen=True, slots=True)
class Demand:
    """What a side is put under.

    Attributes:
        name: for tables.
        connections: kept open.
        share: of the device's limit, in an open loop; 0 is a closed loop.
        swing: of an open loop with bursts.
    """

    name: str
    connections: int
    share: float = 0.0
    swing: float = 0.0


def closed(connections: int) -> Demand:
    """As many clients that send their next request when they have an answer."""
    return Demand(f"closed {connections}", connections)


def poisson_at(share: float) -> Demand:
    """A Poisson stream at a share of the device's limit."""
    return Demand(f"Poisson {100 * share:.0f} %", OPEN_CONNECTIONS, share)


def bursts_at(share: float) -> Demand:
    """A stream whose rate alternates between 1.8 and 0.2 times a share of the device's limit."""
    return Demand(f"bursts {100 * share:.0f} %", OPEN_CONNECTIONS, share, 0.8)


@dataclass(frozen=True, slots=True)
class Round:
    """What was seen in one round; latencies in ms, CPU in microseconds for each answer.

    Attributes:
        side: its name.
        demand: its name.
        answers: good ones.
        answers_per_s: of them.
        limit_share: of the device's limit.
        mean_ms: of the latencies.
        p50_ms: of the latencies; infinite when that many requests were never answered, as are the others.
        p99_ms: of the latencies.
        good_share: requests answered well within `SLO_MS`, of all that were due.
        refused: requests answered with 429 or 503.
        unsent: requests that never found a connection.
        server_us: of all processes of the server, the card excluded.
        by_process_us: the same by the process's name.
        client_us: of the client.
        busy: share of the time in which the device computed.
        padding: share of the rows run that nobody had sent.
        batches: executions.
        foreign_cores: cores that others kept busy meanwhile.
        stolen_cores: what the hypervisor took away, which is part of that.
        lag_p99_ms: how late the client itself sent.
        quantiles_ms: of the latencies, evenly spaced from 0 to 1.
    """

    side: str
    demand: str
    answers: int
    answers_per_s: float
    limit_share: float
    mean_ms: float
    p50_ms: float
    p99_ms: float
    good_share: float
    refused: int
    unsent: int
    server_us: float
    by_process_us: dict[str, float]
    client_us: float
    busy: float
    padding: float
    batches: int
    foreign_cores: float
    stolen_cores: float
    lag_p99_ms: float
    quantiles_ms: tuple[float, ...]

    @property
    def answered_share(self) -> float:
        """Requests answered well, however late, of all that were due."""
        return self.answers / (self.answers + self.refused + self.unsent)


@dataclass(frozen=True, slots=True)
class _Moment:
    machine: Reading
    cpu: dict[int, Used]
    card: Work


class Bench:
    """Runs rounds and sees that all sides answer alike.

    Args:
        stage: the servers.
        work: what is served.
        seconds: length of the measured part of a round.
    """

    def __init__(self, stage: Stage, work: Workload, seconds: float) -> None:
        self._stage = stage
        self._work = work
        self._seconds = seconds
        self._outputs: list[str] | None = None

    def measure(self, side: Side, demand: Demand, number: int) -> Round:
        """One round; `number` chooses the stream, so that all sides get the same.

        Raises:
            RuntimeError: a wrong answer, or the server failed.
        """
        server = self._stage.turn_of(side)
        load = Load(
            port_of(server, side),
            [whole.hex() for whole in side.requests],
            self._work.output_row_bytes,
            demand.connections,
            self._seconds,
            rate_per_s=demand.share * LIMIT_PER_S,
            swing=demand.swing,
            seed=number,
        )
        moments: list[_Moment] = []

        def note() -> None:
            machine = Reading.now(time.monotonic())
            moments.append(_Moment(machine, cpu_of(server, side), card_work(server, side)))

        seen = send(load, on_start=note, on_end=note)
        self._outputs = self._outputs or seen.outputs
        if any(other != mine for other, mine in zip(seen.outputs, self._outputs, strict=False)):
            raise RuntimeError(f"{side.name} gives other answers to the same rows")
        return _round(side, demand, seen, moments[0], moments[1], self._work.row_bytes)


def _round(side: Side, demand: Demand, seen: Seen, before: _Moment, after: _Moment, row_bytes: int) -> Round:
    answers = len(seen.latencies_ms)
    if not answers:
        raise RuntimeError(f"{side.name} answered nothing under '{demand.name}'")
    latencies = sorted(seen.latencies_ms)
    due = answers + seen.refused + seen.unsent
    # What was never answered is slower than anything that was.
    all_ms = latencies + [float("inf")] * (seen.refused + seen.unsent)
    card = after.card.since(before.card)
    used: dict[str, float] = {}
    for process in spent(before.cpu, after.cpu):
        used[process.name] = used.get(process.name, 0.0) + 1e6 * process.cpu_s / answers
    machine = after.machine.at - before.machine.at
    return Round(
        side=side.name,
        demand=demand.name,
        answers=answers,
        answers_per_s=answers / seen.elapsed_s,
        limit_share=answers / seen.elapsed_s / LIMIT_PER_S,
        mean_ms=statistics.fmean(latencies),
        p50_ms=percentile(all_ms, 0.5),
        p99_ms=percentile(all_ms, 0.99),
        good_share=sum(latency <= SLO_MS for latency in latencies) / due,
        refused=seen.refused,
        unsent=seen.unsent,
        server_us=sum(used.values()),
        by_process_us={name: us for name, us in used.items() if us >= 1},
        client_us=1e6 * seen.client_cpu_s / answers,
        busy=card.busy(seen.elapsed_s),
        padding=card.padding(answers, row_bytes),
        batches=card.batches,
        foreign_cores=foreign_cores(before.machine, after.machine),
        stolen_cores=(after.machine.stolen - before.machine.stolen) / machine,
        lag_p99_ms=seen.lag_p99_ms,
        quantiles_ms=tuple(percentile(all_ms, q / _QUANTILES) for q in range(_QUANTILES + 1)),
    )
